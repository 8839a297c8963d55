package agent

import (
	"context"
	"sync"
	"time"
)

// desk knows which jobs the agent works, and which it must leave alone for a while because they failed here.
type desk struct {
	pace  Pace
	freed chan struct{} // holds one token when a job ended since the last pause
	works sync.WaitGroup

	mu    sync.Mutex
	jobs  map[string]bool
	waits map[string]delay
}

// delay is a job that is left alone until an instant.
type delay struct {
	until time.Time
	n     int // failures
}

const maxDelays = 1000 // jobs that are remembered as failed

func newDesk(pace Pace) *desk {
	return &desk{pace: pace, freed: make(chan struct{}, 1), jobs: make(map[string]bool), waits: make(map[string]delay)}
}

// take reserves a job, unless it is worked already, is to be left alone, or enough others are worked. Whoever took it
// calls free with what came of it.
func (d *desk) take(job string) (free func(error), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.jobs[job] || len(d.jobs) >= atOnce || time.Now().Before(d.waits[job].until) {
		return nil, false
	}
	d.jobs[job] = true
	d.works.Add(1)
	return func(err error) { d.free(job, err) }, true
}

func (d *desk) free(job string, err error) {
	d.mu.Lock()
	delete(d.jobs, job)
	if err == nil {
		delete(d.waits, job)
	} else {
		d.clear()
		n := d.waits[job].n
		d.waits[job] = delay{until: time.Now().Add(d.pace.backoff(n, err)), n: n + 1}
	}
	d.mu.Unlock()
	select {
	case d.freed <- struct{}{}:
	default:
	}
	d.works.Done()
}

// clear forgets jobs that need not be left alone any more, when there are many.
func (d *desk) clear() {
	if len(d.waits) < maxDelays {
		return
	}
	for job, wait := range d.waits {
		if time.Now().After(wait.until) {
			delete(d.waits, job)
		}
	}
}

// pause waits until a job ends, for a while, or until the context ends.
func (d *desk) pause(ctx context.Context) {
	timer := time.NewTimer(spread(d.pace.Pause))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-d.freed:
	}
}

// busy is how many jobs are worked.
func (d *desk) busy() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.jobs)
}

// wait waits until no job is worked.
func (d *desk) wait() { d.works.Wait() }
