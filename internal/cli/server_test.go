package cli_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/agent/agenttest"
)

// desk is where somebody types at a server that runs.
type desk struct {
	*agenttest.House
	t   *testing.T
	env map[string]string
}

// atServer is a desk on the server's own machine.
func atServer(t *testing.T) *desk {
	h := agenttest.New(t)
	return &desk{h, t, map[string]string{"LEAFWARD_DATA_DIR": h.Dir()}}
}

// remote is a desk elsewhere, with a key of a role.
func (d *desk) remote(role string) *desk {
	d.t.Helper()
	key := strings.TrimSpace(d.ok("key", "create", role, "--role", role).out)
	return &desk{d.House, d.t, map[string]string{"LEAFWARD_SERVER": d.URL, "LEAFWARD_KEY": key, "LEAFWARD_ROOT": d.RootSHA256}}
}

func (d *desk) typed(args ...string) said {
	d.t.Helper()
	return typed(d.t, d.env, args...)
}

// ok is typed for what must go well.
func (d *desk) ok(args ...string) said {
	d.t.Helper()
	s := d.typed(args...)
	if s.code != 0 {
		d.t.Fatalf("leafward %s: %d\n%s%s", strings.Join(args, " "), s.code, s.out, s.err)
	}
	return s
}

// refused is typed for what must fail with the code and the words, in four parts and with nothing on standard output.
func (d *desk) refused(code, words string, args ...string) {
	d.t.Helper()
	s := d.typed(args...)
	if s.code == 0 || s.out != "" || !strings.HasPrefix(s.err, "✖ "+code+"\n") || !strings.Contains(s.err, words) {
		d.t.Errorf("leafward %s is not refused as %s with %q: %+v", strings.Join(args, " "), code, words, s)
	}
	for _, part := range []string{"\n  why   ", "\n  fix   ", "\n  read  "} {
		if !strings.Contains(s.err, part) {
			d.t.Errorf("leafward %s does not say %q:\n%s", strings.Join(args, " "), part, s.err)
		}
	}
}

// answer reads what a command answers in JSON.
func answer[T any](d *desk, args ...string) (out T) {
	d.t.Helper()
	s := d.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(s.out), &out); err != nil || s.err != "" {
		d.t.Fatalf("leafward %s --json: %v: %+v", strings.Join(args, " "), err, s)
	}
	return out
}

// over is a client over TLS with a key.
func (d *desk) over(key string) *api.Client {
	d.t.Helper()
	text, err := os.ReadFile(d.RootFile())
	if err != nil {
		d.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	d.t.Cleanup(transport.CloseIdleConnections)
	return &api.Client{Base: d.URL, Key: key, HTTP: &http.Client{Transport: transport}}
}

// rows is what lists answer.
type rows[T any] struct {
	Data  []T
	Total int64
}

func TestALongDataDirectoryIsReachedThroughItsPointer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", "/tmp")
	h := agenttest.NewIn(t, dir)
	pointer, err := os.ReadFile(filepath.Join(dir, "socket.path"))
	if err != nil {
		t.Fatal(err)
	}
	private := filepath.Dir(strings.TrimSpace(string(pointer)))
	if info, err := os.Stat(private); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s is not private: %v %v", private, info.Mode(), err)
	}
	typed(t, nil, "status", "--data-dir", dir).has(t, 0, "✔ ready", "admin")
	h.Stop()
	typed(t, nil, "status", "--data-dir", dir).has(t, 1, "no server runs")
}

func TestAKeyIsPrintedAloneAndOpensTheServerFromElsewhere(t *testing.T) {
	d := atServer(t)
	made := d.ok("key", "create", "ci", "--role", "operator")
	if !regexp.MustCompile(`^lwk_\S+\n$`).MatchString(made.out) {
		t.Errorf("standard output is not the key alone: %q", made.out)
	}
	made.has(t, 0, "next", "LEAFWARD_KEY")
	env := map[string]string{"LEAFWARD_SERVER": d.URL, "LEAFWARD_KEY": strings.TrimSpace(made.out), "LEAFWARD_ROOT": d.RootSHA256}
	typed(t, env, "status").has(t, 0, d.URL, "ci (operator)", d.RootSHA256)
	typed(t, map[string]string{"LEAFWARD_KEY": env["LEAFWARD_KEY"]}, "cert", "list", "--server", d.URL, "--root", d.RootFile()).has(t, 0, "no such certificates")
	typed(t, nil, "status", "--server", d.URL, "--key", "lwk_wrong", "--root", d.RootSHA256).has(t, 1, "✖ unauthorized", "fix")
	typed(t, env, "status", "--root", strings.Repeat("0", 64), "--server", d.URL).has(t, 1, "✖ untrusted", d.RootSHA256)
	typed(t, env, "key", "list").has(t, 1, "✖ forbidden")

	d.ok("key", "list").has(t, 0, "ci", "operator", "valid")
	d.refused("conflict", "", "key", "create", "ci", "--role", "admin")
	d.refused("invalid_request", "role", "key", "create", "other", "--role", "king")
	d.refused("not_found", "no team", "key", "create", "other", "--role", "admin", "--team", "nobody")
	d.ok("key", "revoke", "ci")
	typed(t, env, "status").has(t, 1, "✖ unauthorized")
	d.refused("not_found", "", "key", "revoke", "nobody")
	d.Stop()
	typed(t, env, "status").has(t, 1, "✖ no_server", d.URL)
}

