package job_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestEachDueJobIsWorkedOnceByOneOfTwoEngines(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		const n = 40
		var ids []string
		for i := range n {
			ids = append(ids, w.enqueue(pending("count", fmt.Sprint(i))).ID)
		}
		count := work("count", func(ctx context.Context, r *job.Run) error {
			r.Result = map[string]string{"by": r.Job.Worker}
			return r.Finish(ctx, func(tx *store.Tx) error { return mark(tx, "done/"+r.Job.ID) })
		})
		w.run(w.config("one", count))
		w.run(w.config("two", count))
		for _, id := range ids {
			j := w.until(id, is(leafward.JobCompleted))
			if got := w.setting("done/" + id); got != "x" {
				t.Fatalf("the effect of %s came %d times", id, len(got))
			}
			a := w.attempts(id)
			if j.Attempt != 1 || len(a) != 1 || a[0].Outcome != "completed" || j.StartedAt.IsZero() || j.CompletedAt.IsZero() || j.Worker != "" || !strings.Contains(j.Result, a[0].Worker) {
				t.Fatalf("%+v %+v", j, a)
			}
		}
	})
}

func TestThereIsOneOpenJobForAKindAndSubject(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		first := w.enqueue(pending("tidy", "attic"))
		w.change(func(tx *store.Tx) error {
			again := pending("tidy", "attic")
			added, err := job.Enqueue(tx, &again)
			if added || again.ID != first.ID {
				t.Errorf("a second open job was added: %+v", again)
			}
			return err
		})
		w.change(func(tx *store.Tx) error {
			j, err := tx.Job(first.ID)
			if err != nil {
				return err
			}
			return e.Complete(tx, &j, nil)
		})
		if next := w.enqueue(pending("tidy", "attic")); next.ID == first.ID {
			t.Error("a job that ended keeps the next one away")
		}
	})
}

func TestHowAnAttemptEndsWithoutAnotherOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		why := map[string]error{
			"wrong":  leafward.Errorf(leafward.Invalid, "write it right", "it is wrong"),
			"denied": leafward.Errorf(leafward.Denied, "ask somebody", "it is not allowed"),
			"closed": leafward.Errorf(leafward.Conflict, "make another", "it was closed"),
		}
		w.run(w.config("one", work("try", func(_ context.Context, r *job.Run) error { return why[r.Job.Subject] })))
		for subject, cause := range why {
			j := pending("try", subject)
			j.Type = leafward.Validation
			j = w.until(w.enqueue(j).ID, is(leafward.JobFailed))
			if j.Attempt != 1 || !strings.Contains(j.LastError, cause.Error()) || !strings.Contains(j.LastError, ";") {
				t.Errorf("%s: %+v", subject, j)
			}
		}
		var failed leafward.List[leafward.Event]
		w.check(db.View(w.ctx, func(v *store.View) (err error) {
			failed, err = v.Events(leafward.Query{Where: map[string]string{"action": string(leafward.JobFailedEvent)}})
			return err
		}))
		if failed.Total != int64(len(why)) {
			t.Errorf("%d failures are on record", failed.Total)
		}
	})
}

func TestAFailureThatMayPassIsTriedAgainLater(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.run(w.config("one", work("try", func(_ context.Context, r *job.Run) error {
			if r.Job.Subject == "panic" {
				panic("dropped it")
			}
			return errors.New("the line was cut")
		})))
		for subject, reason := range map[string]string{"error": "the line was cut", "panic": "panicked: dropped it"} {
			j := w.until(w.enqueue(pending("try", subject)).ID, func(j leafward.Job) bool { return j.Attempt == 1 && j.Status == leafward.JobPending })
			wait := j.RunAt.Sub(j.UpdatedAt)
			if !strings.Contains(j.LastError, reason) || wait < 30*time.Second || wait > 36*time.Second || j.Worker != "" {
				t.Errorf("%s waits %v: %+v", subject, wait, j)
			}
			if a := w.attempts(j.ID); len(a) != 1 || a[0].Outcome != "failed" || !strings.Contains(a[0].Error, reason) {
				t.Errorf("%s: %+v", subject, a)
			}
		}
	})
}

func TestTheLastAttemptThatFailsEndsTheJob(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.run(w.config("one", work("try", func(context.Context, *job.Run) error { return errors.New("no") })))
		j := pending("try", "once")
		j.MaxAttempts = 1
		if j = w.until(w.enqueue(j).ID, is(leafward.JobFailed)); j.LastError != "no" {
			t.Errorf("%+v", j)
		}
	})
}

func TestWaitingUsesNoAttempt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e, _ := w.run(w.config("one", work("wait", func(ctx context.Context, r *job.Run) error {
			switch {
			case r.Job.Checkpoint != "":
				return r.Finish(ctx, nil)
			case r.Job.Subject == "snooze":
				return job.Snooze{After: time.Hour, WaitingFor: "the CA's answer"}
			}
			if err := r.Checkpoint(ctx, "half", nil); err != nil {
				return err
			}
			return job.Await{Status: leafward.JobAwaitingCSR, WaitingFor: "a CSR"}
		})))
		snoozed := w.until(w.enqueue(pending("wait", "snooze")).ID, func(j leafward.Job) bool { return j.WaitingFor == "the CA's answer" })
		if snoozed.Attempt != 0 || snoozed.Status != leafward.JobPending || snoozed.RunAt.Sub(snoozed.UpdatedAt) != time.Hour {
			t.Errorf("%+v", snoozed)
		}
		waiting := w.until(w.enqueue(pending("wait", "await")).ID, is(leafward.JobAwaitingCSR))
		if waiting.Attempt != 0 || waiting.WaitingFor != "a CSR" {
			t.Errorf("%+v", waiting)
		}
		w.change(func(tx *store.Tx) error {
			j, err := tx.Job(waiting.ID)
			if err != nil {
				return err
			}
			return e.Snooze(tx, &j, 0, "")
		})
		if j := w.until(waiting.ID, is(leafward.JobCompleted)); j.Attempt != 1 {
			t.Errorf("%+v", j)
		}
	})
}

func TestWhoLostTheLeaseWritesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		outcome := make(chan error, 1)
		w.run(w.config("one", work("hold", func(ctx context.Context, r *job.Run) error {
			err := db.Write(w.ctx, func(tx *store.Tx) error { // somebody else took the lease
				j, err := tx.Job(r.Job.ID)
				j.Worker, j.Epoch, j.LeaseUntil = "other", j.Epoch+1, tx.Now.Add(time.Hour)
				tx.PutJob(&j)
				return err
			})
			if err == nil {
				err = r.Finish(ctx, func(tx *store.Tx) error { return mark(tx, "effect") })
			}
			outcome <- err
			return err
		})))
		j := w.enqueue(pending("hold", "it"))
		if err := <-outcome; !errors.Is(err, job.ErrLost) {
			t.Fatalf("the answer is %v", err)
		}
		if j = w.of(j.ID); j.Worker != "other" || j.Status != leafward.JobRunning || w.setting("effect") != "" {
			t.Errorf("%+v, effect %q", j, w.setting("effect"))
		}
	})
}

func TestALaneNeverRunsMoreThanItMay(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		var now, most atomic.Int32
		var meet sync.WaitGroup
		meet.Add(2)
		narrow := work("narrow", func(ctx context.Context, r *job.Run) error {
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			if r.Job.Subject == "0" || r.Job.Subject == "1" {
				meet.Done()
				meet.Wait() // two do run at once
			}
			now.Add(-1)
			return r.Finish(ctx, nil)
		})
		var ids []string
		for i := range 12 {
			j := pending("narrow", fmt.Sprint(i))
			j.Lane = "issuer/one"
			ids = append(ids, w.enqueue(j).ID)
		}
		for _, worker := range []string{"one", "two"} {
			c := w.config(worker, narrow)
			c.LaneLimit = func(string) int { return 2 }
			w.run(c)
		}
		for _, id := range ids {
			w.until(id, is(leafward.JobCompleted))
		}
		if most.Load() != 2 {
			t.Errorf("%d ran at once", most.Load())
		}
	})
}

func TestAnEngineThatStopsGivesItsLeasesBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		begun := make(chan struct{})
		c := w.config("one", work("long", func(ctx context.Context, _ *job.Run) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}))
		c.Grace = time.Millisecond
		j := w.enqueue(pending("long", "it"))
		_, stop := w.run(c)
		<-begun
		stop()
		if j = w.of(j.ID); j.Status != leafward.JobPending || j.Attempt != 0 || j.Worker != "" {
			t.Errorf("%+v", j)
		}
	})
}

func TestASettingOfAnEngineThatMakesNoSenseIsRefused(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	good := w.config("one", work("a", nil))
	for name, spoil := range map[string]func(*job.Config){
		"no worker":      func(c *job.Config) { c.Worker = "" },
		"nobody works":   func(c *job.Config) { c.Workers = 0 },
		"kind twice":     func(c *job.Config) { c.Kinds = append(c.Kinds, c.Kinds[0]) },
		"kind unnamed":   func(c *job.Config) { c.Kinds = []job.Kind{{}} },
		"never due":      func(c *job.Config) { c.Schedules = []job.Schedule{{Name: "x"}} },
		"schedule twice": func(c *job.Config) { c.Schedules = []job.Schedule{tick("x", nil), tick("x", nil)} },
	} {
		c := good
		spoil(&c)
		if _, err := job.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func tick(name string, run func(context.Context) error) job.Schedule {
	if run == nil {
		run = func(context.Context) error { return nil }
	}
	return job.Schedule{Name: name, Every: time.Hour, Run: run}
}

func TestWhatAProcessOfTheSameNameHadTakenIsDueAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ours, others := w.enqueue(leafward.Job{Kind: "k", Subject: "ours", MaxAttempts: 3}), w.enqueue(leafward.Job{Kind: "k", Subject: "others", MaxAttempts: 3})
		w.change(func(tx *store.Tx) error {
			for id, worker := range map[string]string{ours.ID: "server", others.ID: "another"} {
				j, err := tx.Job(id)
				if err != nil {
					return err
				}
				j.Status, j.Worker, j.Attempt, j.Epoch, j.LeaseUntil = leafward.JobRunning, worker, 1, 1, tx.Now.Add(time.Hour)
				tx.PutJob(&j)
			}
			return tx.Err()
		})
		w.run(w.config("server", job.Kind{Name: "k", Work: func(context.Context, *job.Run) error { return nil }}))
		if j := w.until(ours.ID, func(j leafward.Job) bool { return !j.Status.Open() }); j.Status != leafward.JobCompleted || j.Attempt != 2 {
			t.Errorf("the job that was taken before is %+v", j)
		}
		if j := w.of(others.ID); j.Status != leafward.JobRunning || j.Worker != "another" {
			t.Errorf("the job of another process is %+v", j)
		}
	})
}
