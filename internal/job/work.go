package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// ErrLost says that the worker no longer has the lease under which it wanted to write: nothing was written.
var ErrLost = errors.New("the lease of the job was lost")

// Why the context of Work ended.
var (
	errStopping = errors.New("the server is stopping")
	errTimeout  = errors.New("the work took too long")
)

// Snooze is what Work returns to be called again after a while. It uses no attempt.
type Snooze struct {
	After      time.Duration
	WaitingFor string // for people: "the CA's answer"
}

func (s Snooze) Error() string { return fmt.Sprintf("waiting %v for %s", s.After, s.WaitingFor) }

// Await is what Work returns when others must do something first: the job waits in the status, JobAwaitingCSR or
// JobAwaitingApproval, until the engine's Snooze makes it pending again. It uses no attempt.
type Await struct {
	Status     leafward.JobStatus
	WaitingFor string
}

func (a Await) Error() string { return fmt.Sprintf("%s: waiting for %s", a.Status, a.WaitingFor) }

// Run is one attempt at a job by a worker of this process, for the one goroutine of Work.
type Run struct {
	Job    leafward.Job // as it was when it was last read under this lease
	Result any          // what Finish keeps as the job's result, in JSON; nil: none

	engine *Engine
	id     string
	epoch  int64
	hold   time.Duration
	lose   context.CancelCauseFunc
	ended  bool      // the job was settled under this lease
	beat   time.Time // when the lease was known to hold last; under the engine's lock
}

// Engine is the one that works the job: for what the work does to other jobs.
func (r *Run) Engine() *Engine { return r.engine }

// Finish completes the job in the transaction of its effect, which may be nil. When the lease was lost, neither
// happens and the error is ErrLost. The effect follows the rules of store.DB.Write.
func (r *Run) Finish(ctx context.Context, effect func(tx *store.Tx) error) error {
	return r.within(ctx, effect, func(tx *store.Tx, j *leafward.Job) error { return r.engine.Complete(tx, j, r.Result) })
}

// Checkpoint keeps what a later attempt resumes from, in the transaction of the effect, which may be nil. When the
// lease was lost, neither happens and the error is ErrLost.
func (r *Run) Checkpoint(ctx context.Context, value any, effect func(tx *store.Tx) error) error {
	text, err := encode(value)
	if err != nil {
		return err
	}
	return r.within(ctx, effect, func(tx *store.Tx, j *leafward.Job) error {
		j.Checkpoint = text
		tx.PutJob(j)
		return tx.Err()
	})
}

// Within changes the job under its lease, or is ErrLost. A change that ends the run, such as the engine's Await, Snooze
// or Fail with what belongs to it, is the last word: Work then returns nil.
func (r *Run) Within(ctx context.Context, change func(tx *store.Tx, j *leafward.Job) error) error {
	return r.within(ctx, nil, change)
}

// Resume reads the checkpoint of an earlier attempt; found is false when there is none.
func (r *Run) Resume(into any) (found bool, err error) {
	if r.Job.Checkpoint == "" {
		return false, nil
	}
	return true, json.Unmarshal([]byte(r.Job.Checkpoint), into)
}

// within runs the effect and the change of the job in one transaction under the lease.
func (r *Run) within(ctx context.Context, effect func(*store.Tx) error, change func(*store.Tx, *leafward.Job) error) error {
	if err := r.engine.config.Points.Hit("job.before-finish"); err != nil {
		return err
	}
	var now leafward.Job
	err := r.engine.db.Write(ctx, func(tx *store.Tx) error {
		if err := r.held(tx); err != nil {
			return err
		}
		if effect != nil {
			if err := effect(tx); err != nil {
				return err
			}
		}
		j, _, err := tx.JobOfAny(r.id) // read behind the effect, which may have written the row
		if err != nil {
			return err
		}
		err = change(tx, &j)
		now = j
		return err
	})
	if err == nil {
		r.Job, r.ended = now, r.ended || now.Status != leafward.JobRunning
	}
	return err
}

// held is ErrLost when the lease is no longer the run's.
func (r *Run) held(tx *store.Tx) error {
	j, found, err := tx.JobOfAny(r.id)
	if err == nil && !found {
		err = ErrLost
	}
	if err != nil {
		return err
	}
	return Held(&j, r.engine.config.Worker, r.epoch)
}

// Held is ErrLost unless the worker has the job under the epoch's lease. A lease that ended but that nobody took yet
// still holds: the write is fenced by the row itself.
func Held(j *leafward.Job, worker string, epoch int64) error {
	if j.Status != leafward.JobRunning || j.Worker != worker || j.Epoch != epoch {
		return ErrLost
	}
	return nil
}

