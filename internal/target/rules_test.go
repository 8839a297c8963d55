package target_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/targettest"
)

// ground is a directory tree: allowed is on the list, outside is not, own is the agent's.
type ground struct{ dir, allowed, outside, own string }

func newGround(t testing.TB) ground {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := ground{dir, filepath.Join(dir, "allowed"), filepath.Join(dir, "outside"), filepath.Join(dir, "allowed", "own")}
	for _, d := range []string{g.outside, g.own} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g ground) rules(t testing.TB, commands ...string) target.Rules {
	t.Helper()
	rules, err := target.NewRules(g.own, []string{g.allowed}, commands)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func put(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t testing.TB, to, from string) string {
	t.Helper()
	if err := os.Symlink(to, from); err != nil {
		t.Fatal(err)
	}
	return from
}

func TestPathsAreAllowedOnlyWhereTheHostSaysSo(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	rules := g.rules(t)
	a := targettest.NewAuthority(t)
	bundle := a.Bundle(t, "shop.example")
	in := func(name string) string { return filepath.Join(g.allowed, name) }
	out := func(name string) string { return filepath.Join(g.outside, name) }
	cert, key := put(t, out("cert.pem"), bundle.FullChain()), put(t, out("key.pem"), bundle.Key())
	anchor := put(t, out("root.pem"), bundle.Chain())
	conf := put(t, in("nginx.conf"), []byte("events {}\n"))
	many := put(t, in("many.pem"), []byte(strings.Repeat(string(bundle.Leaf()), 11)))
	fifo := in("fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		kind target.Kind
		want string // where it leads; "" is refused
		why  leafward.Kind
	}{
		"new, below an allowed directory":         {in("new.pem"), target.Certificate, in("new.pem"), ""},
		"new, in a directory to be made":          {in("a/b/new.pem"), target.Key, in("a/b/new.pem"), ""},
		"new, in the standard places":             {"/etc/leafward/x/new.pem", target.Key, "/etc/leafward/x/new.pem", ""},
		"over an empty file":                      {put(t, in("empty.pem"), nil), target.Chain, in("empty.pem"), ""},
		"certificate over certificate outside":    {cert, target.Certificate, cert, ""},
		"key over key outside":                    {key, target.Key, key, ""},
		"below a link to nothing":                 {link(t, in("new.pem.d"), in("l1")) + "/x", target.Key, "", leafward.Precondition},
		"a link to a certificate outside":         {link(t, cert, in("l2")), target.Certificate, cert, ""},
		"new, outside":                            {out("new.pem"), target.Certificate, "", leafward.Denied},
		"key over certificate outside":            {cert, target.Key, "", leafward.Denied},
		"certificate over key outside":            {key, target.Certificate, "", leafward.Denied},
		"combined over certificate outside":       {cert, target.Combined, "", leafward.Denied},
		"certificate over a trusted one outside":  {anchor, target.Certificate, "", leafward.Denied},
		"chain over chain outside":                {anchor, target.Chain, "", leafward.Denied},
		"certificate over a bundle of trust":      {many, target.Certificate, "", leafward.Denied},
		"a name that OpenSSL trusts":              {in("0123abcd.0"), target.Certificate, "", leafward.Denied},
		"over a configuration within":             {conf, target.Certificate, "", leafward.Denied},
		"below a linked directory that leads out": {link(t, g.outside, in("l3")) + "/new.pem", target.Certificate, "", leafward.Denied},
		"a link that leads out":                   {link(t, "/etc/passwd", in("l4")), target.Certificate, "", leafward.Denied},
		"a link to nothing":                       {link(t, out("nothing"), in("l5")), target.Certificate, "", leafward.Precondition},
		"the agent's own directory":               {filepath.Join(g.own, "agent.key"), target.Key, "", leafward.Denied},
		"the agent's own directory by a link":     {link(t, g.own, in("l6")) + "/agent.key", target.Key, "", leafward.Denied},
		"the allowed directory itself":            {g.allowed, target.Key, "", leafward.Precondition},
		"a neighbour with the same beginning":     {g.allowed + "-not/x.pem", target.Key, "", leafward.Denied},
		"a fifo":                                  {fifo, target.Key, "", leafward.Precondition},
		"below a file":                            {cert + "/x", target.Key, "", leafward.Precondition},
		"relative":                                {"allowed/x.pem", target.Key, "", leafward.Invalid},
		"with dots":                               {g.allowed + "/../outside/x.pem", target.Key, "", leafward.Invalid},
		"a Windows path":                          {`C:\nginx\key.pem`, target.Key, "", leafward.Invalid},
		"a NUL":                                   {in("x\x00.pem"), target.Key, "", leafward.Invalid},
		"too long":                                {in(strings.Repeat("x", 1024)), target.Key, "", leafward.Invalid},
		"nothing":                                 {"", target.Key, "", leafward.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rules.Path(c.path, c.kind)
			if got != c.want && err == nil || leafward.KindOf(err) != c.why {
				t.Errorf("%s: got %q %v, want %q", c.path, got, err, c.want)
			}
		})
	}
}

