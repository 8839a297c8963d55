//go:build linux

package e2e_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheServerStartsServesAndStops(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := serve(t, dsn)
		if line := s.heard(t, `"msg":"ready"`); !strings.Contains(line, s.rootSHA256(t)) {
			t.Errorf("root.pem has the fingerprint %s and the log says %s", s.rootSHA256(t), line)
		}
		for _, path := range []string{"/health", "/ready", "/api/v1/version", "/api/v1/auth/check", "/api/v1/audit"} {
			s.admin.get(t, path)
		}
		s.admin.as("").expect(t, http.StatusUnauthorized, "GET", "/api/v1/auth/check", nil)
		s.admin.as("lwk_wrong").expect(t, http.StatusUnauthorized, "GET", "/api/v1/audit", nil)
		if _, err := tls.Dial("tcp", s.listen, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}); err == nil {
			t.Error("a client without the root trusts the server")
		}
		for name, mode := range map[string]os.FileMode{"": 0o700, "master.key": 0o600, "leafward.sock": 0o600, "root.pem": 0o644, "ledger": 0o700} {
			if info, err := os.Stat(filepath.Join(s.dir, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s has the mode %v, not %v (%v)", name, info.Mode().Perm(), mode, err)
			}
		}
		second := start(t, program(t, "leafward-testhooks"), s.flags...)
		if code := second.ended(t); code == 0 || !strings.Contains(strings.Join(second.last(20), "\n"), s.dir) {
			t.Errorf("a second server on the same data directory ended with %d and said %q", code, second.last(20))
		}
		if code := s.stop(t); code != 0 {
			t.Errorf("it ended with %d", code)
		}
	})
}
