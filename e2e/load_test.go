//go:build linux

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// What a server must bear on two cores that it shares with its clients.
const (
	minLoad    = 1000                   // certificates in a second
	maxSigning = 100 * time.Millisecond // of 99 in 100
)

// Clients have certificates signed as fast as they can: no request fails, and everything that was acknowledged is on record.
func TestUnderLoadNothingFailsAndEverythingIsOnRecord(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R21", engineOf(dsn))
		l := &load{server: serve(t, dsn), span: time.Duration(sized(1, 60)) * time.Second, signed: map[string]string{}}
		took := l.run(t)
		l.judge(t)
		slices.Sort(l.waits)
		n := len(l.waits)
		if n == 0 {
			t.Fatal("nothing was signed")
		}
		rate, p50, p99 := float64(n)/took.Seconds(), l.waits[n/2], l.waits[n*99/100]
		if *long && (rate < minLoad || p99 > maxSigning) {
			t.Errorf("at least %d/s and at most %s are asked for", minLoad, maxSigning)
		}
		d.measured("%d certificates by 16 clients, %.0f/s, p50 %s, p99 %s, %d errors", n, rate, p50.Round(time.Millisecond/10), p99.Round(time.Millisecond/10), l.failed)
	})
}

// load is one run of the drill.
type load struct {
	server *server
	span   time.Duration

	mu     sync.Mutex
	signed map[string]string // serials by certificate, as they were acknowledged
	waits  []time.Duration
	failed int
}

// run has the clients ask until the time is over.
func (l *load) run(t *testing.T) time.Duration {
	t.Helper()
	c := l.server.admin.quick()
	requests := l.requests(t)
	begun := time.Now()
	var all sync.WaitGroup
	for hand := range 16 {
		all.Go(func() {
			for n := hand; time.Since(begun) < l.span; n += 16 {
				var csr string
				if n < len(requests) {
					csr = requests[n]
				} else {
					_, csr = newCSR(t, fmt.Sprintf("l%d.example.com", n))
				}
				at := time.Now()
				a, err := c.send(t.Context(), "POST", "/api/v1/certificates", object{"csr_pem": csr})
				l.note(t, time.Since(at), a, err)
			}
		})
	}
	all.Wait()
	return time.Since(begun)
}

// requests are CSRs, each with a key of its own, for what can be expected. They are made before the time begins: clients have
// machines of their own.
func (l *load) requests(t *testing.T) []string {
	t.Helper()
	made := make([]string, int(1.2*minLoad*l.span.Seconds()))
	var all sync.WaitGroup
	for hand := range 16 {
		all.Go(func() {
			for n := hand; n < len(made); n += 16 {
				_, made[n] = newCSR(t, fmt.Sprintf("l%d.example.com", n))
			}
		})
	}
	all.Wait()
	return made
}

// note writes down how one request was answered.
func (l *load) note(t *testing.T, wait time.Duration, a answer, err error) {
	var made struct {
		ID      string
		Version struct {
			Serial string `json:"serial_number"`
		}
	}
	wrong := json.Unmarshal(a.body, &made)
	id, serial := made.ID, made.Version.Serial
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = errors.Join(err, wrong); err != nil || a.status != http.StatusCreated || serial == "" {
		t.Errorf("%d %v: %s", a.status, err, a.body)
		l.failed++
		return
	}
	l.signed[id] = serial
	l.waits = append(l.waits, wait)
}

// judge holds what was acknowledged against the audit log.
func (l *load) judge(t *testing.T) {
	t.Helper()
	recorded := map[string]string{}
	for _, e := range l.server.admin.rows(t, "/api/v1/audit?action=certificate.issued") {
		id, serial := text(e, "resource_id"), text(e, "details", "serial")
		if other, twice := recorded[id]; twice {
			t.Errorf("%s was issued as %s and as %s", id, other, serial)
		}
		recorded[id] = serial
	}
	serials := map[string]bool{}
	for id, serial := range l.signed {
		if number(t, recorded[id]).Cmp(number(t, serial)) != 0 || serials[serial] {
			t.Errorf("%s was acknowledged with the serial %s, and recorded is %q", id, serial, recorded[id])
		}
		serials[serial] = true
	}
}
