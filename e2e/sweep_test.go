//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a sweep may take, and what it may cost those who ask for something else meanwhile.
const (
	maxSweep  = 5 * time.Minute
	maxAnswer = 200 * time.Millisecond // of 99 in 100
	atOnce    = 4                      // --max-concurrent-issuance
)

// Everything is due at once: as many renewals as the hour allows begin, those that end first first, no more of them run at
// once than may, each certificate is renewed once, the others say why they wait and have their turn an hour later.
func TestEverythingIsDueAtOnce(t *testing.T) {
	flags := []string{"--clock=" + ago(65*day), "--max-renewals-per-hour=" + strconv.Itoa(sweepSize()), "--max-concurrent-issuance=" + strconv.Itoa(atOnce)}
	t.Run("sqlite", func(t *testing.T) { newSweep(t, "sqlite", []*server{serve(t, "", flags...)}).run() })
	t.Run("postgres", func(t *testing.T) { newSweep(t, "postgres", replicas(t, 3, flags...)).run() })
}

// sweep is one run of the drill.
type sweep struct {
	*drill
	servers []*server
	many    int
	first   []string // ids of those that end first, as many as an hour allows
	last    []string // ids of the others
}

// sweepSize is how many renewals an hour allows.
func sweepSize() int { return sized(40, 10_000) }

func newSweep(t *testing.T, on string, servers []*server) *sweep {
	return &sweep{drill: newDrill(t, "R20", on), servers: servers, many: sweepSize()}
}

func (x *sweep) run() {
	x.first, x.last = x.make("first", x.many, 89), x.make("last", x.many/10, 90)
	if x.Failed() {
		return
	}
	stop := x.others()
	at := time.Now()
	for _, s := range x.servers {
		s.setClock(x.T, time.Now())
	}
	x.servers[0].counts(x.T, x.many)
	took := time.Since(at)
	others := stop()
	x.once(x.first, 1)
	x.once(x.last, 0)
	for _, id := range x.last {
		if c := x.servers[0].admin.get(x.T, "/api/v1/certificates/"+id); !strings.Contains(text(c, "waiting_for"), "--max-renewals-per-hour allows "+strconv.Itoa(x.many)) || text(c, "status") != "Expiring" {
			x.Errorf("%s is %s and waits for %q", text(c, "name"), text(c, "status"), text(c, "waiting_for"))
		}
	}
	if *long && (took > maxSweep || others.p99 > maxAnswer) {
		x.Errorf("it took %s, and of the others 99 in 100 waited %s", took, others.p99)
	}
	for _, s := range x.servers {
		s.advance(x.T, time.Hour)
	}
	x.servers[0].counts(x.T, len(x.last))
	x.once(x.last, 1)
	x.crowd()
	x.measured("%d renewals on %d servers, %d of one issuer at once, all renewed after %s, %d beyond the hour's number an hour later; meanwhile %d other requests, p99 %s",
		x.many, len(x.servers), atOnce, took.Round(time.Second/10), len(x.last), others.n, others.p99.Round(time.Millisecond))
}

// make has certificates issued that live for some days.
func (x *sweep) make(name string, many, days int) []string {
	ids := make([]string, many)
	var making sync.WaitGroup
	for hand := range 8 {
		making.Go(func() {
			for i := hand; i < many; i += 8 {
				a, err := x.servers[i%len(x.servers)].admin.send(x.Context(), "POST", "/api/v1/certificates?wait=30",
					object{"common_name": fmt.Sprintf("%s%d.example.com", name, i), "key_source": "server", "ttl_seconds": days * 86400})
				if err != nil || a.status != http.StatusCreated || a.object()["version"] == nil {
					x.Errorf("%d: %d %v: %s", i, a.status, err, a.body)
					return
				}
				ids[i] = text(a.object(), "id")
			}
		})
	}
	making.Wait()
	return ids
}

// counts waits until so many more certificates are renewed.
func (s *server) counts(t *testing.T, many int) {
	t.Helper()
	for range many {
		s.ledger.await(t, "certificate.renewed", "")
	}
}

// once: each of the certificates was renewed so many times.
func (x *sweep) once(ids []string, times int) {
	x.Helper()
	renewed := map[string]int{}
	for _, e := range x.servers[0].admin.rows(x.T, "/api/v1/audit?action=certificate.renewed") {
		renewed[text(e, "resource_id")]++
	}
	for i, id := range ids {
		versions := x.servers[i%len(x.servers)].admin.rows(x.T, "/api/v1/certificates/"+id+"/versions")
		if len(versions) != 1+times || renewed[id] != times {
			x.Errorf("%s has %d versions and was renewed %d times, not %d", id, len(versions), renewed[id], times)
		}
	}
}