func TestARefusedPathIsAdvisedOnlyToWhatWouldHelp(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	rules := g.rules(t)
	cert := put(t, filepath.Join(g.outside, "cert.pem"), targettest.NewAuthority(t).Bundle(t, "shop.example").FullChain())
	for path, helps := range map[string]bool{
		filepath.Join(g.outside, "new.key"):                               true,
		link(t, g.outside, filepath.Join(g.allowed, "away")) + "/new.key": true,
		cert:                            false,
		filepath.Join(g.own, "new.key"): false,
		put(t, filepath.Join(g.allowed, "n.conf"), []byte("events {}")): false,
	} {
		_, err := rules.Path(path, target.Key)
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || e.Fix == "" || strings.Contains(e.Fix, "--allow-path") != helps || helps && !strings.HasSuffix(e.Fix, "--allow-path "+g.outside) {
			t.Errorf("%s: %#v", path, err)
		}
	}
}

func TestOnlyListedCommandsAreAllowed(t *testing.T) {
	t.Parallel()
	rules := newGround(t).rules(t, "sh 'my script'")
	for _, text := range []string{"nginx -t", "nginx   -s reload", "systemctl reload nginx", `sh "my script"`} {
		if _, err := rules.Command(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"nginx", "nginx -t -c /tmp/x", "/usr/sbin/nginx -t", "systemctl stop nginx", "sh my script", "sh"} {
		if _, err := rules.Command(text); leafward.KindOf(err) != leafward.Denied || !strings.Contains(err.(*leafward.Error).Fix, "--allow-command") {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if _, err := rules.Command("nginx -t; reboot"); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestWithoutFlagsAHostAllowsTheseAndNothingElse(t *testing.T) {
	t.Parallel()
	rules, err := target.NewRules(t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := rules.Commands(), []string{"nginx -t", "nginx -s reload", "systemctl reload nginx"}; !slices.Equal(got, want) {
		t.Errorf("it may run %q, not %q", got, want)
	}
	want := make([]string, 3)
	for i, dir := range []string{"/etc/leafward", "/etc/nginx", "/etc/ssl"} {
		want[i] = dir
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			want[i] = real
		}
	}
	if got := rules.Paths(); !slices.Equal(got, want) {
		t.Errorf("it may write below %q, not %q", got, want)
	}
	rules.Commands()[0], rules.Paths()[0] = "reboot", "/"
	if _, err := rules.Command("reboot"); leafward.KindOf(err) != leafward.Denied {
		t.Errorf("whoever looks at the lists can change them: %v", err)
	}
}

func TestWrongRulesAreNamedAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := target.NewRules("", []string{"relative", "/a/../b"}, []string{"a | b"})
	for _, want := range []string{"--data-dir", `"relative"`, `"/a/../b"`, "'|'"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
}

func FuzzPath(f *testing.F) {
	g := newGround(f)
	rules := g.rules(f)
	link(f, g.outside, filepath.Join(g.allowed, "out"))
	for _, seed := range []string{"x.pem", "out/x.pem", "own/x.pem", "../outside/x", "a/b/c", "x\x00y", "./x", "out/../x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, path := range []string{name, g.allowed + "/" + name, "/" + name} {
			real, err := rules.Path(path, target.Key)
			if err != nil {
				continue
			}
			if !strings.HasPrefix(real, g.allowed+"/") && !strings.HasPrefix(real, "/etc/nginx/") && !strings.HasPrefix(real, "/etc/ssl/") && !strings.HasPrefix(real, "/etc/leafward/") {
				if content, err := os.ReadFile(real); err != nil || !strings.Contains(string(content), "PRIVATE KEY-----") {
					t.Fatalf("%q leads to %q", path, real)
				}
			}
			if strings.HasPrefix(real, g.own+"/") {
				t.Fatalf("%q leads into the agent's own directory", path)
			}
		}
	})
}
