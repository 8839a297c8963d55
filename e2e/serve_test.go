//go:build linux

package e2e_test

import (
	"crypto/tls"
	"errors"
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

func TestEveryMistakeOfAStartIsToldAtOnceWithItsRemedy(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	others, short := filepath.Join(home, "others"), filepath.Join(home, "short.key")
	if err := errors.Join(os.Mkdir(others, 0o755), os.WriteFile(filepath.Join(others, "thesis.txt"), nil, 0o644), os.WriteFile(short, []byte("short"), 0o600)); err != nil {
		t.Fatal(err)
	}
	many := start(t, program(t, "leafward"), "serve", "--data-dir", others, "--listen", "nowhere", "--public-url", "ftp://x", "--hostname", "a b", "--hostname", "1.2.3",
		"--database", "mysql://x", "--master-key-file", short, "--probe-allow", "10.0.0.0/99", "--colour", "red", "--public-listen", "-1", "now", "--json=maybe", "--config", home)
	code, said := many.ended(t), strings.Join(many.last(50), "\n")
	for _, want := range []string{
		"others may read the directory " + others, "--listen is", "--public-url is", `--hostname is "a b"`, `--hostname is "1.2.3"`, "--database is",
		"--master-key-file: the master key is not 32 bytes", "--probe-allow is", "--colour is not a flag", `--public-listen is followed by "-1"`, `"now" is no flag`,
		"--json is neither", "--config names a file that cannot be read",
	} {
		if code != 2 || !strings.Contains(said, want) {
			t.Errorf("it ended with %d and does not say %q in\n%s", code, want, said)
		}
	}
	data := filepath.Join(home, "data")
	one := start(t, program(t, "leafward"), "serve", "--data-dir", data, "--listen", "nowhere")
	if code, said := one.ended(t), strings.Join(one.last(50), "\n"); code != 1 || !strings.Contains(said, "fix   write it as 127.0.0.1:8443") {
		t.Errorf("it ended with %d and the remedy is not in\n%s", code, said)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("a start that was refused made a data directory")
	}
	below := start(t, program(t, "leafward"), "serve", "--data-dir", filepath.Join(short, "data"), "--database", "postgres://h/x?sslmode=bogus", "--public-listen=-1")
	code, said = below.ended(t), strings.Join(below.last(50), "\n")
	for _, want := range []string{"data cannot be used: not a directory\n", "        --data-dir: give a --data-dir that this user may write", "--database: the parameters", "--public-listen is"} {
		if code != 1 || !strings.Contains(said, want) {
			t.Errorf("it ended with %d and does not say %q in\n%s", code, want, said)
		}
	}
	if entries, err := os.ReadDir(others); err != nil || len(entries) != 1 {
		t.Errorf("a start that was refused wrote into the directory of others: %v %v", entries, err)
	}
}
