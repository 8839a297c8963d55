package rest

import (
	"log/slog"
	"net/http"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/deploy"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
)

// Deps are the verbs that the door leads to.
type Deps struct {
	DB           *store.DB
	Auth         *auth.Service
	Settings     *lifecycle.Settings
	Issuers      *lifecycle.Issuers
	Authorities  *lifecycle.Authorities
	Certificates *lifecycle.Service
	Deploy       *deploy.Service
	Fleet        *fleet.Service
	Plugins      []api.Plugin // built in, in the order in which they are shown
	Checks       []Check      // what readiness means
	Name         string       // this server, in exports
	Build        Build
	Log          *slog.Logger

	Server func() api.Server // where and since when it runs, at this moment
}

// server holds the handlers.
type server struct {
	Deps
	flights *flights
}

// New returns the REST API. Its requests must carry the actor that auth.Identify puts into the context.
func New(d Deps) http.Handler { return build(d) }

func build(d Deps) *router {
	r := newRouter(d.Build.Version, d.Log)
	s := &server{Deps: d, flights: newFlights()}
	for _, group := range []func(*router){
		s.health, s.self, s.teams, s.owners, s.profiles, s.renewalPolicies, s.issuers, s.authorities, s.certificates, s.batches, s.apiKeys, s.audit, s.plugins,
		s.jobs, s.revocation,
		s.agents, s.agentWork, s.invitations, s.targets,
	} {
		group(r)
	}
	r.document()
	return r
}
