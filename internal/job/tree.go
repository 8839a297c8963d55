package job

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// settle computes the root above a job that changed, and ends it with its last child. It always writes the root, so
// that of two children that end at once one transaction runs again and sees the other.
func (e *Engine) settle(tx *store.Tx, parent string) error {
	root, children, err := family(tx, parent)
	if err != nil || root == nil {
		return err
	}
	by, err := tx.CancelRequested(root.ID)
	if err != nil {
		return err
	}
	display(root, children)
	if len(children) > 0 && !slices.ContainsFunc(children, func(c leafward.Job) bool { return c.Status.Open() }) {
		status, reason, err := e.verdict(tx, children, by)
		if err != nil {
			return err
		}
		return e.end(tx, root, status, reason)
	}
	tx.PutJob(root)
	return tx.Err()
}

// show is settle where a job was begun or added, which ends nothing.
func show(tx *store.Tx, parent string) error {
	root, children, err := family(tx, parent)
	if err != nil || root == nil {
		return err
	}
	display(root, children)
	tx.PutJob(root)
	return tx.Err()
}

// family reads an open root and its children; the root is nil when the parent is none.
func family(tx *store.Tx, parent string) (*leafward.Job, []leafward.Job, error) {
	if parent == "" {
		return nil, nil, nil
	}
	root, found, err := tx.JobOfAny(parent)
	if err != nil || !found || root.Kind != leafward.RootJob || !root.Status.Open() {
		return nil, nil, err
	}
	children, err := tx.Children(parent)
	return &root, children, err
}

// verdict is what children that have all ended make of their root. One whose purpose is gone does not count, unless that
// is true of all.
func (e *Engine) verdict(tx *store.Tx, children []leafward.Job, cancelledBy string) (status leafward.JobStatus, reason string, err error) {
	var failed, cancelled, moot []string
	for i := range children {
		c := &children[i]
		if c.Status == leafward.JobCompleted {
			continue
		}
		gone, err := e.moot(tx, c)
		if err != nil {
			return "", "", err
		}
		what, err := called(&tx.View, c)
		if err != nil {
			return "", "", err
		}
		why := what + ": " + c.LastError
		switch {
		case gone:
			moot = append(moot, why)
		case c.Status == leafward.JobFailed:
			failed = append(failed, why)
		default:
			cancelled = append(cancelled, why)
		}
	}
	switch {
	case len(failed) > 0:
		return leafward.JobFailed, several(failed), nil
	case cancelledBy != "":
		return leafward.JobCancelled, "cancelled by " + cancelledBy, nil
	case len(cancelled) > 0:
		return leafward.JobCancelled, several(cancelled), nil
	case len(moot) == len(children):
		return leafward.JobCancelled, several(moot), nil
	}
	return leafward.JobCompleted, "", nil
}

// called is what people call a part of a root: what it does, and the name of where.
func called(v *store.View, j *leafward.Job) (string, error) {
	_, slot, _ := strings.Cut(j.Subject, "/")
	target, agent, err := v.Names(j.Target, slot)
	switch {
	case j.Kind == leafward.DeployJob && target != "":
		return "deploy to " + target, err
	case j.Kind == leafward.ProveJob && target != "":
		return "proof at " + target, err
	case j.Kind == leafward.OrderJob && agent != "":
		return "signature for " + agent, err
	case j.Kind == leafward.OrderJob:
		return "signature", err
	}
	return fmt.Sprintf("%s %s", j.Kind, j.Subject), err
}

// moot tells whether what a part that did not end well was for is gone.
func (e *Engine) moot(tx *store.Tx, j *leafward.Job) (bool, error) {
	ask := e.kinds[j.Kind].Moot
	if ask == nil {
		return false, nil
	}
	return ask(&tx.View, j)
}

// several is the first of some reasons and how many more there are.
func several(reasons []string) string {
	if more := len(reasons) - 1; more > 0 {
		return fmt.Sprintf("%s (and %d more)", clip(reasons[0], MaxText-64), more)
	}
	return reasons[0]
}

// display shows in an open root how its children stand: Running once something began, before that the state of its
// first unfinished child; what is waited for, the last error and the next attempt are those of the first that has one.
func display(root *leafward.Job, children []leafward.Job) {
	if len(children) == 0 {
		return
	}
	var first *leafward.Job
	begun := false
	root.WaitingFor, root.LastError, root.Attempt = "", "", 0
	for i := range children {
		c := &children[i]
		root.Attempt = max(root.Attempt, c.Attempt)
		begun = begun || c.Status == leafward.JobRunning || c.Status == leafward.JobCompleted || c.Attempt > 0
		if !c.StartedAt.IsZero() && (root.StartedAt.IsZero() || c.StartedAt.Before(root.StartedAt)) {
			root.StartedAt = c.StartedAt
		}
		if !c.Status.Open() {
			continue
		}
		if first == nil || c.RunAt.Before(root.RunAt) {
			root.RunAt = c.RunAt
		}
		if first == nil {
			first = c
		}
		root.WaitingFor = fallback(root.WaitingFor, c.WaitingFor)
		root.LastError = fallback(root.LastError, c.LastError)
	}
	if first != nil {
		root.Status = first.Status
	}
	if begun {
		root.Status = leafward.JobRunning
	}
}
