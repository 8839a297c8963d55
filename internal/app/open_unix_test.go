//go:build unix

package app_test

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/leafward/leafward/internal/config"
)

// The umask of who starts the server takes nothing away here: what is private is so by itself.
func TestNobodyElseMayReadTheDataDirectory(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		defer syscall.Umask(syscall.Umask(0))
		s := start(t, settings)
		key := s.key(t, "first", "admin", "")
		if got := do(t, s.https(t), "GET", "https://"+s.API+"/api/v1/auth/check", key, ""); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		files := 0
		err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			switch {
			case entry.IsDir():
				want = 0o700
			case entry.Name() == "root.pem":
				want = 0o644
			}
			if files++; info.Mode().Perm() != want {
				t.Errorf("%s has the mode %o, not %o", path, info.Mode().Perm(), want)
			}
			return nil
		})
		if err != nil || files < 6 {
			t.Errorf("%d files: %v", files, err)
		}
	})
}
