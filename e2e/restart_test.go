//go:build linux

package e2e_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pgtest"
)

// maxWindow is how long clients may hear nothing but "come again" when PostgreSQL is restarted.
const maxWindow = 5 * time.Second

// PostgreSQL is restarted under load, in an orderly way and as by a crash: clients are told to come again, soon are served,
// and what was acknowledged is there once.
func TestPostgreSQLIsRestartedUnderLoad(t *testing.T) {
	cluster := pgtest.Cluster(t, pgtest.Durable)
	d := &crashes{drill: newDrill(t, "R6", "postgres"), server: serve(t, cluster.Database(t)), target: int64(sized(160, 4000)), up: make(chan struct{})}
	close(d.up) // the server is never away
	var working sync.WaitGroup
	for i := range crashClients {
		c := &crasher{crashes: d, t: t, name: fmt.Sprintf("p%d", i), random: d.random(i)}
		d.clients = append(d.clients, c)
		working.Go(c.work)
	}
	times, worst := sized(2, 5), time.Duration(0)
	for n := range times {
		if !d.reached(t, d.target*int64(n+1)/int64(times+1)) {
			return
		}
		at, before := time.Now(), d.acked.Load()
		if err := cluster.Restart([]syscall.Signal{syscall.SIGINT, syscall.SIGQUIT}[n%2]); err != nil {
			t.Fatal(err)
		}
		worst = max(worst, d.served(t, before, at))
	}
	working.Wait()
	if t.Failed() {
		return
	}
	v := newVerdict(t, d)
	v.run(t)
	d.measured("%d restarts, %d certificates and %d revocations acknowledged, %d requests sent again, served again after %s at most",
		times, len(v.issued), len(v.revoked), d.again.Load(), worst.Round(time.Millisecond))
	if worst > maxWindow {
		t.Errorf("clients were served again after %s; the limit is %s", worst, maxWindow)
	}
}

// served waits until something was acknowledged after a moment, and returns how long that took.
func (d *crashes) served(t *testing.T, before int64, since time.Time) time.Duration {
	look, deadline := time.NewTicker(time.Millisecond), time.After(patience)
	defer look.Stop()
	for under := d.acked.Load(); d.acked.Load() == max(before, under); {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatal("nothing is acknowledged any more")
		}
	}
	return time.Since(since)
}
