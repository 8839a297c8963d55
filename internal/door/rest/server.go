package rest

import (
	"log/slog"
	"net/http"

	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/store"
)

// Deps are the verbs that the door leads to.
type Deps struct {
	DB      *store.DB
	Auth    *auth.Service
	Version string
	Log     *slog.Logger
}

// server holds the handlers.
type server struct{ Deps }

// New returns the REST API. Its requests must carry the actor that auth.Identify puts into the context.
func New(d Deps) http.Handler { return build(d) }

func build(d Deps) *router {
	r := newRouter(d.Version, d.Log)
	s := &server{d}
	s.teams(r)
	r.document()
	return r
}
