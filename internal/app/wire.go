package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/deploy"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/issuer/local"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/outbound"
)

// workers is how many jobs this process works at once.
const workers = 8

// verbs are what doors lead to and the engine works for.
type verbs struct {
	engine       *job.Engine
	auth         *auth.Service
	settings     *lifecycle.Settings
	issuers      *lifecycle.Issuers
	authorities  *lifecycle.Authorities
	certificates *lifecycle.Service
	deploy       *deploy.Service
	fleet        *fleet.Service
}

// issuerTypes are the issuers that are built in.
func (a *App) issuerTypes() []issuer.Plugin {
	return []issuer.Plugin{local.Plugin(a.authorities)}
}

// wire makes the verbs. This is the one place where a verb meets the engine: its kinds of jobs and its schedules.
func (a *App) wire(context.Context) (err error) {
	a.verbs.issuers = lifecycle.NewIssuers(a.db, a.master, a.issuerTypes())
	a.verbs.authorities = lifecycle.NewAuthorities(a.authorities)
	orders := lifecycle.NewOrders(a.db, a.master, a.verbs.issuers.Open, a.config.MaxRenewals)
	prover := deploy.New(a.db, targetTypes(), outbound.New(outbound.Config{Allow: a.config.ProbeAllow}).DialContext)
	kinds := slices.Concat(orders.Kinds(), prover.Kinds(), fleet.Kinds())
	schedules := slices.Concat(orders.Schedules(), prover.Schedules(), a.schedules())
	a.verbs.engine, err = job.New(job.Config{
		DB: a.db, Log: a.log, Points: a.points, Worker: a.name, Kinds: kinds, Schedules: schedules, Workers: workers, Grace: grace,
		LaneLimit: lifecycle.LaneLimit(a.config.MaxIssuance),
	})
	if err != nil {
		return err
	}
	a.verbs.auth = auth.New(a.db, a.log)
	a.verbs.deploy = deploy.NewService(a.db, a.verbs.engine)
	a.verbs.fleet = fleet.New(a.db, a.verbs.engine, a.master, targetTypes(), a.log)
	a.verbs.settings = lifecycle.NewSettings(a.db, lifecycle.Replan)
	a.verbs.certificates = lifecycle.New(a.verbs.engine, orders, a.log)
	return nil
}

// schedules are those of the ground.
func (a *App) schedules() []job.Schedule {
	abandoned := func(ctx context.Context) error {
		_, err := a.authorities.CloseAbandoned(ctx)
		return err
	}
	return []job.Schedule{
		{Name: "serials", Every: time.Minute, Run: abandoned},
		{Name: "successors", Every: time.Hour, Run: a.authorities.Succeed},
		{Name: "responders", Every: time.Minute, Run: a.authorities.PrepareResponders},
		{Name: "checkpoints", Every: 10 * time.Second, Run: a.checkpoint},
	}
}

// deps are what the REST door leads to.
func (a *App) deps() (rest.Deps, error) {
	plugins, err := a.plugins()
	if err != nil {
		return rest.Deps{}, fmt.Errorf("describing the plugins: %w", err)
	}
	return rest.Deps{
		DB: a.db, Auth: a.verbs.auth, Settings: a.verbs.settings, Issuers: a.verbs.issuers, Authorities: a.verbs.authorities, Certificates: a.verbs.certificates, Deploy: a.verbs.deploy, Fleet: a.verbs.fleet,
		Plugins: plugins, Checks: a.checks(),
		Name: a.name, Build: rest.Build{Version: a.config.Version}, Log: a.log, Server: a.self,
	}, nil
}