func TestAnInvitationIsTheWholeCommandThatAHostTypes(t *testing.T) {
	d := atServer(t)
	line := d.ok("agent", "invite", "--name", "web1").out
	found := regexp.MustCompile(`^leafward agent join (\S+) --token (LWA-\S+) --root ([0-9a-f]{64})\n$`).FindStringSubmatch(line)
	if found == nil || found[3] != d.RootSHA256 {
		t.Fatalf("that is no command: %q", line)
	}
	if _, err := api.RegisterAgent.Call(t.Context(), d.over(found[2]), api.Make[api.AgentRegister]{Body: api.AgentRegister{Hostname: api.Some("web1.internal")}}); err != nil {
		t.Fatal(err)
	}
	d.ok("agent", "list").has(t, 0, "web1", "web1.internal")
	again := d.ok("agent", "invite", "--for", "web1").out
	if !strings.Contains(again, found[1]) || !strings.HasSuffix(again, "--force\n") || strings.Contains(again, found[2]) {
		t.Errorf("that does not give web1 a new key: %q", again)
	}
	d.refused("not_found", `no agent named "web9"`, "agent", "invite", "--for", "web9")
	d.refused("usage", "--team", "agent", "invite", "--for", "web1", "--team", "t-default")

	d.refused("unsupported_type", "NGINX", "target", "add", "shop", "--type", "abacus", "--agent", "web1")
	d.refused("not_found", "web9", "target", "add", "shop", "--type", "nginx", "--agent", "web9")
	d.refused("invalid_request", "key_path", "target", "add", "shop", "--type", "nginx", "--agent", "web1", "--cert-path", "/etc/nginx/shop.pem")
	d.refused("usage", "HOST:PORT", "target", "add", "shop", "--type", "nginx", "--agent", "web1", "--address", "here")
	d.ok("target", "add", "shop", "--type", "nginx", "--agent", "web1", "--cert-path", "/etc/nginx/shop.pem", "--key-path", "/etc/nginx/shop.key").has(t, 0, "next", "target test shop")
	d.ok("target", "list", "--agent", "web1").has(t, 0, "shop", "NGINX", "/etc/nginx/shop.pem")
	d.refused("not_found", "nowhere", "target", "test", "nowhere")

	d.ok("cert", "create", "shop.example.com", "--target", "shop", "--no-wait").has(t, 0, "goes on by itself")
	d.typed("cert", "renew", "shop.example.com").has(t, 1, "✖ conflict", "leafward job cancel job-")
	d.typed("job", "list").has(t, 0, "waits for the agent web1")
	waited := d.typed("cert", "bind", "shop.example.com", "shop", "--timeout", "300ms")
	waited.has(t, 1, "… signature for web1: waits for the agent web1", "not done after 300ms", "leafward job get job-")
	d.refused("conflict", "leafward cert unbind CERTIFICATE shop", "target", "remove", "shop")
	d.refused("blocked_by_dependencies", "1 ", "agent", "retire", "web1")
	d.ok("cert", "unbind", "shop.example.com", "shop").has(t, 0, "next")
	d.ok("cert", "create", "signed.example.com", "--target", "shop", "--server-key", "--no-wait")
	d.stands("signed.example.com")
	d.ok("cert", "unbind", "signed.example.com", "shop")
	d.typed("cert", "bind", "signed.example.com", "shop", "--timeout", "300ms").has(t, 1, "… deploy to shop: waits for the agent web1", "not done after 300ms", "leafward job get job-")
	d.ok("cert", "unbind", "signed.example.com", "shop")
	d.ok("cert", "bind", "signed.example.com", "shop", "--no-wait").has(t, 0, "the deployment goes on by itself")
	d.ok("cert", "bind", "signed.example.com", "shop", "--no-wait").has(t, 0, "the deployment goes on by itself")
	d.ok("cert", "unbind", "signed.example.com", "shop")
	d.refused("conflict", "does not belong", "cert", "unbind", "shop.example.com", "shop")
	d.ok("target", "remove", "shop").has(t, 0, "removed")
	d.ok("agent", "retire", "web1", "--reason", "sold").has(t, 0, "retired")
	d.ok("agent", "list", "--retired").has(t, 0, "web1", "sold")
}
