//go:build linux

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A newcomer types three commands on an empty machine, and a client that trusts the root gets the certificate. Nobody has a
// password then, and nothing is there but what the newcomer asked for. This is the binary that is shipped, with nothing for
// tests in it.
func TestThreeCommandsLeadToAServedCertificate(t *testing.T) {
	t.Parallel()
	installed(t, "openssl")
	d := newDrill(t, "R46", "sqlite")
	home := shortDir(t)
	data, out, web := filepath.Join(home, "data"), filepath.Join(home, "tls"), freeAddress(t)
	begun := time.Now()

	listen := freeAddress(t)
	server := start(t, program(t, "leafward"), "serve", "--data-dir", data, "--listen", listen, "--public-listen", freeAddress(t))
	server.heard(t, "is ready")
	ready := time.Since(begun)
	tool(t, nil, program(t, "leafward"), "issue", "localhost", "--data-dir", data, "--out", out)
	site := start(t, "openssl", "s_server", "-accept", web, "-key", filepath.Join(out, "localhost.key"), "-cert", filepath.Join(out, "localhost.crt"),
		"-cert_chain", filepath.Join(out, "localhost.crt"), "-www")
	site.heard(t, "ACCEPT")

	root, err := os.ReadFile(filepath.Join(data, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(root)
	conn, err := tls.Dial("tcp", web, &tls.Config{RootCAs: trusted, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	_ = conn.Close()
	if lines := len(server.last(1000)); lines > 22 {
		t.Errorf("the server said %d lines; a newcomer gets 22 at most", lines)
	}
	if *long && ready > time.Second { // half a second alone on its machine
		t.Errorf("the server was ready after %s", ready)
	}
	if took > time.Minute {
		t.Errorf("it took %s", took)
	}
	bare(t, data, "https://"+listen)
	d.measured("three commands, ready after %s, served after %s, no password, nothing that was not asked for", ready.Round(time.Millisecond), took.Round(time.Millisecond))
	if code := server.stop(t); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
}

// bare: there is no key but those that somebody makes, and nothing but the seeds and the one certificate that was asked for.
func bare(t *testing.T, data, url string) {
	t.Helper()
	local := overSocketOf(data)
	for path, want := range map[string]int{
		"/api/v1/keys": 0, "/api/v1/certificates": 1, "/api/v1/targets": 0, "/api/v1/agents": 0, "/api/v1/agents/invitations": 0,
		"/api/v1/teams": 1, "/api/v1/owners": 1, "/api/v1/issuers": 1, "/api/v1/profiles": 1, "/api/v1/renewal-policies": 1,
	} {
		if rows := local.rows(t, path); len(rows) != want {
			t.Errorf("%s has %d rows, not %d: %v", path, len(rows), want, rows)
		}
	}
	stranger := newClient(t, url, "", (&server{dir: data}).root(t))
	for _, key := range []string{"", "admin", "password", "changeme", "leafward", "lwk_admin"} {
		stranger.as(key).expect(t, 401, "GET", "/api/v1/teams", nil)
	}
}
