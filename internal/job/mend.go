package job

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// mend makes jobs due again whose worker vanished and fails those whose deadline passed. Every replica does it: each
// job is looked at again in the transaction that changes it. Work that runs in this process has not vanished, however
// far the clock moved.
func (e *Engine) mend(ctx context.Context) {
	e.mu.Lock()
	own := slices.Sorted(maps.Keys(e.running))
	e.mu.Unlock()
	e.setBack(ctx)
	var ids []string
	err := e.db.View(ctx, func(v *store.View) error {
		lost, err := v.LostJobs(maxMend, own...)
		if err != nil {
			return err
		}
		lateOnes, err := v.LateJobs(maxMend)
		for _, j := range append(lost, lateOnes...) {
			if !slices.Contains(ids, j.ID) {
				ids = append(ids, j.ID)
			}
		}
		return err
	})
	if err != nil {
		e.note(ctx, err)
		return
	}
	for _, id := range ids {
		err := e.db.Write(ctx, func(tx *store.Tx) error { return e.repair(tx, id) })
		switch {
		case err == nil:
			e.log.WarnContext(ctx, "a job's worker vanished or its deadline passed", "job", id)
		case !errors.Is(err, errNothing) && ctx.Err() == nil:
			e.log.ErrorContext(ctx, "a lost or late job cannot be dealt with", "job", id, "error", err)
		}
	}
}

// setBack takes jobs that were planned by a clock that was ahead back to the present, so that none waits for the years between:
// once it is believed that it was that clock which was wrong.
func (e *Engine) setBack(ctx context.Context) {
	ahead := false
	var wait time.Duration
	err := e.db.View(ctx, func(v *store.View) (err error) {
		wait = e.unsettled(v.Now)
		ahead, err = v.Ahead()
		return err
	})
	if err == nil && ahead && wait > 0 {
		e.log.DebugContext(ctx, "jobs are dated later than the clock shows: they are taken back when it goes on like this", "in", wait)
		return
	}
	for err == nil && ahead {
		var n int64
		err = e.db.Write(ctx, func(tx *store.Tx) error {
			if n = 0; e.unsettled(tx.Now) == 0 { // it may jump between two of many
				n = tx.SetBack(maxMend)
			}
			return tx.Err()
		})
		if ahead = n == maxMend; n > 0 {
			e.log.WarnContext(ctx, "jobs were planned by a clock that was ahead, and are taken back to the present", "jobs", n)
		}
	}
	if err != nil && ctx.Err() == nil {
		e.log.ErrorContext(ctx, "jobs that were planned by a clock that was ahead cannot be taken back", "error", err)
	}
}

// inherit makes due again what a process of the same name had taken when it ended. A server that is alone on its database
// keeps its name, so that nothing waits for the leases of one that was killed.
func (e *Engine) inherit(ctx context.Context) {
	if err := e.db.Write(ctx, func(tx *store.Tx) error { tx.LeavePlacesOf(e.config.Worker, e.self); return nil }); err != nil {
		e.log.WarnContext(ctx, "places in lanes of a process that ended are not free before their time is over", "error", err)
	}
	for {
		n := 0
		err := e.db.Write(ctx, func(tx *store.Tx) error {
			taken, err := tx.JobsTakenBy(e.config.Worker, maxMend)
			if n = len(taken); err != nil {
				return err
			}
			if n == 0 {
				return errNothing
			}
			for _, t := range taken {
				j, found, err := tx.JobOfAny(t.ID) // what freed another may have changed this one
				if err != nil {
					return err
				}
				if !found || j.Status != leafward.JobRunning || j.Worker != e.config.Worker {
					continue
				}
				if err := e.rescue(tx, &j); err != nil {
					return err
				}
			}
			return tx.Err()
		})
		if err != nil && !errors.Is(err, errNothing) && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "jobs of a process that ended wait for their leases", "error", err)
		}
		if err != nil {
			return
		}
		e.log.WarnContext(ctx, "jobs of a process that ended are due again", "jobs", n)
	}
}

// repair deals with one job that is lost or late.
func (e *Engine) repair(tx *store.Tx, id string) error {
	j, found, err := tx.JobOfAny(id)
	if err != nil {
		return err
	}
	held := j.Status == leafward.JobRunning && j.LeaseUntil.After(tx.Now)
	switch {
	case !found || !j.Status.Open() || held:
		return errNothing
	case late(tx, &j):
		return e.expire(tx, &j)
	case j.Status == leafward.JobRunning && !j.LeaseUntil.IsZero():
		return e.rescue(tx, &j)
	}
	return errNothing
}

// rescue makes a job whose lease ended due again; the attempt stays counted.
func (e *Engine) rescue(tx *store.Tx, j *leafward.Job) error {
	reason := vanished(j)
	tx.CloseAttempt(j, "lost", reason)
	by, err := tx.CancelRequested(j.ID)
	switch {
	case err != nil:
		return err
	case by != "":
		return e.end(tx, j, leafward.JobCancelled, cancelledBy(by))
	case j.Attempt >= j.MaxAttempts:
		return e.end(tx, j, leafward.JobFailed, reason)
	}
	j.LastError = reason
	return e.pending(tx, j, leafward.JobPending, 0, "")
}

// expire fails a job whose deadline passed, and says what it waited for. A root fails with its children; a child that
// is being worked may still end its attempt.
func (e *Engine) expire(tx *store.Tx, j *leafward.Job) error {
	if j.Kind == leafward.RootJob {
		children, err := tx.Children(j.ID)
		if err != nil {
			return err
		}
		open := slices.DeleteFunc(children, func(c leafward.Job) bool { return !c.Status.Open() })
		if len(open) > 0 {
			return e.expireBelow(tx, j, open)
		}
	}
	return e.end(tx, j, leafward.JobFailed, overdue(j))
}

// expireBelow fails the open children of a root whose deadline passed.
func (e *Engine) expireBelow(tx *store.Tx, root *leafward.Job, open []leafward.Job) error {
	changed := false
	for _, c := range open {
		child, _, err := tx.JobOfAny(c.ID) // what ended another child may have changed this one
		switch {
		case err != nil:
			return err
		case !child.Status.Open():
		case child.LeaseUntil.After(tx.Now):
			if child.Deadline.IsZero() || child.Deadline.After(root.Deadline) {
				child.Deadline, changed = root.Deadline, true
				tx.PutJob(&child)
			}
		default:
			changed = true
			if err := e.end(tx, &child, leafward.JobFailed, overdue(&child)); err != nil {
				return err
			}
		}
	}
	if !changed {
		return errNothing
	}
	return tx.Err()
}

func vanished(j *leafward.Job) string { return "the worker vanished: " + j.Worker }

// overdue says why a job whose deadline passed did not end before.
func overdue(j *leafward.Job) string {
	reason := "the deadline passed"
	if j.WaitingFor != "" {
		reason += " while it waited for " + j.WaitingFor
	}
	if j.LastError != "" {
		reason += "; the last attempt failed: " + j.LastError
	}
	return reason
}
