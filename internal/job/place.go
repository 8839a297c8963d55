package job

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Place is room in this process for a job that is about to be planted: the job is born leased to this process and begins
// as soon as its transaction is committed, without a claim. A nil Place has no room: its jobs wait for their claim.
type Place struct {
	engine *Engine
	base   context.Context
	job    leafward.Job // zero while no job took the place
}

// Place takes room for one job, nil when there is none. The caller ends it with Start or Drop.
func (e *Engine) Place() *Place {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.base == nil || e.skew.Abs() > stopSkew || len(e.running)+e.taken >= e.config.Workers {
		return nil
	}
	e.taken++
	e.works.Add(1)
	return &Place{engine: e, base: e.base}
}

// Clear forgets the job that took the place: call it first in a transaction, which may run more than once.
func (p *Place) Clear() {
	if p != nil {
		p.job = leafward.Job{}
	}
}

// Plant adds a root with its first parts, which get its team, batch and deadline where they have none; the first of them that
// could be claimed at once takes the place. Each is written once and nothing is read for it: the caller knows that no root of the
// subject is open, nor a job like one of the parts, or the transaction is refused with a Conflict.
func (p *Place) Plant(tx *store.Tx, root *leafward.Job, parts []leafward.Job) error {
	if err := complete(tx, root); err != nil {
		return err
	}
	root.ID = fallback(root.ID, store.NewID("job"))
	taken := -1
	for i := range parts {
		j := &parts[i]
		if err := complete(tx, j); err != nil {
			return err
		}
		j.Parent, j.Team, j.Batch = root.ID, fallback(j.Team, root.Team), fallback(j.Batch, root.Batch)
		if j.Deadline.IsZero() {
			j.Deadline = root.Deadline
		}
		if taken < 0 && p.suits(tx, j) {
			taken = i
			hold := p.engine.kinds[j.Kind].Hold
			j.Status, j.Worker, j.LeaseUntil, j.StartedAt, j.Attempt, j.Epoch = leafward.JobRunning, p.engine.config.Worker, tx.Now.Add(hold), tx.Now, 1, 1
		}
	}
	display(root, parts)
	tx.PlantJob(root)
	for i := range parts {
		tx.PlantJob(&parts[i])
	}
	if taken >= 0 {
		tx.OpenAttempt(&parts[taken])
		p.job = parts[taken]
	}
	return tx.Err()
}

// suits tells whether a new job could be claimed at once by who has the place.
func (p *Place) suits(tx *store.Tx, j *leafward.Job) bool {
	if p == nil || p.job.ID != "" {
		return false
	}
	k := p.engine.kinds[j.Kind]
	return k.Work != nil && j.Agent == "" && j.Status == leafward.JobPending && !j.RunAt.After(tx.Now) && p.engine.config.LaneLimit(j.Lane) == 0
}

// Start begins the job that took the place; its transaction is committed.
func (p *Place) Start() {
	if p == nil {
		return
	}
	if p.job.ID != "" {
		p.engine.start(p.base, p.job)
	}
	p.Drop()
}

// Drop gives the place back.
func (p *Place) Drop() {
	if p == nil || p.engine == nil {
		return
	}
	e := p.engine
	p.engine = nil
	e.mu.Lock()
	e.taken--
	e.mu.Unlock()
	e.works.Done()
}

// open lets jobs take places, whose work runs under base.
func (e *Engine) open(base context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.base = base
}

// shut gives no more places.
func (e *Engine) shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.base = nil
}
