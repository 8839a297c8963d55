package cli_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/cli"
	"github.com/leafward/leafward/internal/pki"
)

// said is what one command printed, and its exit code.
type said struct {
	out, err string
	code     int
}

// grammar is the commands as the program has them.
type grammar struct {
	Agent cli.Agents `cmd:""`
	cli.Commands
}

// typed runs a command line as it is typed, in the environment of the pairs.
func typed(t *testing.T, env map[string]string, args ...string) said {
	t.Helper()
	return piped(t, env, "", args...)
}

// piped is typed with a text on standard input.
func piped(t *testing.T, env map[string]string, in string, args ...string) said {
	t.Helper()
	var out, err bytes.Buffer
	s := &cli.Session{In: strings.NewReader(in), Out: &out, Err: &err, Version: "test", Getenv: func(name string) string { return env[name] }}
	code := cli.Main(t.Context(), s, args, &grammar{})
	return said{out.String(), err.String(), code}
}

// has fails the test unless the command ended so and its words hold all of want.
func (s said) has(t *testing.T, code int, want ...string) {
	t.Helper()
	if s.code != code {
		t.Errorf("exit code %d, want %d: %s%s", s.code, code, s.out, s.err)
	}
	for _, words := range want {
		if !strings.Contains(s.out+s.err, words) {
			t.Errorf("%q is not in:\n%s%s", words, s.out, s.err)
		}
	}
}

func TestAWrongCommandLineIsToldWithItsHelpAndExitsWith2(t *testing.T) {
	for line, want := range map[string]string{
		"colour":                             "`leafward --help`",
		"key create ci":                      "--role",
		"key create ci --role admin --bogus": "`leafward key create --help`",
		"status --server http://x:1":         "https://HOST:PORT",
		"status --server https://x/path":     "https://HOST:PORT",
		"status --server https://x:1":        "LEAFWARD_KEY",
		"status --root abc":                  "--server",
		"key list --limit=-1":                "0 for all",
		"status --data-dir x --server y":     "--data-dir",
	} {
		s := typed(t, nil, strings.Fields(line)...)
		s.has(t, 2, "✖ usage", "why", "fix", "read", want)
		if s.out != "" {
			t.Errorf("%s: words of an error are on standard output: %s", line, s.out)
		}
	}
}

func TestHelpIsAnAnswerAndNotAnError(t *testing.T) {
	for _, line := range []string{"", "--help", "help", "key create --help", "help key create", "help cert list --json"} {
		if s := typed(t, nil, strings.Fields(line)...); s.code != 0 || s.err != "" || !strings.Contains(s.out, "Usage: leafward") {
			t.Errorf("%q: %+v", line, s)
		}
	}
}

func TestTheVersionIsToldHoweverOneAsks(t *testing.T) {
	for _, line := range []string{"version", "--version"} {
		if s := typed(t, nil, line); s.code != 0 || s.err != "" || !strings.HasPrefix(s.out, "leafward test ") {
			t.Errorf("%q: %+v", line, s)
		}
	}
}

func TestAnErrorIsOneObjectWhereJSONIsAskedFor(t *testing.T) {
	s := typed(t, nil, "key", "list", "--json", "--data-dir", filepath.Join(t.TempDir(), "none"))
	var e struct{ Error, Message, Fix, Docs string }
	if err := json.Unmarshal([]byte(s.err), &e); err != nil || s.code != 1 {
		t.Fatalf("%v: %+v", err, s)
	}
	if e.Error != "no_server" || e.Message == "" || e.Fix == "" || e.Docs != "docs/errors.md" {
		t.Errorf("%+v", e)
	}
}

func TestADataDirectoryWithoutAServerIsNamedWithTheCommandThatStartsOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my data")
	typed(t, nil, "status", "--data-dir", dir).has(t, 1, "no server runs", dir, "leafward serve --data-dir '"+dir+"'")
	typed(t, map[string]string{"LEAFWARD_DATA_DIR": dir}, "status").has(t, 1, dir)
}

