package app_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
