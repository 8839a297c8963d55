//go:build linux

package e2e_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Two servers share a database, and one is killed between the work and the record of it: the other goes on, and each
// certificate is renewed once.
func TestARenewalHappensOnceWhenOneOfTwoServersIsKilled(t *testing.T) {
	t.Parallel()
	const many = 40
	two := replicas(t, 2, "--clock="+ago(65*day))
	doomed, heir := two[0], two[1]

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