// start runs a claimed job in a goroutine.
func (e *Engine) start(base context.Context, j leafward.Job) {
	ctx, lose := context.WithCancelCause(base)
	r := &Run{Job: j, engine: e, id: j.ID, epoch: j.Epoch, hold: e.kinds[j.Kind].Hold, lose: lose, beat: time.Now()}
	e.mu.Lock()
	e.running[j.ID] = r
	e.mu.Unlock()
	e.works.Go(func() {
		defer e.leave(r)
		e.conclude(base, r, e.attempt(ctx, r))
	})
}

// leave frees the run's place.
func (e *Engine) leave(r *Run) {
	r.lose(nil)
	e.mu.Lock()
	if e.running[r.id] == r {
		delete(e.running, r.id)
	}
	e.mu.Unlock()
	select {
	case e.freed <- struct{}{}:
	default:
	}
}

// attempt calls Work and says in its error how it ended.
func (e *Engine) attempt(ctx context.Context, r *Run) (err error) {
	k := e.kinds[r.Job.Kind]
	limit := k.Timeout
	if !r.Job.Deadline.IsZero() {
		if left := r.Job.Deadline.Sub(r.Job.UpdatedAt); limit == 0 || left < limit {
			limit = left
		}
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errTimeout)
		defer cancel()
	}
	err = guard(ctx, e, "job "+r.id, func() error { return k.Work(ctx, r) })
	if err == nil {
		return nil
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeout):
		return fmt.Errorf("it took longer than %v", limit.Round(time.Millisecond))
	case cause != nil:
		return cause
	}
	return err
}

// guard calls a function and makes an error of its panic.
func guard(ctx context.Context, e *Engine, what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(ctx, "panic", "in", what, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the worker panicked: %v", p)
		}
	}()
	return f()
}

// conclude writes what came of an attempt, again and again while the database cannot be reached and the lease holds.
func (e *Engine) conclude(ctx context.Context, r *Run, outcome error) {
	if r.ended {
		if outcome != nil {
			e.log.WarnContext(ctx, "work failed behind the end of its job", "job", r.id, "kind", r.Job.Kind, "error", outcome)
		}
		return
	}
	ctx = context.WithoutCancel(ctx)
	for !errors.Is(outcome, ErrLost) {
		err := e.write(ctx, r, outcome)
		if err == nil {
			return
		}
		if leafward.KindOf(err) != leafward.Later && leafward.KindOf(err) != leafward.StorageFull {
			if outcome == nil && !errors.Is(err, ErrLost) {
				outcome = err // what completing the job brings about failed
				continue
			}
			outcome = err
			break
		}
		e.log.WarnContext(ctx, "the outcome of a job cannot be written yet", "job", r.id, "error", err)
		if !e.stillHeld(r) {
			outcome = ErrLost
			break
		}
		wait := time.NewTimer(jitter(time.Second / 4))
		<-wait.C
	}
	e.log.WarnContext(ctx, "an attempt came to nothing", "job", r.id, "kind", r.Job.Kind, "error", outcome)
}

// write settles the job as the outcome says.
func (e *Engine) write(ctx context.Context, r *Run, outcome error) error {
	if outcome == nil {
		return r.Finish(ctx, nil)
	}
	if errors.Is(outcome, errStopping) {
		if err := e.config.Points.Hit("job.before-release"); err != nil {
			return ErrLost
		}
	}
	return r.within(ctx, nil, func(tx *store.Tx, j *leafward.Job) error {
		if s, ok := errors.AsType[Snooze](outcome); ok {
			return e.Snooze(tx, j, s.After, s.WaitingFor)
		}
		if a, ok := errors.AsType[Await](outcome); ok {
			return e.Await(tx, j, a.Status, a.WaitingFor)
		}
		if errors.Is(outcome, errStopping) {
			return e.release(tx, j, pause{status: leafward.JobPending, outcome: "given back"})
		}
		return e.Fail(tx, j, outcome)
	})
}

// renew moves the ends of all leases of running work in one transaction and stops the work that lost its own.
func (e *Engine) renew(ctx context.Context) {
	e.mu.Lock()
	runs := make([]*Run, 0, len(e.running))
	for _, r := range e.running {
		runs = append(runs, r)
	}
	e.mu.Unlock()
	if len(runs) == 0 {
		return
	}
	asked := time.Now()
	held := make([]bool, len(runs))
	err := e.db.Write(ctx, func(tx *store.Tx) error {
		for i, r := range runs {
			held[i] = tx.RenewLease(r.id, e.config.Worker, r.epoch, tx.Now.Add(r.hold))
		}
		return tx.Err()
	})
	if err != nil && ctx.Err() == nil {
		e.log.WarnContext(ctx, "leases cannot be renewed", "jobs", len(runs), "error", err)
	}
	for i, r := range runs {
		switch {
		case err == nil && held[i]:
			e.mu.Lock()
			r.beat = asked
			e.mu.Unlock()
		case err == nil || !e.stillHeld(r):
			r.lose(ErrLost)
		}
	}
}

// stillHeld tells whether the lease can still be the run's by this machine's clock alone.
func (e *Engine) stillHeld(r *Run) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Since(r.beat) < r.hold
}
