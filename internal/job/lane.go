package job

import (
	"context"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

const (
	laneWait = 2 * time.Second        // for a place in a lane
	laneLook = 100 * time.Millisecond // how late a place is seen that another process gave back
)

// Enter takes a place in a lane for work that is no job and is over soon, beside the jobs that run in the lane in all
// processes. It waits a few seconds for one; the error is Later when there is none. The caller calls leave at the end.
func (e *Engine) Enter(ctx context.Context, lane string) (leave func(), err error) {
	limit := e.config.LaneLimit(lane)
	if limit <= 0 {
		return func() {}, nil
	}
	ctx = leafward.WithActor(ctx, leafward.System("jobs"))
	id := e.self + store.NewID("/place")
	over := time.NewTimer(laneWait)
	defer over.Stop()
	look := time.NewTicker(laneLook)
	defer look.Stop()
	watch := e.db.Watch(store.DueJobs)
	defer watch.Close()
	for {
		changed := watch.Next()
		if taken, err := e.takePlace(ctx, id, lane, limit); err != nil {
			return nil, err
		} else if taken {
			return func() { e.leavePlace(context.WithoutCancel(ctx), id) }, nil
		}
		select {
		case <-changed:
		case <-look.C:
		case <-over.C:
			return nil, &leafward.Error{Kind: leafward.Later, Message: "the issuer signs as much at once as --max-concurrent-issuance allows", Fix: "ask again after Retry-After", After: laneWait}
		case <-leafward.Hurry(ctx):
			return nil, leafward.Errorf(leafward.Later, "ask again", "the server is stopping")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// takePlace takes a place if there is one. It reads before it writes, because every commit wakes those who wait.
func (e *Engine) takePlace(ctx context.Context, id, lane string, limit int) (taken bool, err error) {
	err = e.db.View(ctx, func(v *store.View) error {
		taken, err = v.LaneFree(lane, limit)
		return err
	})
	if err != nil || !taken {
		return false, err
	}
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		taken, err = tx.TakePlace(id, lane, e.config.Worker, limit)
		return err
	})
	return taken, err
}

// leavePlace gives a place back; one that cannot be given back is free after its time.
func (e *Engine) leavePlace(ctx context.Context, id string) {
	if err := e.db.Write(ctx, func(tx *store.Tx) error { tx.LeavePlace(id); return nil }); err != nil {
		e.log.WarnContext(ctx, "a place in a lane is not given back before its time is over", "error", err)
	}
}
