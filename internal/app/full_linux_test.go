package app_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sealing "filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/app"
	"github.com/leafward/leafward/internal/envelope"
	"github.com/leafward/leafward/internal/store"
)

func TestAFullDiskRefusesWritesAndNothingElse(t *testing.T) {
	settings := fresh(t)
	disk := filepath.Dir(settings.DataDir)
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	s := start(t, settings)
	client, owner := s.https(t), s.owner(t)
	ocsp, crl := "http://"+s.Public+"/.well-known/pki/ocsp/iss-local/0abc", "http://"+s.Public+"/.well-known/pki/crl/iss-local"
	if got := get(t, client, ocsp); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	full := answer{}
	for i := range 200 { // until what the log of the database had left is used up
		if full = s.team(t, owner, fmt.Sprintf("team %d", i)); full.status != 201 {
			break
		}
	}
	if full.status != http.StatusInsufficientStorage || full.json("error") != "insufficient_storage" {
		t.Errorf("%+v", full)
	}
	if got := get(t, owner, "http://local/ready"); got.status != 503 || !strings.Contains(got.body, `"disk"`) {
		t.Errorf("readiness: %+v", got)
	}
	for _, url := range []string{ocsp, crl} {
		if got := get(t, client, url); got.status != 200 {
			t.Errorf("%s: %+v", url, got)
		}
	}
	if got := get(t, owner, "http://local/api/v1/teams"); got.status != 200 {
		t.Errorf("reading: %+v", got)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if got := s.team(t, owner, "after"); got.status != 201 {
		t.Errorf("with space again: %+v", got)
	}
}

// team makes one.
func (s *server) team(t *testing.T, client *http.Client, name string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://local/api/v1/teams", strings.NewReader(`{"name":"`+name+`","description":"`+strings.Repeat("x", 900)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return send(t, client, request)
}

// fill writes a file until nothing more goes in.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, size := range []int{1 << 20, 1 << 12} {
		for err = nil; err == nil; {
			_, err = io.WriteString(file, strings.Repeat("x", size))
		}
	}
}

// small mounts a disk with a limit, such as size=4096, or skips the test.
func small(t *testing.T, limit string) (disk string) {
	t.Helper()
	disk = t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, limit); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	return disk
}

// octets is the limit of a disk that takes so many.
func octets(n int64) string { return fmt.Sprintf("size=%d", n) }

// keyPair is what encrypts and opens a backup without the work that a passphrase takes.
func keyPair(t *testing.T) envelope.Opener {
	t.Helper()
	key, err := sealing.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return envelope.Opener{Recipients: []string{key.Recipient().String()}, IdentityFile: file}
}

func TestADiskThatIsFullLeavesNoHalfBackupAndNoHalfDatabase(t *testing.T) {
	settings, opener := fresh(t), keyPair(t)
	s := start(t, settings)
	file := filepath.Join(t.TempDir(), "backup.age")
	done, err := app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: file, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	owner := s.owner(t)
	for i := range 400 { // which only the ledger knows
		if got := s.team(t, owner, fmt.Sprintf("team %d", i)); got.status != 201 {
			t.Fatalf("%+v", got)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for size := done.Size / 2; size < done.Size; size += done.Size / 5 {
		disk := small(t, octets(size))
		_, err := app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: filepath.Join(disk, "backup.age"), Version: "test"})
		if left, wrong := os.ReadDir(disk); leafward.KindOf(err) != leafward.StorageFull || wrong != nil || len(left) > 0 {
			t.Errorf("a disk of %d octets for a backup of %d: %v, and it holds %v (%v)", size, done.Size, err, left, wrong)
		}
	}
	r := app.Restoring{Opener: opener, File: file, Newer: app.Newer{Ledgers: []string{filepath.Join(settings.DataDir, "ledger")}}}
	r.DataDir = t.TempDir()
	whole, err := app.Restore(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := store.StateOf(t.Context(), store.Config{Path: filepath.Join(r.DataDir, "leafward.db")})
	if err != nil || want.Events <= whole.Gap.Events {
		t.Fatalf("%+v %+v %v", want, whole, err)
	}
	r.DataDir = filepath.Join(small(t, "nr_inodes=1"), "data") // which cannot be made
	if _, err := app.Restore(t.Context(), r); leafward.KindOf(err) != leafward.StorageFull {
		t.Errorf("a disk that takes no more files: %v", err)
	}
	failed, restored := 0, 0
	for size := done.Size; restored < 2; size += 48 << 10 {
		r.DataDir = small(t, octets(size))
		if _, err := app.Restore(t.Context(), r); err != nil {
			failed++
			if left, wrong := os.ReadDir(r.DataDir); leafward.KindOf(err) != leafward.StorageFull || wrong != nil || len(left) > 0 {
				t.Errorf("a disk of %d octets: %v, and it holds %v (%v)", size, err, left, wrong)
			}
			continue
		}
		restored++
		elsewhere := filepath.Join(t.TempDir(), "leafward.db") // there may be no room to open it
		content, err := os.ReadFile(filepath.Join(r.DataDir, "leafward.db"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(elsewhere, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := store.StateOf(t.Context(), store.Config{Path: elsewhere}); err != nil || got.Events != want.Events {
			t.Errorf("a disk of %d octets: restored are %d events, not %d (%v)", size, got.Events, want.Events, err)
		}
	}
	if failed == 0 {
		t.Error("no disk was too small")
	}
}
