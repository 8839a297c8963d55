//go:build linux

package e2e_test

import (
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Three servers share a database while many renewals are due, and one after the other is killed and started again: each
// certificate is renewed once, and all say the same of it.
func TestRenewalsHappenOnceWhileServersDie(t *testing.T) {
	d := newDrill(t, "R8", "postgres")
	many, kills, pause := sized(90, 2000), sized(2, 24), 5*time.Second
	if !*long {
		pause = time.Second
	}
	servers := replicas(t, 3, "--clock="+ago(65*day))
	ids := make([]string, many)
	var making sync.WaitGroup
	for hand := range 8 {
		making.Go(func() {
			for i := hand; i < many; i += 8 {
				a, err := servers[i%3].admin.send(t.Context(), "POST", "/api/v1/certificates?wait=30", object{"common_name": fmt.Sprintf("r%d.example.com", i), "key_source": "server"})
				if err != nil || a.status != 201 {
					t.Errorf("%d: %d %v: %s", i, a.status, err, a.body)
					return
				}
				ids[i] = text(a.object(), "id")
			}
		})
	}
	making.Wait()
	if t.Failed() {
		return
	}
	at := time.Now()
	for _, s := range servers {
		s.setClock(t, time.Now())
	}
	random := d.random(0)
	worst := time.Duration(0)
	for range kills {
		<-time.After(pause)
		s := servers[random.IntN(len(servers))]
		s.kill()
		worst = max(worst, s.start(t))
	}
	if !*long { // what the killed ones had taken becomes free, which takes its time in the long form
		for _, s := range servers {
			s.advance(t, 2*time.Minute)
		}
	}
	renewed := servers[0].renewals(t, many)
	took := time.Since(at)
	for _, id := range ids {
		versions := servers[1].admin.rows(t, "/api/v1/certificates/"+id+"/versions")
		if len(versions) != 2 || renewed[id] != 1 {
			t.Errorf("%s has %d versions and was renewed %d times", id, len(versions), renewed[id])
		}
	}
	for _, j := range servers[2].admin.rows(t, "/api/v1/jobs?type=Renewal") {
		if text(j, "status") != "Completed" {
			t.Errorf("the job %s of %s is %s: %s", text(j, "id"), text(j, "certificate_id"), text(j, "status"), text(j, "last_error"))
		}
	}
	alike(t, servers)
	d.measured("%d renewals on 3 servers, %d kills, all renewed after %s, a killed server ready again after %s at most", many, kills, took.Round(time.Second/10), worst.Round(time.Millisecond))
}

// renewals waits until so many certificates are renewed, and counts the renewals of each that are on record.
func (s *server) renewals(t *testing.T, many int) map[string]int {
	t.Helper()
	for seen := map[string]bool{}; len(seen) < many; {
		seen[s.ledger.await(t, "certificate.renewed", "").Event.Resource] = true
	}
	renewed := map[string]int{}
	for _, e := range s.admin.rows(t, "/api/v1/audit?action=certificate.renewed") {
		renewed[text(e, "resource_id")]++
	}
	return renewed
}

// alike: every server gives out the same CRL, within five seconds.
func alike(t *testing.T, servers []*server) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		numbers := map[string]bool{}
		for _, s := range servers {
			list, err := x509.ParseRevocationList(fetch(t, s.plain+"/.well-known/pki/crl/iss-local"))
			if err != nil {
				t.Fatal(err)
			}
			numbers[list.Number.String()] = true
		}
		if len(numbers) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the servers give out different CRLs: %v", numbers)
			return
		}
	}
}
