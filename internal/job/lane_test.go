package job_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// crowd counts who is inside, and how many were at most.
type crowd struct{ now, most atomic.Int64 }

func (c *crowd) enter() {
	n := c.now.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
}

func (c *crowd) leave() { c.now.Add(-1) }

func TestALaneHoldsNoMoreThanItMayOfJobsAndOtherWorkInAllProcesses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		var inside crowd
		inLane := func(ctx context.Context) (err error) {
			inside.enter()
			defer inside.leave()
			for n := 0; n < 20 && err == nil; n++ {
				err = w.db.View(ctx, func(v *store.View) error { _, err := v.Setting("anything"); return err })
			}
			return err
		}
		kind := work("busy", func(ctx context.Context, _ *job.Run) error { return inLane(ctx) })
		var engines []*job.Engine
		for n := range 2 {
			c := w.config(fmt.Sprintf("server-%d", n), kind)
			c.LaneLimit = func(lane string) int {
				if lane == "narrow" {
					return 2
				}
				return 0
			}
			e, _ := w.run(c)
			engines = append(engines, e)
		}
		var ids []string
		for n := range 20 {
			j := pending("busy", fmt.Sprint(n))
			j.Lane = "narrow"
			ids = append(ids, w.enqueue(j).ID)
		}
		var others sync.WaitGroup
		for n := range 8 {
			others.Go(func() {
				for range 3 {
					leave, err := engines[n%2].Enter(w.ctx, "narrow")
					if leafward.KindOf(err) == leafward.Later {
						continue // the machine is busy
					}
					if err != nil {
						t.Error(err)
						return
					}
					if err := inLane(w.ctx); err != nil {
						t.Error(err)
					}
					leave()
				}
			})
		}
		others.Wait()
		for _, id := range ids {
			w.until(id, is(leafward.JobCompleted))
		}
		if most := inside.most.Load(); most > 2 || most == 0 {
			t.Errorf("%d were in the lane at once", most)
		}
	})
}

func TestWhoFindsALaneFullIsToldToComeBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		c := w.config("server-1")
		c.LaneLimit = func(string) int { return 1 }
		e := w.engine(c)
		leave, err := e.Enter(w.ctx, "narrow")
		w.check(err)
		if other, err := e.Enter(w.ctx, "another"); err != nil {
			t.Error(err)
		} else {
			other()
		}
		_, err = e.Enter(w.ctx, "narrow")
		if wrong, ok := err.(*leafward.Error); !ok || wrong.Kind != leafward.Later || wrong.After == 0 || wrong.Fix == "" {
			t.Errorf("a full lane says %v", err)
		}
		leave()
		again, err := e.Enter(w.ctx, "narrow")
		w.check(err)
		again()
	})
}

// A place that a killed process held is free when a process of its name starts.
func TestAPlaceInALaneOutlivesNoRestart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		c := w.config("server-1")
		c.LaneLimit = func(string) int { return 1 }
		_, err := w.engine(c).Enter(w.ctx, "narrow")
		w.check(err)
		e := w.engine(c)
		_, err = e.Enter(w.ctx, "narrow")
		if leafward.KindOf(err) != leafward.Later {
			t.Errorf("before it has started there is a place: %v", err)
		}
		run, stop := context.WithCancel(w.ctx)
		done := make(chan error, 1)
		go func() { done <- e.Run(run) }()
		_, err = e.Enter(w.ctx, "narrow")
		w.check(err)
		_, err = e.Enter(w.ctx, "narrow") // its own place is not taken from it
		if leafward.KindOf(err) != leafward.Later {
			t.Errorf("a place is given twice: %v", err)
		}
		stop()
		w.check(<-done)
	})
}
