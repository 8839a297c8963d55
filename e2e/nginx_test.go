//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nginx is a private web server in a directory of its own, on a loopback port.
type nginx struct {
	dir  string
	addr string // host:port
	log  *process
}

// startNginx runs an nginx without a TLS server yet: its certificate is still to come.
func startNginx(t testing.TB) *nginx {
	t.Helper()
	installed(t, "nginx", "openssl")
	n := &nginx{dir: shortDir(t), addr: freeAddress(t)}
	if err := os.Mkdir(n.tls(), 0o755); err != nil {
		t.Fatal(err)
	}
	n.configure(t, "")
	n.log = start(t, "nginx", n.args("-g", "daemon off;")...)
	n.log.heard(t, "start worker process")
	return n
}

func (n *nginx) file(name string) string { return filepath.Join(n.dir, name) }

// tls is the directory of certificates and keys.
func (n *nginx) tls() string { return n.file("tls") }

func (n *nginx) args(more ...string) []string {
	return append([]string{"-p", n.dir, "-c", n.file("nginx.conf")}, more...)
}

// test and reload are the commands for the agent's list.
func (n *nginx) test() string { return strings.Join(append([]string{"nginx"}, n.args("-t")...), " ") }

func (n *nginx) reload() string {
	return strings.Join(append([]string{"nginx"}, n.args("-s", "reload")...), " ")
}

// configure writes the configuration with what the http block shall hold besides.
func (n *nginx) configure(t testing.TB, http string) {
	t.Helper()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/tmp_%s;\n", kind, n.dir, kind)
	}
	text := fmt.Sprintf("worker_processes 1;\npid %s;\nerror_log stderr notice;\nevents {}\nhttp {\naccess_log off;\n%s%s}\n", n.file("nginx.pid"), &temp, http)
	if err := os.WriteFile(n.file("nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// secure gives it a TLS server with the certificate that the agent is to bring.
func (n *nginx) secure(t testing.TB) {
	t.Helper()
	n.configure(t, fmt.Sprintf("server {\nlisten %s ssl;\nssl_certificate %s;\nssl_certificate_key %s;\n}\n", n.addr, n.file("tls/site.pem"), n.file("tls/site.key")))
}

// spoil makes its configuration one that nginx refuses.
func (n *nginx) spoil(t testing.TB) {
	t.Helper()
	n.configure(t, "this is no configuration;\n")
}

// allowed are the flags with which an agent may do its work here.
func (n *nginx) allowed() []string {
	return []string{"--allow-path", n.tls(), "--allow-command", n.test(), "--allow-command", n.reload()}
}
