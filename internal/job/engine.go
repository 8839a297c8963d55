package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/store"
)

// What holds when nobody says otherwise.
const (
	DefaultHold  = time.Minute
	DefaultGrace = 10 * time.Second
)

const (
	pollEvery = time.Second      // how often a replica looks for what another one committed, and for lost leases
	maxClaim  = 25               // jobs of one claim
	maxMend   = 500              // lost and late jobs that one look deals with
	lastGrace = 5 * time.Second  // how long work that was told to stop is waited for
	skewEvery = time.Minute      // how often the clocks are compared
	warnSkew  = 5 * time.Second  // a process clock this far off is told
	stopSkew  = 60 * time.Second // a process clock this far off takes no leases
)

// Kind is a sort of job.
type Kind struct {
	Name leafward.JobKind

	// Work does one attempt at a job, for the server; nil when agents work this kind, or when nobody does because the
	// children of such a job do. It ends the job with Run.Finish. It returns nil to complete a job it did not finish
	// itself, a [Snooze] or an [Await] to go on later, and any other error to have the attempt failed.
	Work func(ctx context.Context, r *Run) error

	// Hold is how long a lease lasts without being renewed; 0: DefaultHold. The engine renews while Work runs.
	Hold time.Duration

	// Timeout bounds one call of Work; 0: none.
	Timeout time.Duration

	// Settled, which may be nil, runs in the very transaction in which a job of this kind became Completed, Failed or
	// Cancelled, before the job above it is computed: what it enqueues below the same parent keeps the parent open.
	Settled func(tx *store.Tx, j *leafward.Job) error

	// Moot, which may be nil, tells whether what a part of a root was for is gone, such as the installation of a
	// deployment. The root is then judged by its other parts, however this one ended.
	Moot func(v *store.View, j *leafward.Job) (bool, error)
}

// Config says what an engine works on.
type Config struct {
	DB        *store.DB
	Log       *slog.Logger
	Points    *hook.Points // job.claimed, job.before-finish, job.before-release
	Worker    string       // unique among the processes on one database
	Kinds     []Kind
	Schedules []Schedule
	Workers   int                   // how many jobs run at once in this process
	LaneLimit func(lane string) int // how many jobs of a lane run at once in all processes; nil or 0: any number
	Grace     time.Duration         // how long running work may go on when the engine stops; 0: DefaultGrace
	Settle    time.Duration         // how long a clock must have gone on evenly before anything is set back by it; 0: DefaultSettle
}

// Engine works jobs. Its methods are safe for concurrent use.
type Engine struct {
	config    Config
	db        *store.DB
	log       *slog.Logger
	self      string // tells this engine from one that had its name before
	kinds     map[leafward.JobKind]Kind
	holds     map[leafward.JobKind]time.Duration // of the kinds that this process works
	beat      time.Duration                      // between two renewals
	schedules map[string]*schedule
	nudges    bell
	freed     chan struct{} // a place became free
	works     sync.WaitGroup

	mu      sync.Mutex
	base    context.Context // of the work, while jobs are taken
	taken   int             // places for jobs that are about to be enqueued
	running map[string]*Run
	skew    time.Duration
	even    evenness
	trouble error // why the last look at the queue failed
}

// New makes an engine; Run starts it. The functions that change jobs work without Run.
func New(c Config) (*Engine, error) {
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Settle == 0 {
		c.Settle = DefaultSettle
	}
	if c.LaneLimit == nil {
		c.LaneLimit = func(string) int { return 0 }
	}
	e := &Engine{
		config: c, db: c.DB, log: c.Log, self: store.NewID("engine"), kinds: make(map[leafward.JobKind]Kind), holds: make(map[leafward.JobKind]time.Duration),
		beat: DefaultHold / 3, schedules: make(map[string]*schedule), freed: make(chan struct{}, 1), running: make(map[string]*Run),
	}
	if c.DB == nil || c.Log == nil || c.Worker == "" || c.Workers < 1 {
		return nil, errors.New("a job engine needs a database, a log, the name of its worker and at least one worker")
	}
	for _, k := range c.Kinds {
		if _, twice := e.kinds[k.Name]; twice || k.Name == "" {
			return nil, fmt.Errorf("the kind of job %q is declared twice or has no name", k.Name)
		}
		if k.Hold == 0 {
			k.Hold = DefaultHold
		}
		e.kinds[k.Name] = k
		if k.Work != nil {
			e.holds[k.Name] = k.Hold
			e.beat = min(e.beat, k.Hold/3)
		}
	}
	for _, s := range c.Schedules {
		if _, twice := e.schedules[s.Name]; twice || s.Name == "" || s.Every <= 0 || s.Run == nil {
			return nil, fmt.Errorf("the schedule %q is declared twice, or lacks a name, an interval or something to run", s.Name)
		}
		e.schedules[s.Name] = &schedule{Schedule: s, turn: make(chan struct{}, 1)}
	}
	return e, nil
}

// Run works jobs and keeps the schedules until the context ends. Then it takes nothing new, lets running work end
// within the grace, tells the rest to stop and gives their leases back.
func (e *Engine) Run(ctx context.Context) error {
	ctx = leafward.WithActor(ctx, leafward.System("jobs"))
	base, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	e.CompareClocks(ctx)
	e.inherit(ctx)
	var loops, beating sync.WaitGroup
	for _, s := range e.schedules {
		loops.Go(func() { e.keep(ctx, s) })
	}
	loops.Go(func() { e.every(ctx, skewEvery, e.CompareClocks) })
	beats, stopBeating := context.WithCancel(base)
	beating.Go(func() { e.every(beats, e.beat, e.renew) })
	e.open(base)
	e.dispatch(ctx, base)
	e.shut()
	e.drain(stop)
	stopBeating()
	beating.Wait()
	loops.Wait()
	return nil
}