// waits are how long other requests took.
type waits struct {
	n   int
	p99 time.Duration
}

// others asks every server for other things until it is stopped, and sees that no more runs at once than may: a renewal that
// runs is two jobs, its root and its order.
func (x *sweep) others() (stop func() waits) {
	ctx, cancel := context.WithCancel(x.Context())
	var asking sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	for i, s := range x.servers {
		asking.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
				}
				at := time.Now()
				switch n % 4 {
				case 0:
					s.ask(ctx, x.T, "GET", "/api/v1/certificates?per_page=50", nil)
				case 1:
					s.ask(ctx, x.T, "GET", "/api/v1/certificates/"+x.first[n%len(x.first)], nil)
				case 2:
					s.ask(ctx, x.T, "POST", "/api/v1/owners", object{"name": fmt.Sprintf("owner %d %d", i, n), "email": "a@example.com"})
				case 3:
					if running := s.gauge(ctx, x.T, `leafward_jobs{status="Running"}`); running > 2*atOnce {
						x.Errorf("%d jobs run at once", running)
					}
				}
				mu.Lock()
				took = append(took, time.Since(at))
				mu.Unlock()
			}
		})
	}
	return func() waits {
		cancel()
		asking.Wait()
		if len(took) == 0 {
			return waits{}
		}
		slices.Sort(took)
		return waits{len(took), took[len(took)*99/100]}
	}
}

// ask makes a request that must be answered well, unless the context ends meanwhile.
func (s *server) ask(ctx context.Context, t *testing.T, method, path string, body any) answer {
	a, err := s.admin.send(ctx, method, path, body)
	if ctx.Err() == nil && (err != nil || a.status >= 300) {
		t.Errorf("%s %s: %d %v %s", method, path, a.status, err, a.body)
	}
	return a
}

// gauge is the value of a line of the metrics, 0 when the context ends meanwhile.
func (s *server) gauge(ctx context.Context, t *testing.T, line string) int {
	a, err := s.local().send(ctx, "GET", "/metrics", nil)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(line) + ` (\S+)$`).FindSubmatch(a.body)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil || m == nil {
		t.Errorf("the metrics do not have %s: %d %v", line, a.status, err)
		return 0
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Error(err)
	}
	return int(n)
}

// crowd has callers' CSRs come at once, more than may be signed at once, while every signature is held: as many as may are in
// the midst of it on all servers together, and everybody else is told when to come back.
func (x *sweep) crowd() {
	const more = 8
	for _, s := range x.servers {
		s.local().expect(x.T, 200, "POST", "/testhooks/failpoint", object{"name": "ca.after-reserve", "action": "block"})
	}
	statuses := make(chan int, atOnce+more)
	var asking sync.WaitGroup
	for i := range atOnce + more {
		asking.Go(func() {
			host := fmt.Sprintf("crowd%d.example.com", i)
			_, csr := newCSR(x.T, host)
			a, err := x.servers[i%len(x.servers)].admin.send(x.Context(), "POST", "/api/v1/certificates", object{"common_name": host, "csr_pem": csr})
			if err != nil || a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
				x.Errorf("%v %d %s", err, a.status, a.body)
			}
			statuses <- a.status
		})
	}
	for range more {
		if status := <-statuses; status != http.StatusServiceUnavailable {
			x.Errorf("who finds the issuer busy is answered %d", status)
		}
	}
	held := 0
	for _, s := range x.servers {
		a, err := s.local().send(x.Context(), "GET", "/testhooks/failpoint", nil)
		if err != nil {
			x.Fatal(err)
		}
		if m := regexp.MustCompile(`"waiting":(\d+)`).FindSubmatch(a.body); m != nil {
			n, _ := strconv.Atoi(string(m[1]))
			held += n
		}
		s.local().expect(x.T, 200, "POST", "/testhooks/failpoint", object{"name": "ca.after-reserve", "action": ""})
	}
	if held != atOnce {
		x.Errorf("%d signatures were under way at once, not %d", held, atOnce)
	}
	asking.Wait()
	for range atOnce {
		if status := <-statuses; status != http.StatusCreated {
			x.Errorf("who has a place is answered %d", status)
		}
	}
}
