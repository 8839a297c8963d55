package job

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Place is room in this process for a job that is about to be enqueued: the job is born leased to this process and begins
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

// Enqueue is [Enqueue], but the first job that could be claimed at once takes the place.
func (p *Place) Enqueue(tx *store.Tx, j *leafward.Job) (added bool, err error) {
	if p == nil || p.job.ID != "" {
		return Enqueue(tx, j)
	}
	k := p.engine.kinds[j.Kind]
	if k.Work == nil || j.Agent != "" || fallback(j.Status, leafward.JobPending) != leafward.JobPending || j.RunAt.After(tx.Now) || p.engine.config.LaneLimit(j.Lane) > 0 {
		return Enqueue(tx, j)
	}
	j.Status, j.Worker, j.LeaseUntil, j.StartedAt, j.Attempt, j.Epoch = leafward.JobRunning, p.engine.config.Worker, tx.Now.Add(k.Hold), tx.Now, 1, 1
	if added, err = Enqueue(tx, j); err != nil || !added || j.Status != leafward.JobRunning {
		return added, err
	}
	tx.OpenAttempt(j)
	p.job = *j
	return true, tx.Err()
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
