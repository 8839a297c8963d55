//go:build linux

package e2e_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pgtest"
)

// Two servers share a database, and one is killed between the work and the record of it: the other goes on, and each
// certificate is renewed once.
func TestARenewalHappensOnceWhenOneOfTwoServersIsKilled(t *testing.T) {
	t.Parallel()
	const many = 40
	dsn, master := pgtest.DSN(t), filepath.Join(t.TempDir(), "master.key")
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	if err := os.WriteFile(master, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	past := "--clock=" + ago(65*day)
	doomed, heir := newServer(t, dsn, "--master-key-file", master), newServer(t, dsn, "--master-key-file", master)
	doomed.start(t, past)
	doomed.open(t)
	heir.start(t, past)
	heir.admin = newClient(t, heir.url, doomed.admin.key, heir.root(t))
	heir.ledger = follow(t, filepath.Join(heir.dir, "ledger"))

	var making sync.WaitGroup
	ids := make([]string, many)
	for i := range many {
		making.Go(func() {
			name := fmt.Sprintf("r%d.example.com", i)
			a, err := doomed.admin.send(t.Context(), "POST", "/api/v1/certificates?wait=30", object{"common_name": name, "key_source": "server"})
			if err != nil || a.status != 201 {
				t.Errorf("%s: %d %v: %s", name, a.status, err, a.body)
			}
			ids[i] = text(a.object(), "id")
		})
	}
	making.Wait()
	if t.Failed() {
		return
	}
	doomed.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "job.before-finish", "action": "after:3,1*kill"})
	heir.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "job.before-finish", "action": "sleep:400ms"}) // or it does all by itself
	doomed.setClock(t, time.Now())
	heir.setClock(t, time.Now())
	doomed.ended(t)
	heir.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "job.before-finish", "action": ""})
	heir.advance(t, 2*time.Minute) // what the killed one had taken becomes free

	renewed := map[string]int{}
	for len(renewed) < many {
		renewed[heir.ledger.await(t, "certificate.renewed", "").Event.Resource]++
	}
	jobs := map[string]int{}
	for _, j := range heir.admin.rows(t, "/api/v1/jobs?type=Renewal") {
		jobs[text(j, "certificate_id")]++
		if text(j, "status") != "Completed" {
			t.Errorf("the job %v is not completed", j)
		}
	}
	for _, id := range ids {
		versions := heir.admin.rows(t, "/api/v1/certificates/"+id+"/versions")
		if len(versions) != 2 || renewed[id] != 1 || jobs[id] != 1 {
			t.Errorf("%s has %d versions, %d jobs and was renewed %d times", id, len(versions), jobs[id], renewed[id])
		}
	}
}