// stranger is a TLS server that has its own certificate as its root and answers nothing else.
func stranger(t *testing.T, least uint16) (url, sha string) {
	t.Helper()
	var der []byte
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/pki/ca/root" {
			_, _ = w.Write(der)
			return
		}
		if r.Header.Get("Authorization") != "Bearer lwk_secret" {
			t.Errorf("%s came without the key", r.URL.Path)
		}
		http.NotFound(w, r)
	}))
	s.TLS = &tls.Config{MinVersion: least, MaxVersion: least}
	s.StartTLS()
	t.Cleanup(s.Close)
	der = s.Certificate().Raw
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return "https://127.0.0.1:" + port, pki.Fingerprint(der)
}

func TestTheRootIsPinnedByItsHashOrByAFile(t *testing.T) {
	url, sha := stranger(t, tls.VersionTLS13)
	env := map[string]string{"LEAFWARD_KEY": "lwk_secret"}
	colons := sha[:2] + ":" + sha[2:]
	for _, root := range []string{sha, strings.ToUpper(sha), colons} {
		typed(t, env, "status", "--server", url, "--root", root).has(t, 1, "not_found", "404")
	}
	wrong := typed(t, env, "status", "--server", url, "--root", strings.Repeat("0", 64))
	wrong.has(t, 1, "untrusted", sha)
	if strings.Contains(wrong.out+wrong.err, "lwk_secret") {
		t.Error("the key is printed")
	}
	typed(t, env, "status", "--server", url).has(t, 1, "untrusted", "--root")

	file := filepath.Join(t.TempDir(), "root.pem")
	der, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer der.Close()
	if err := os.WriteFile(file, pki.EncodeChain(der.ConnectionState().PeerCertificates[0].Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	typed(t, env, "status", "--server", url, "--root", file).has(t, 1, "not_found")
	typed(t, env, "status", "--server", strings.Replace(url, "127.0.0.1", "localhost", 1), "--root", file).has(t, 1, "untrusted", "localhost")
	typed(t, env, "status", "--server", url, "--root", "no-such-file").has(t, 2, "neither a SHA-256 nor a file")
}

func TestAServerThatSpeaksOlderTLSIsRefused(t *testing.T) {
	url, sha := stranger(t, tls.VersionTLS12)
	typed(t, map[string]string{"LEAFWARD_KEY": "lwk_secret"}, "status", "--server", url, "--root", sha).has(t, 1, "no_server", "protocol version")
}

// export writes a good export of n events.
func export(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := audit.NewExporter(&b, audit.Header{Server: "test", First: 1})
	if err != nil {
		t.Fatal(err)
	}
	var head audit.Hash
	for i := range n {
		r := audit.NewRecord(int64(i+1), head, []byte(`{"action":"team.created","id":"ev-`+string(rune('a'+i))+`"}`))
		if err := e.Write(r); err != nil {
			t.Fatal(err)
		}
		head = r.Chain
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestVerifyFindsEveryTamperingWithoutAServer(t *testing.T) {
	whole := export(t, 3)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	join := func(order ...int) []byte {
		var out []byte
		for _, i := range order {
			out = append(out, lines[i]...)
		}
		return out
	}
	for name, c := range map[string]struct {
		text []byte
		code int
		want string
	}{
		"whole":     {whole, 0, "3 events, 1 to 3"},
		"edited":    {bytes.Replace(whole, []byte("team.created"), []byte("team.deleted"), 1), 1, "audit_broken"},
		"deleted":   {join(0, 1, 3, 4), 1, "audit_broken"},
		"reordered": {join(0, 2, 1, 3, 4), 1, "audit_broken"},
		"inserted":  {join(0, 1, 1, 2, 3, 4), 1, "audit_broken"},
		"cut off":   {join(0, 1, 2), 1, "audit_broken"},
		"empty":     {nil, 1, "audit_broken"},
	} {
		file := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(file, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		s := typed(t, nil, "audit", "verify", file)
		if s.code != c.code || !strings.Contains(s.out+s.err, c.want) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	typed(t, nil, "audit", "verify", "/no/such/file").has(t, 1, "✖ file", "/no/such/file")
}
