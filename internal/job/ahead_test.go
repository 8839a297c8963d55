//go:build testhooks

package job_test

import (
	"context"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
)

func TestWhatAClockThatWasAheadPlannedDoesNotWaitForYears(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		clock.Advance(400 * 24 * time.Hour)
		waits := pending("work", "waits")
		w.change(func(tx *store.Tx) error {
			waits.RunAt, waits.Deadline = tx.Now.Add(time.Second), tx.Now.Add(time.Hour)
			_, err := job.Enqueue(tx, &waits)
			return err
		})
		taken := w.enqueue(pending("work", "taken"))
		w.change(func(tx *store.Tx) error {
			if _, err := tx.Lease("schedule/sweep", "gone", time.Minute); err != nil {
				return err
			}
			claimed, err := tx.Claim(store.Claim{Worker: "gone", Holds: map[leafward.JobKind]time.Duration{"work": time.Second}, Lanes: func(string) int { return 0 }, Limit: 1})
			if err == nil && (len(claimed) != 1 || claimed[0].ID != taken.ID) {
				w.t.Errorf("claimed is %v", claimed)
			}
			return err
		})
		clock.Advance(-400 * 24 * time.Hour)
		ran := make(chan struct{}, 1)
		c := w.config("one", work("work", func(ctx context.Context, r *job.Run) error { return r.Finish(ctx, nil) }))
		c.Settle = time.Millisecond
		c.Schedules = []job.Schedule{{Name: "sweep", Every: time.Hour, Run: func(context.Context) error { ran <- struct{}{}; return nil }}}
		w.run(c)
		select {
		case <-ran:
		case <-time.After(patience):
			w.t.Error("the schedule waits for the end of a lease of the future")
		}
		for _, id := range []string{waits.ID, taken.ID} {
			if j := w.until(id, is(leafward.JobCompleted)); j.RunAt.After(time.Now().Add(time.Minute)) {
				w.t.Errorf("%+v", j)
			}
		}
	})
}

func TestAClockThatIsSetBackByMistakeMovesNothing(t *testing.T) {
	eachClock(t, func(w *world, clock *hook.Clock) {
		waits := pending("work", "waits")
		w.change(func(tx *store.Tx) error {
			waits.RunAt, waits.Deadline = tx.Now.Add(5*time.Hour), tx.Now.Add(6*time.Hour)
			_, err := job.Enqueue(tx, &waits)
			return err
		})
		c := w.config("one", work("work", func(ctx context.Context, r *job.Run) error { return r.Finish(ctx, nil) }), work("lost", func(context.Context, *job.Run) error { return nil }))
		c.Schedules = []job.Schedule{{Name: "settled", Every: time.Hour, Settled: true, Run: func(context.Context) error { w.t.Error("it set something back"); return nil }}}
		e, stop := w.run(c)
		clock.Advance(-3 * time.Hour)
		w.mended(e)
		w.mended(e) // between the two it was looked for what is dated later than now
		stop()
		e, _ = w.run(c) // as when it began while the clock was wrong
		w.mended(e)
		w.mended(e)
		clock.Advance(3 * time.Hour)
		w.mended(e)
		if now := w.of(waits.ID); now.Status != leafward.JobPending || !now.RunAt.Equal(waits.RunAt) || !now.Deadline.Equal(waits.Deadline) {
			w.t.Errorf("it is %s, due at %s and not %s, until %s and not %s", now.Status, now.RunAt, waits.RunAt, now.Deadline, waits.Deadline)
		}
	})
}
