package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/target"
)

// Service answers for agents and targets.
type Service struct {
	db      *store.DB
	engine  *job.Engine
	master  *keys.Master
	plugins []target.Plugin
	log     *slog.Logger
	due     *glance
}

// New returns the service: the engine settles what agents report, the plugins are the types of targets there are.
func New(db *store.DB, engine *job.Engine, master *keys.Master, plugins []target.Plugin, log *slog.Logger) *Service {
	return &Service{db: db, engine: engine, master: master, plugins: plugins, log: log, due: &glance{}}
}

// Kinds are the kinds of jobs that package fleet understands.
func Kinds() []job.Kind { return []job.Kind{{Name: leafward.CheckJob}} }

// Agents lists the agents that are not retired.
func (s *Service) Agents(ctx context.Context, q leafward.Query) (leafward.List[leafward.Agent], error) {
	return store.Agents().List(ctx, s.db, q)
}

// RetiredAgents lists the agents that are retired.
func (s *Service) RetiredAgents(ctx context.Context, q leafward.Query) (leafward.List[leafward.Agent], error) {
	return store.RetiredAgents().List(ctx, s.db, q)
}

// Agent reads one agent, retired or not.
func (s *Service) Agent(ctx context.Context, id string) (leafward.Agent, error) {
	return store.Agents().Get(ctx, s.db, id)
}

// Now is the instant by which the state of agents is told.
func (s *Service) Now(ctx context.Context) (now time.Time, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		now = v.Now
		return nil
	})
	return now, err
}

// acting reads the agent in whose name the actor works: the agent itself, or an administrator of its team. What belongs to
// another agent is refused alike whether it exists or not.
func acting(v *store.View, id string) (leafward.Agent, error) {
	if v.Actor.Role == leafward.RoleAgent && v.Actor.ID != id {
		return leafward.Agent{}, leafward.Errorf(leafward.Denied, "use the id of the agent that the key belongs to: "+v.Actor.ID, "the key is not that of the agent %.130q", id)
	}
	a, err := v.Agent(id)
	switch {
	case err != nil:
		return a, err
	case v.Actor.Role != leafward.RoleAgent && !v.Actor.MayWrite(a.Team):
		return a, leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "the agent %s is shared by all teams, and your key is for some", id)
	case !a.RetiredAt.IsZero():
		return a, leafward.Errorf(leafward.Gone, "stop the agent on this host", "the agent %s is retired", id)
	}
	return a, nil
}

// Acting is the agent in whose name the actor works, or why it may not.
func (s *Service) Acting(ctx context.Context, id string) (a leafward.Agent, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		a, err = acting(v, id)
		return err
	})
	return a, err
}
