//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/audit"
)

// smallDisk is a file system of 40 MiB, which only root may mount.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root may mount a small file system")
	}
	dir := shortDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=40m,mode=0700"); err != nil {
		missing(t, "a small file system cannot be mounted here: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill takes all the room that is left.
func fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, size := range []int{1 << 20, 4096} {
		for err = error(nil); err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// A full disk refuses writes in words and keeps everything else going; room makes it whole without a restart.
func TestAFullDiskRefusesWritesAndNothingElse(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	d := newDrill(t, "R4", "sqlite")
	s := newServer(t, "")
	for i, flag := range s.flags {
		if flag == s.dir {
			s.flags[i] = filepath.Join(disk, "data")
		}
	}
	s.dir = filepath.Join(disk, "data")
	s.start(t)
	s.open(t)
	_, made := s.issue(t, "kept.example.com")
	id, serial := text(made, "id"), text(made, "version", "serial_number")
	_, gone := s.issue(t, "gone.example.com")
	s.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(gone, "id")+"/revoke", object{"reason": "superseded"})
	s.ledger.await(t, "crl.published", "")
	s.measures(t, "leafward_ocsp_responders 2") // of root and issuing authority

	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	acked := attempts(t, s, http.StatusInsufficientStorage)
	for _, path := range []string{"/api/v1/certificates/" + id, "/api/v1/certificates", "/api/v1/audit", "/health"} {
		s.admin.get(t, path)
	}
	v := newVerdict(t, &crashes{server: s})
	if got, err := v.ask(t, &certificate{serial: serial}); err != nil || got.String() != "good" {
		t.Errorf("OCSP says %v %v", got, err)
	}
	if got, err := v.ask(t, &certificate{serial: text(gone, "version", "serial_number")}); err != nil || got.String() != "revoked" {
		t.Errorf("OCSP says %v %v", got, err)
	}
	fetch(t, s.plain+"/.well-known/pki/crl/iss-local")
	s.kill()
	s.process = start(t, program(t, "leafward-testhooks"), s.flags...)
	s.heard(t, `"msg":"ready"`)
	fetch(t, s.plain+"/.well-known/pki/crl/iss-local")
	if got, err := v.ask(t, &certificate{serial: serial}); err != nil || got.String() != "good" {
		t.Errorf("after a start without room OCSP says %v %v", got, err)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	roomy := time.Now()
	acked += attempts(t, s, http.StatusCreated)
	d.measured("40 MiB of disk filled, writes refused with 507, reads, OCSP and CRL went on, also after a kill; with room again written after %s", time.Since(roomy).Round(time.Millisecond))
	rows := s.admin.rows(t, "/api/v1/teams?q=full")
	if len(rows) != acked {
		t.Errorf("%d teams were acknowledged and %d are there", acked, len(rows))
	}
	s.issue(t, "after.example.com")
	s.auditVerifies(t)
}

// auditVerifies exports the audit log, once the server's ledger has caught up, and verifies it.
func (s *server) auditVerifies(t testing.TB) (export []byte) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		a, err := s.admin.send(t.Context(), "GET", "/api/v1/audit/export", nil)
		switch {
		case err == nil && a.status == http.StatusServiceUnavailable && time.Now().Before(deadline):
			<-time.After(100 * time.Millisecond)
			continue
		case err != nil || a.status != http.StatusOK:
			t.Fatalf("%d %v", a.status, err)
		}
		if report, err := audit.Verify(bytes.NewReader(a.body)); err != nil {
			t.Errorf("the audit log does not verify after record %d: %v", report.Last, err)
		}
		return a.body
	}
}

// measures waits until the metrics have a line.
func (s *server) measures(t *testing.T, line string) {
	t.Helper()
	look, deadline := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer look.Stop()
	for {
		a, err := s.local().send(t.Context(), "GET", "/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(a.body, []byte("\n"+line+"\n")) {
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("after %s the metrics do not have %q:\n%s", patience, line, a.body)
		}
	}
}

// attempts writes until the answer is as wanted, and returns how many writes were acknowledged. There may be no other
// answers than "made" and "no room".
func attempts(t *testing.T, s *server, want int) (acked int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for n := 0; ; n++ {
		a, err := s.admin.send(ctx, "POST", "/api/v1/teams", object{"name": fmt.Sprintf("full-%d-%d", want, n), "description": string(bytes.Repeat([]byte("x"), 900))})
		if err != nil {
			t.Fatalf("no answer was %d: %v", want, err)
		}
		if a.status == http.StatusCreated {
			acked++
		} else if a.status != http.StatusInsufficientStorage {
			t.Fatalf("it is %d: %s", a.status, a.body)
		}
		if a.status == want {
			return acked
		}
	}
}
