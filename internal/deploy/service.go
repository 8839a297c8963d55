package deploy

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
)

// Service is what callers ask of jobs and verifications.
type Service struct {
	db     *store.DB
	engine *job.Engine
}

// NewService returns the service; the engine settles the jobs that it changes.
func NewService(db *store.DB, engine *job.Engine) *Service { return &Service{db: db, engine: engine} }

// Detail is a job with what was done in it.
type Detail struct {
	leafward.Job
	Steps    []leafward.Step
	Attempts []store.Attempt
}

// Jobs lists the jobs of the contract's types, inside the actor's scope.
func (s *Service) Jobs(ctx context.Context, q leafward.Query) (page leafward.List[leafward.Job], err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		page, err = v.Jobs(q)
		return err
	})
	return page, err
}

// Job reads one job.
func (s *Service) Job(ctx context.Context, id string) (d Detail, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		if d.Job, err = shown(v, id); err != nil {
			return err
		}
		if d.Steps, err = v.Steps(id); err != nil {
			return err
		}
		d.Attempts, err = v.Attempts(id)
		return err
	})
	return d, err
}

// shown reads a job that people know: kinds of the server's own work have no type and are missing.
func shown(v *store.View, id string) (leafward.Job, error) {
	j, err := v.Job(id)
	if err == nil && j.Type == "" {
		err = leafward.Missing("job", id)
	}
	return j, err
}

// Cancel ends a job and what is open below it; a deployment that runs is finished first, and the job stays open until then.
func (s *Service) Cancel(ctx context.Context, id string) (j leafward.Job, err error) {
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		if j, err = shown(&tx.View, id); err != nil {
			return err
		}
		if !tx.Actor.MayWrite(j.Team) {
			return leafward.Errorf(leafward.Denied, "use a key of that team", "the job %s is not yours to cancel", id)
		}
		return s.engine.Cancel(tx, &j, tx.Actor.Name)
	})
	return j, err
}
