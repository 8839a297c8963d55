package agent

import (
	"context"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
)

const (
	maxSteps   = 20   // steps of one request
	maxQueued  = 200  // steps that wait to be sent, as many as the server keeps of a job
	maxMessage = 2000 // bytes of a step's message and of an error
)

// report sends the steps of a job to the server while they are taken, in their order and without holding up the work.
type report struct {
	agent *Agent
	shift *shift
	wake  chan struct{}
	stop  context.CancelFunc
	ended chan struct{}

	mu    sync.Mutex
	queue []target.Step
}

// newReport begins to send. The caller closes it.
func newReport(ctx context.Context, a *Agent, s *shift) *report {
	until, stop := context.WithCancel(ctx)
	r := &report{agent: a, shift: s, wake: make(chan struct{}, 1), stop: stop, ended: make(chan struct{})}
	go r.run(ctx, until)
	return r
}

// tell queues a step.
func (r *report) tell(step target.Step) {
	r.mu.Lock()
	if len(r.queue) < maxQueued {
		r.queue = append(r.queue, target.Step{Name: step.Name, OK: step.OK, Message: clip(step.Message)})
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run sends until the second context ends, which does not cut short what is being sent.
func (r *report) run(ctx, until context.Context) {
	defer close(r.ended)
	for n := 0; until.Err() == nil; {
		select {
		case <-until.Done():
			return
		case <-r.wake:
		}
		err := r.flush(ctx)
		if err == nil {
			n = 0
			continue
		}
		rest(until, r.agent.pace.comeback(n, err))
		n++
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// close ends the sending beside the work; what is still queued goes with flush. What is being sent is not cut short: the
// server may have it, and would get it twice.
func (r *report) close() {
	r.stop()
	<-r.ended
}

// flush sends what is queued, one caller at a time. What the server does not want is dropped.
func (r *report) flush(ctx context.Context) error {
	for {
		r.mu.Lock()
		batch := r.queue[:min(maxSteps, len(r.queue))]
		r.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		if err := r.agent.link.steps(ctx, r.shift, batch); err != nil && !final(err) {
			return err
		}
		r.mu.Lock()
		r.queue = r.queue[len(batch):]
		r.mu.Unlock()
	}
}

// final tells an answer that another try would not change.
func final(err error) bool {
	switch leafward.KindOf(err) {
	case leafward.Invalid, leafward.Denied, leafward.Unauthorized, leafward.TooLarge:
		return true
	}
	return over(err)
}

// settle tells the server how a job ended, after its steps; again and again until it answers, the work must be cut short,
// or the agent is told to stop: then the server offers the job again, and the agent finds it done.
func (r *report) settle(ctx context.Context, outcome error) error {
	status := leafward.JobCompleted
	if outcome != nil {
		status = leafward.JobFailed
	}
	for n := 0; ; n++ {
		err := r.flush(ctx)
		if err == nil {
			err = r.agent.link.status(ctx, r.shift, status, outcome)
		}
		switch {
		case err == nil || over(err):
			return nil
		case final(err):
			return err
		}
		timer := time.NewTimer(r.agent.pace.comeback(n, err))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-r.shift.stopping:
			timer.Stop()
			return err
		}
	}
}

// clip makes text fit to be sent: valid UTF-8 without what cannot be shown, of a bounded number of bytes.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if leafward.Unprintable(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) <= maxMessage {
		return text
	}
	end := maxMessage - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
