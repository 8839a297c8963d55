//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// maxStop is how long a server may take to end after SIGTERM.
const maxStop = 10 * time.Second

// A server that is told to stop answers everything that it has begun to read, and what it acknowledged is on record.
func TestAServerThatStopsFailsNoRequestUnderWay(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := &stops{drill: newDrill(t, "R42", engineOf(dsn)), server: serve(t, dsn)}
		rounds, worst := sized(3, 20), time.Duration(0)
		for round := range rounds {
			worst = max(worst, d.round(t, round))
			if t.Failed() {
				return
			}
			d.server.start(t)
		}
		made := d.server.admin.rows(t, "/api/v1/audit?action=certificate.issued")
		if int64(len(made)) < d.acked.Load() {
			t.Errorf("%d certificates were acknowledged and %d are on record", d.acked.Load(), len(made))
		}
		d.measured("%d stops under load, %d certificates acknowledged, %d requests cut off, ended after %s at most", rounds, d.acked.Load(), d.cut.Load(), worst.Round(time.Millisecond))
		if worst > maxStop {
			t.Errorf("the server ended after %s; the limit is %s", worst, maxStop)
		}
	})
}

// stops is one run of the drill.
type stops struct {
	*drill
	server *server
	acked  atomic.Int64
	cut    atomic.Int64 // requests that went out and were not answered
}

// round loads the server, stops it in the midst of that, and returns how long it took to end.
func (d *stops) round(t *testing.T, round int) time.Duration {
	var working sync.WaitGroup
	stopping := make(chan struct{})
	begun := make(chan struct{}, 1)
	for hand := range 8 {
		working.Go(func() {
			for n := 0; d.issue(t, fmt.Sprintf("s%d-%d-%d.example.com", round, hand, n)); n++ {
				select {
				case begun <- struct{}{}:
				default:
				}
				select {
				case <-stopping:
					return
				default:
				}
			}
		})
	}
	for range 20 {
		<-begun
	}
	at := time.Now()
	d.server.signal(syscall.SIGTERM)
	close(stopping)
	d.server.ended(t)
	took := time.Since(at)
	working.Wait()
	return took
}

// issue gets one certificate; false when the server takes no requests any more.
func (d *stops) issue(t *testing.T, host string) bool {
	_, csr := newCSR(t, host)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := d.server.admin.send(ctx, "POST", "/api/v1/certificates?wait=20", object{"common_name": host, "csr_pem": csr})
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return false // it had closed its door before the request went out
	case err != nil:
		d.cut.Add(1)
		t.Errorf("%s was cut off: %v", host, err)
		return false
	case a.status != http.StatusCreated:
		t.Errorf("%s: %d %s", host, a.status, a.body)
		return false
	}
	d.acked.Add(1)
	return true
}
