package job_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// world is a store with everything that a test asks of the jobs in it.
type world struct {
	t   *testing.T
	db  *store.DB
	ctx context.Context
}

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	return &world{t: t, db: db, ctx: storetest.Admin(t.Context())}
}

// config is an engine's, with one worker name for each.
func (w *world) config(worker string, kinds ...job.Kind) job.Config {
	return job.Config{DB: w.db, Log: slog.New(slog.DiscardHandler), Points: hook.NewPoints(), Worker: worker, Kinds: kinds, Workers: 4, Grace: time.Second}
}

// engine makes an engine that does not run.
func (w *world) engine(c job.Config) *job.Engine {
	w.t.Helper()
	e, err := job.New(c)
	w.check(err)
	return e
}

// run makes an engine and runs it until stop is called or the test ends.
func (w *world) run(c job.Config) (e *job.Engine, stop func()) {
	w.t.Helper()
	e = w.engine(c)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	w.t.Cleanup(stop)
	return e, stop
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// change runs a change of jobs.
func (w *world) change(f func(tx *store.Tx) error) {
	w.t.Helper()
	w.check(w.db.Write(w.ctx, f))
}

// enqueue adds a job.
func (w *world) enqueue(j leafward.Job) leafward.Job {
	w.t.Helper()
	w.change(func(tx *store.Tx) error {
		fresh := j
		added, err := job.Enqueue(tx, &fresh)
		if err == nil && !added {
			err = fmt.Errorf("a %s of %s is open already", j.Kind, j.Subject)
		}
		if err == nil {
			j = fresh
		}
		return err
	})
	return j
}

// of reads a job.
func (w *world) of(id string) (j leafward.Job) {
	w.t.Helper()
	w.check(w.db.View(w.ctx, func(v *store.View) (err error) { j, err = v.Job(id); return err }))
	return j
}

// until waits for a job to be as wanted, looking again after each commit.
func (w *world) until(id string, wanted func(leafward.Job) bool) leafward.Job {
	w.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		changed := w.db.Changed()
		j := w.of(id)
		if wanted(j) {
			return j
		}
		select {
		case <-changed:
		case <-late.C:
			w.t.Fatalf("the job is still %+v", j)
		}
	}
}

func is(status leafward.JobStatus) func(leafward.Job) bool {
	return func(j leafward.Job) bool { return j.Status == status }
}

// attempts reads what came of a job's attempts.
func (w *world) attempts(id string) (all []store.Attempt) {
	w.t.Helper()
	w.check(w.db.View(w.ctx, func(v *store.View) (err error) { all, err = v.Attempts(id); return err }))
	return all
}

// setting reads what an effect left.
func (w *world) setting(name string) (value string) {
	w.t.Helper()
	w.check(w.db.View(w.ctx, func(v *store.View) (err error) { value, err = v.Setting(name); return err }))
	return value
}

// mark is an effect that would show if it came twice.
func mark(tx *store.Tx, name string) error {
	before, err := tx.Setting(name)
	tx.SetSetting(name, before+"x")
	return err
}

// work is a kind whose attempts call the function.
func work(kind leafward.JobKind, f func(ctx context.Context, r *job.Run) error) job.Kind {
	return job.Kind{Name: kind, Work: f}
}

// pending is a job as tests want it: of a kind and subject.
func pending(kind leafward.JobKind, subject string) leafward.Job {
	return leafward.Job{Kind: kind, Subject: subject, Team: leafward.DefaultTeam}
}