// Nudge makes the engine look again at once at everything that hangs on the time: call it when a clock was set.
func (e *Engine) Nudge() { e.nudges.ring() }

// Healthy is nil when jobs are being taken, else the reason why not.
func (e *Engine) Healthy() error {
	if err := e.skewed(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trouble
}

// Skew is how far this machine's clock was ahead of the database's when they were compared last.
func (e *Engine) Skew() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.skew
}

// skewed tells that this machine's clock is too far off to take leases.
func (e *Engine) skewed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.skew.Abs() <= stopSkew {
		return nil
	}
	return leafward.Errorf(leafward.Later, "set this machine's clock; NTP does it by itself",
		"no jobs are taken: this machine's clock is %s off the database's", e.skew.Round(time.Second))
}

// dispatch takes due jobs until the context ends; base is what their work runs under.
func (e *Engine) dispatch(ctx, base context.Context) {
	poll := time.NewTimer(0)
	defer poll.Stop()
	watch := e.db.Watch(store.DueJobs)
	defer watch.Close()
	for {
		changed, nudged := watch.Next(), e.nudges.wait()
		e.take(ctx, base)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-e.freed:
		case <-nudged:
			e.renew(base)
			e.mend(ctx)
		case <-poll.C:
			e.mend(ctx)
			poll.Reset(jitter(pollEvery))
		}
	}
}

// take claims and starts due jobs while there are any and places for them.
func (e *Engine) take(ctx, base context.Context) {
	for ctx.Err() == nil {
		n := e.places()
		if n == 0 {
			return
		}
		claimed, err := e.claim(ctx, n)
		e.note(ctx, err)
		if len(claimed) == 0 {
			return
		}
		for i := range claimed {
			e.start(base, claimed[i])
		}
	}
}

// places is how many jobs may be claimed now.
func (e *Engine) places() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.skew.Abs() > stopSkew || len(e.holds) == 0 {
		return 0
	}
	return max(0, min(e.config.Workers-len(e.running)-e.taken, maxClaim))
}

// errNothing ends a transaction that turned out to have nothing to do, so that it wakes nobody.
var errNothing = errors.New("nothing to do")

// claim leases up to n due jobs. It reads before it writes, because every commit wakes the dispatcher.
func (e *Engine) claim(ctx context.Context, n int) (claimed []leafward.Job, err error) {
	c := store.Claim{Worker: e.config.Worker, Holds: e.holds, Lanes: e.config.LaneLimit, Limit: n}
	var due bool
	err = e.db.View(ctx, func(v *store.View) (err error) {
		due, err = v.Due(c)
		return err
	})
	if err != nil || !due {
		return nil, err
	}
	err = e.db.Write(ctx, func(tx *store.Tx) (err error) {
		if claimed, err = tx.Claim(c); err != nil {
			return err
		}
		if len(claimed) == 0 {
			return errNothing
		}
		shown := make(map[string]bool)
		for _, j := range claimed {
			if !shown[j.Parent] {
				shown[j.Parent] = true
				if err := show(tx, j.Parent); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		if errors.Is(err, errNothing) {
			err = nil
		}
		return nil, err
	}
	return claimed, e.config.Points.Hit("job.claimed")
}

// note keeps why the queue cannot be read, and logs when that begins and ends.
func (e *Engine) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil && e.trouble == nil:
		e.log.ErrorContext(ctx, "no jobs are taken", "error", err)
	case err == nil && e.trouble != nil:
		e.log.InfoContext(ctx, "jobs are taken again")
	}
	e.trouble = err
}

// every calls a function again and again until the context ends.
func (e *Engine) every(ctx context.Context, interval time.Duration, f func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f(ctx)
		}
	}
}

// CompareClocks compares this machine's clock with the database's, which is done each minute anyway: call it when one jumped.
func (e *Engine) CompareClocks(ctx context.Context) {
	skew, err := e.db.ClockSkew(ctx)
	if err != nil {
		e.log.WarnContext(ctx, "the clocks could not be compared", "error", err)
		return
	}
	e.judge(ctx, skew)
}

// judge decides what a difference between the clocks means.
func (e *Engine) judge(ctx context.Context, skew time.Duration) {
	switch {
	case skew.Abs() > stopSkew:
		e.log.ErrorContext(ctx, "this machine's clock is too far off the database's: no jobs are taken", "ahead", skew)
	case skew.Abs() > warnSkew:
		e.log.WarnContext(ctx, "this machine's clock is off the database's", "ahead", skew)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.skew = skew
}

// drain waits for running work, first patiently, then after having told it to stop. What still runs then keeps its
// lease, which ends by itself.
func (e *Engine) drain(stop context.CancelCauseFunc) {
	done := make(chan struct{})
	go func() {
		e.works.Wait()
		close(done)
	}()
	for _, patience := range []time.Duration{e.config.Grace, lastGrace} {
		timer := time.NewTimer(patience)
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C:
			stop(errStopping)
		}
	}
}

// jitter is the interval with up to a tenth more, so that replicas do not march in step.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/10+1) }

// bell wakes everybody who waits.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
