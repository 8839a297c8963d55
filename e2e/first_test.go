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

// A newcomer types three commands on an empty machine, and a client that trusts the root gets the certificate. This is the
// binary that is shipped, with nothing for tests in it.
func TestThreeCommandsLeadToAServedCertificate(t *testing.T) {
	t.Parallel()
	installed(t, "openssl")
	home := shortDir(t)
	data, out, web := filepath.Join(home, "data"), filepath.Join(home, "tls"), freeAddress(t)
	begun := time.Now()

	server := start(t, program(t, "leafward"), "serve", "--data-dir", data, "--listen", freeAddress(t), "--public-listen", freeAddress(t))
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
	if ready > time.Second { // half a second alone on its machine
		t.Errorf("the server was ready after %s", ready)
	}
	if took > time.Minute {
		t.Errorf("it took %s", took)
	}
	t.Logf("ready after %s, served after %s", ready.Round(time.Millisecond), took.Round(time.Millisecond))
	if code := server.stop(t); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
}
