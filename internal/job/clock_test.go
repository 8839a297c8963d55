package job_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAClockThatIsOffIsToldAndFarOffTakesNothing(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	for skew, want := range map[time.Duration]struct {
		told  string
		takes bool
	}{
		5 * time.Second:   {"", true},
		6 * time.Second:   {"level=WARN", true},
		-6 * time.Second:  {"level=WARN", true},
		60 * time.Second:  {"level=WARN", true},
		61 * time.Second:  {"level=ERROR", false},
		-61 * time.Second: {"level=ERROR", false},
	} {
		var log bytes.Buffer
		c := w.config("one", work("try", func(context.Context, *job.Run) error { return nil }))
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Schedules = []job.Schedule{tick("sweep", nil)}
		e, stop := w.run(c)
		w.place(e).Drop() // it takes jobs, since the clocks have been compared
		e.Judge(w.ctx, skew)
		told := log.String()
		if strings.Contains(told, "level=") != (want.told != "") || !strings.Contains(told, want.told) {
			t.Errorf("%v is told as %q", skew, told)
		}
		p := e.Place()
		if (p != nil) != want.takes || (e.Healthy() == nil) != want.takes {
			t.Errorf("%v off it gives a place: %t; it is healthy: %v", skew, p != nil, e.Healthy())
		}
		if p != nil {
			p.Drop()
		}
		w.mended(e) // and with that a look at the queue is over that had begun before
		j := w.enqueue(pending("try", skew.String()))
		if want.takes {
			w.until(j.ID, is(leafward.JobCompleted))
		} else {
			w.mended(e)
			w.mended(e) // between the two the queue was looked at
			if now := w.of(j.ID); now.Status != leafward.JobPending {
				t.Errorf("%v off the job is %s", skew, now.Status)
			}
		}
		stop()
	}
}

// mended waits until the engine has dealt with a job whose worker vanished.
func (w *world) mended(e *job.Engine) {
	w.t.Helper()
	j := w.enqueue(pending("lost", leafward.DefaultTeam))
	w.change(func(tx *store.Tx) error {
		now, err := tx.Job(j.ID)
		now.Status, now.Worker, now.Attempt, now.MaxAttempts, now.LeaseUntil = leafward.JobRunning, "gone", 1, 1, tx.Now.Add(-time.Second)
		tx.PutJob(&now)
		return err
	})
	e.Nudge()
	w.until(j.ID, is(leafward.JobFailed))
}

func TestALeaseIsRenewedWhileTheWorkGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		begun, goOn := make(chan struct{}), make(chan struct{})
		long := job.Kind{Name: "long", Hold: 3 * time.Second, Work: func(ctx context.Context, r *job.Run) error {
			close(begun)
			<-goOn
			return r.Finish(ctx, nil)
		}}
		j := w.enqueue(pending("long", "it"))
		w.run(w.config("one", long))
		<-begun
		idle := long
		idle.Work = func(context.Context, *job.Run) error { t.Error("another took what is worked"); return nil }
		w.run(w.config("two", idle))
		first := w.of(j.ID)
		w.until(j.ID, func(now leafward.Job) bool { return now.LeaseUntil.After(first.LeaseUntil.Add(time.Second)) })
		close(goOn)
		last := w.until(j.ID, is(leafward.JobCompleted))
		if a := w.attempts(j.ID); last.Attempt != 1 || len(a) != 1 || a[0].Worker != "one" {
			t.Errorf("%+v %+v", last, a)
		}
	})
}
