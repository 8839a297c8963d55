//go:build testhooks

package job_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// eachClock runs the test on both engines with a clock that it can move.
func eachClock(t *testing.T, test func(w *world, clock *hook.Clock)) {
	t.Helper()
	for name, open := range map[string]func(testing.TB, *hook.Clock) *store.DB{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(name, func(t *testing.T) {
			clock := hook.NewClock(time.Time{})
			test(newWorld(t, open(t, clock)), clock)
		})
	}
}

func TestARetryComesOnceItsTimeHasCome(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		e, _ := w.run(w.config("one", work("try", func(ctx context.Context, r *job.Run) error {
			if r.Job.Attempt < 3 {
				return errors.New("not yet")
			}
			return r.Finish(ctx, nil)
		})))
		j := w.enqueue(pending("try", "thrice"))
		for attempt := 1; attempt < 3; attempt++ {
			j = w.until(j.ID, func(j leafward.Job) bool { return j.Status == leafward.JobPending && j.Attempt == attempt })
			if wait, least := j.RunAt.Sub(j.UpdatedAt), 30*time.Second<<(attempt-1); wait < least || wait > least*6/5 {
				w.t.Fatalf("attempt %d is followed after %v", attempt, wait)
			}
			clock.Advance(2 * time.Minute)
			e.Nudge()
		}
		if j = w.until(j.ID, is(leafward.JobCompleted)); j.Attempt != 3 {
			w.t.Errorf("%+v", j)
		}
	})
}

func TestAVanishedWorkersJobGoesToAnother(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		j := w.enqueue(pending("work", "it"))
		w.change(func(tx *store.Tx) error {
			_, err := tx.Claim(store.Claim{Worker: "gone", Holds: map[leafward.JobKind]time.Duration{"work": time.Minute}, Lanes: func(string) int { return 0 }, Limit: 1})
			return err
		})
		e, _ := w.run(w.config("one", work("work", func(ctx context.Context, r *job.Run) error { return r.Finish(ctx, nil) })))
		clock.Advance(2 * time.Minute)
		e.Nudge()
		j = w.until(j.ID, is(leafward.JobCompleted))
		a := w.attempts(j.ID)
		if j.Attempt != 2 || len(a) != 2 || a[0].Worker != "gone" || a[0].Outcome != "lost" || a[1].Worker != "one" {
			w.t.Errorf("%+v %+v", j, a)
		}
	})
}

func TestAJumpOfTheClockTakesNoJobFromWhoWorksIt(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		begun, goOn := make(chan struct{}), make(chan struct{})
		e, _ := w.run(w.config("one", work("long", func(ctx context.Context, r *job.Run) error {
			close(begun)
			<-goOn
			return r.Finish(ctx, func(tx *store.Tx) error { return mark(tx, "effect") })
		})))
		j := w.enqueue(pending("long", "it"))
		<-begun
		clock.Advance(400 * 24 * time.Hour)
		e.Nudge()
		close(goOn)
		if j = w.until(j.ID, is(leafward.JobCompleted)); j.Attempt != 1 || w.setting("effect") != "x" {
			w.t.Errorf("%+v", j)
		}
	})
}

func TestADeadlineFailsWhatStillWaitsAndSaysForWhat(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		e, _ := w.run(w.config("one"))
		ids := w.root("late", leafward.OrderJob)
		w.change(func(tx *store.Tx) error {
			j, err := tx.Job(ids[1])
			if err != nil {
				return err
			}
			j.Deadline = tx.Now.Add(time.Hour)
			tx.PutJob(&j)
			fresh, err := tx.Job(ids[1])
			if err != nil {
				return err
			}
			return e.Await(tx, &fresh, leafward.JobAwaitingCSR, "the agent ag-1")
		})
		clock.Advance(2 * time.Hour)
		e.Nudge()
		root := w.until(ids[0], is(leafward.JobFailed))
		if !strings.Contains(root.LastError, "the deadline passed while it waited for the agent ag-1") {
			w.t.Errorf("%+v", root)
		}
	})
}

// The leader was away for longer than its lease, and does not know.
func TestAScheduleWhoseLeadWasTakenOverWritesNothingMore(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		begun, goOn := make(chan struct{}), make(chan struct{})
		run := func(ctx context.Context) error {
			return w.db.Write(ctx, func(tx *store.Tx) error { return errors.Join(job.CheckLead(ctx, tx), mark(tx, "swept")) })
		}
		one, two := w.config("one"), w.config("two")
		one.Schedules = []job.Schedule{tick("sweep", func(ctx context.Context) error {
			close(begun)
			<-goOn
			return run(ctx)
		})}
		two.Schedules = []job.Schedule{tick("sweep", run)}
		first, second := w.engine(one), w.engine(two)
		outcome := make(chan error, 1)
		go func() { outcome <- first.Trigger(w.ctx, "sweep") }()
		<-begun
		clock.Advance(time.Minute)
		w.check(second.Trigger(w.ctx, "sweep"))
		close(goOn)
		if err := <-outcome; !errors.Is(err, job.ErrLost) {
			w.t.Errorf("who led before is told %v", err)
		}
		if got := w.setting("swept"); got != "x" {
			w.t.Errorf("it was swept %d times", len(got))
		}
	})
}

func TestAScheduleRunsWhenItIsDueAndNotBefore(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		ran := make(chan struct{})
		c := w.config("one")
		c.Schedules = []job.Schedule{tick("sweep", func(context.Context) error { ran <- struct{}{}; return nil })}
		e, stop := w.run(c)
		<-ran // never run: due at once
		due := w.due(e, time.Time{})
		clock.Advance(time.Hour)
		e.Nudge()
		<-ran
		if next := w.due(e, due); next.Sub(due) < time.Hour {
			w.t.Errorf("it was due at %v and is again at %v", due, next)
		}
		stop()
		second, _ := w.run(func() job.Config { c.Worker = "two"; return c }())
		if next, err := second.Due(w.ctx, "sweep"); err != nil || !next.After(due) {
			w.t.Errorf("a restart makes it due at %v (%v)", next, err)
		}
	})
}

// due waits until the schedule is due at another moment than it was, and in the future.
func (w *world) due(e *job.Engine, was time.Time) time.Time {
	w.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		changed := w.db.Changed()
		at, err := e.Due(w.ctx, "sweep")
		w.check(err)
		var now time.Time
		w.check(w.db.View(w.ctx, func(v *store.View) error { now = v.Now; return nil }))
		if at.After(now) && !at.Equal(was) {
			return at
		}
		select {
		case <-changed:
		case <-late.C:
			w.t.Fatalf("it is still due at %v", at)
		}
	}
}
