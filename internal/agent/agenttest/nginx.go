package agenttest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/target"
)

// Nginx is a private nginx in a directory of its own. It runs, but its certificate and key do not exist yet: it serves
// from the first deployment on.
type Nginx struct {
	Dir     string // with its links resolved
	Address string // where it serves, on loopback
	t       testing.TB
}

// NewNginx starts one.
func NewNginx(t testing.TB) *Nginx {
	t.Helper()
	if _, err := (target.Command{"nginx", "-v"}).Run(t.Context()); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("nginx must be installed: apt-get install nginx")
		}
		t.Skip("nginx is not installed")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := &Nginx{t: t, Dir: dir, Address: FreeAddress(t)}
	if err := os.Mkdir(n.File("tls"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.Configure("")
	if _, err := n.Command().Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	Until(t, "nginx runs", func() bool { // a signal that comes earlier may be lost on its master
		said, err := os.ReadFile(n.File("error.log"))
		return err == nil && strings.Contains(string(said), "start worker process")
	})
	t.Cleanup(func() {
		n.Configure("") // nginx does not stop before it understands its configuration, which may name files that never came
		if _, err := n.Command("-s", "stop").Run(context.Background()); err != nil {
			t.Errorf("nginx goes on: %v", err)
		}
	})
	n.Configure(fmt.Sprintf("server {\nlisten %s ssl;\nssl_certificate %s;\nssl_certificate_key %s;\n}\n", n.Address, n.File("tls/shop.pem"), n.File("tls/shop.key")))
	return n
}

// File is a path in its directory.
func (n *Nginx) File(name string) string { return filepath.Join(n.Dir, name) }

// Command is nginx with arguments, on this server's configuration.
func (n *Nginx) Command(args ...string) target.Command {
	return append(target.Command{"nginx", "-p", n.Dir, "-c", n.File("nginx.conf")}, args...)
}

// Configure writes the configuration with what the http block shall hold.
func (n *Nginx) Configure(http string) {
	n.t.Helper()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/tmp_%s;\n", kind, n.Dir, kind)
	}
	text := fmt.Sprintf("worker_processes 1;\npid %s/nginx.pid;\nerror_log %s/error.log notice;\nevents {}\nhttp {\naccess_log off;\n%s%s}\n", n.Dir, n.Dir, &temp, http)
	if err := os.WriteFile(n.File("nginx.conf"), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// Settings are the configuration of the target that it is.
func (n *Nginx) Settings() map[string]any {
	host, port, err := net.SplitHostPort(n.Address)
	if err != nil {
		n.t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		n.t.Fatal(err)
	}
	return map[string]any{
		"cert_path": n.File("tls/shop.pem"), "key_path": n.File("tls/shop.key"), "address": host, "port": number,
		"validate_command": n.Command("-t").String(), "reload_command": n.Command("-s", "reload").String(),
	}
}

// Allowed are the commands that an agent must be allowed for these settings.
func (n *Nginx) Allowed() []string {
	return []string{n.Command("-t").String(), n.Command("-s", "reload").String()}
}

// Served is the SHA-256 of the certificate that it serves, "" for none.
func (n *Nginx) Served() string {
	return probe.Look(n.t.Context(), probe.Request{Address: n.Address, ServerName: "shop.example"}).Fingerprint
}
