package job

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

const (
	leadHold    = 30 * time.Second // a schedule's lease; another leads when its leader vanished that long ago
	retryFailed = time.Minute      // a schedule that failed is run again after this, or earlier when its turn comes
	retryLead   = 5 * time.Second  // how soon to look again when another process runs the schedule
)

// Schedule is work done again and again, by one process at a time.
type Schedule struct {
	Name  string
	Every time.Duration // from the start of one run that went well to the next

	// Settled has it wait until the clock has gone on evenly for a while: what it does would be wrong by a clock that is.
	Settled bool

	// Run does the work. Its context ends when the process stops or no longer leads. It must bear being run again from
	// the beginning, since a run that is cut short is.
	Run func(ctx context.Context) error
}

// schedule is a Schedule with its turn: one run at a time in this process.
type schedule struct {
	Schedule
	turn chan struct{}
}

// lead is the lease under which a schedule runs, carried by its context.
type lead struct {
	name, worker string
	epoch        int64
}

type leadKey struct{}

// CheckLead renews the lease of the schedule that the context belongs to, and is ErrLost when another process has
// taken over: a transaction that calls it is fenced.
func CheckLead(ctx context.Context, tx *store.Tx) error {
	l, ok := ctx.Value(leadKey{}).(lead)
	if !ok {
		return leafward.Errorf(leafward.Internal, "", "the context is not a schedule's")
	}
	return l.renew(tx, leadHold)
}

func (l lead) renew(tx *store.Tx, hold time.Duration) error {
	epoch, err := tx.Lease(l.name, l.worker, hold)
	if err == nil && epoch != l.epoch {
		err = ErrLost
	}
	return err
}

// Due is when the schedule is to run next; a time in the past means now.
func (e *Engine) Due(ctx context.Context, name string) (due time.Time, err error) {
	s, err := e.schedule(name)
	if err != nil {
		return due, err
	}
	err = e.db.View(leafward.WithActor(ctx, leafward.System("schedule "+name)), func(v *store.View) error {
		due, err = s.due(v)
		return err
	})
	return due, err
}

// Trigger runs the schedule now, due or not, and returns what its run returned. It is an error of kind Later when
// another process runs it at this moment.
func (e *Engine) Trigger(ctx context.Context, name string) error {
	s, err := e.schedule(name)
	if err != nil {
		return err
	}
	_, err = e.turn(leafward.WithActor(ctx, leafward.System("schedule "+name)), s, true)
	return err
}

func (e *Engine) schedule(name string) (*schedule, error) {
	if s, ok := e.schedules[name]; ok {
		return s, nil
	}
	return nil, leafward.Missing("schedule", name)
}

func (s *schedule) key() string { return "schedule/" + s.Name }

// due is when the schedule is to run next: at once when it never ran, or when the clock was set back before its last run.
func (s *schedule) due(v *store.View) (time.Time, error) {
	text, err := v.Setting(s.key())
	if err != nil || text == "" {
		return v.Now, err
	}
	us, err := strconv.ParseInt(text, 10, 64)
	last := time.UnixMicro(us).UTC()
	if err != nil || last.After(v.Now) {
		return v.Now, nil
	}
	return last.Add(s.Every), nil
}

// keep runs a schedule whenever it is due, until the context ends.
func (e *Engine) keep(ctx context.Context, s *schedule) {
	ctx = leafward.WithActor(ctx, leafward.System("schedule "+s.Name))
	for {
		nudged := e.nudges.wait()
		wait, err := e.turn(ctx, s, false)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			e.log.ErrorContext(ctx, "a schedule failed", "schedule", s.Name, "error", err, "again_in", wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-nudged:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// turn runs the schedule once when it is due or forced and no other process runs it, and tells how long to wait then.
func (e *Engine) turn(ctx context.Context, s *schedule, force bool) (wait time.Duration, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	again := jitter(min(s.Every, retryFailed))
	if wait, err = e.untilDue(ctx, s); err != nil {
		return again, err
	}
	if wait > 0 && !force {
		return jitter(wait), nil
	}
	l, began, err := e.takeLead(ctx, s, force)
	switch {
	case errors.Is(err, errNothing):
		return jitter(min(s.Every, retryLead)), nil
	case leafward.KindOf(err) == leafward.Later && !force:
		return jitter(min(s.Every, retryLead)), nil
	case err != nil:
		return again, err
	}
	if err := e.follow(ctx, s, l); err != nil {
		e.yieldLead(ctx, s, l, time.Time{})
		return again, err
	}
	e.yieldLead(ctx, s, l, began)
	return jitter(s.Every), nil
}

// untilDue is how long it is until the schedule is due, 0 when it is; a process whose clock is off waits.
func (e *Engine) untilDue(ctx context.Context, s *schedule) (wait time.Duration, err error) {
	if err := e.skewed(); err != nil {
		return retryFailed, nil
	}
	err = e.db.View(ctx, func(v *store.View) error {
		due, err := s.due(v)
		wait = max(due.Sub(v.Now), 0)
		if s.Settled {
			wait = max(wait, e.unsettled(v.Now))
		}
		return err
	})
	return wait, err
}

// takeLead takes the schedule's lease; errNothing means that another process was faster.
func (e *Engine) takeLead(ctx context.Context, s *schedule, force bool) (l lead, began time.Time, err error) {
	l = lead{name: s.key(), worker: e.config.Worker}
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		began = tx.Now
		due, err := s.due(&tx.View)
		if err != nil {
			return err
		}
		if due.After(tx.Now) && !force {
			return errNothing
		}
		if l.epoch, err = tx.Lease(l.name, l.worker, leadHold); err == nil && l.epoch == 0 {
			err = leafward.Errorf(leafward.Later, "wait until it is through", "another server runs %s at this moment", s.Name)
		}
		return err
	})
	return l, began, err
}

// follow runs the schedule and keeps its lease meanwhile.
func (e *Engine) follow(ctx context.Context, s *schedule, l lead) error {
	ctx, stop := context.WithCancelCause(context.WithValue(ctx, leadKey{}, l))
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.every(ctx, leadHold/3, func(ctx context.Context) {
			err := e.db.Write(ctx, func(tx *store.Tx) error { return l.renew(tx, leadHold) })
			if errors.Is(err, ErrLost) {
				stop(ErrLost)
			}
		})
	}()
	err := guard(ctx, e, "schedule "+s.Name, func() error { return s.Run(ctx) })
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("it was cut short: %w", cause)
	}
	stop(nil)
	<-done
	return err
}

// yieldLead gives the schedule's lease back; began is when a run that went well began, zero when none did.
func (e *Engine) yieldLead(ctx context.Context, s *schedule, l lead, began time.Time) {
	err := e.db.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		if err := l.renew(tx, 0); err != nil {
			return err
		}
		if !began.IsZero() {
			tx.SetSetting(s.key(), strconv.FormatInt(began.UnixMicro(), 10))
		}
		return nil
	})
	if err != nil {
		e.log.WarnContext(ctx, "the end of a schedule's run was not noted; it will run again", "schedule", s.Name, "error", err)
	}
}
