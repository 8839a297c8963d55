package rest

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// Check is one thing that must hold for the server to be ready. Its error says what does not; the text of one that is not
// a leafward.Error is for the log only.
type Check struct {
	Name string
	Test func(context.Context) error
}

// Build is what the linker was told.
type Build struct{ Version, Commit, Time string }

// checkTime bounds how long readiness waits for one check.
const checkTime = 5 * time.Second

func (s *server) health(r *router) {
	bind(r, api.GetHealth, func(context.Context, api.Nothing) (api.Status, error) {
		return api.Status{Status: "healthy"}, nil
	})
	bind(r, api.GetReady, func(ctx context.Context, _ api.Nothing) (api.Status, error) {
		return api.Status{Status: "ready"}, s.ready(ctx)
	})
	bind(r, api.GetAuthInfo, func(context.Context, api.Nothing) (api.AuthInfo, error) {
		return api.AuthInfo{AuthType: "api-key", Required: true}, nil
	})
	bind(r, api.CheckAuth, func(ctx context.Context, _ api.Nothing) (api.AuthCheck, error) {
		actor, _ := leafward.ActorFrom(ctx)
		return api.AuthCheck{Status: "authenticated", User: actor.Name, Role: string(actor.Role), Admin: actor.Role == leafward.RoleAdmin}, nil
	})
	bind(r, api.GetVersion, func(context.Context, api.Nothing) (api.Version, error) {
		info, _ := debug.ReadBuildInfo()
		return versionOf(s.Build, info), nil
	})
}

func (s *server) self(r *router) {
	bind(r, api.GetServer, func(context.Context, api.Nothing) (api.Server, error) { return s.Server(), nil })
}

// ready runs every check and names all that fail.
func (s *server) ready(asked context.Context) error {
	ctx, cancel := context.WithTimeout(leafward.WithActor(asked, leafward.System("ready")), checkTime)
	defer cancel()
	found := make([]error, len(s.Checks))
	var all sync.WaitGroup
	for i, check := range s.Checks {
		all.Go(func() { found[i] = check.Test(ctx) })
	}
	all.Wait()
	if err := asked.Err(); err != nil {
		return err // who asked has left, which says nothing about the server
	}
	wrong := &leafward.Error{Kind: leafward.Later, Message: "the server is not ready", Fix: "mend what the fields name; the server notices by itself"}
	for i, err := range found {
		if err == nil {
			continue
		}
		field := leafward.Field{Field: s.Checks[i].Name, Problem: "does not work; the server's log says why"}
		if e, ok := errors.AsType[*leafward.Error](err); ok {
			field.Problem, field.Fix = e.Message, e.Fix
		}
		s.Log.WarnContext(ctx, "not ready", "check", s.Checks[i].Name, "error", err)
		wrong.Fields = append(wrong.Fields, field)
	}
	if len(wrong.Fields) == 0 {
		return nil
	}
	return wrong
}

// versionOf is what the linker was told, else what the Go tool noted.
func versionOf(b Build, info *debug.BuildInfo) api.Version {
	v := api.Version{Version: b.Version, Commit: b.Commit, BuildTime: b.Time, GoVersion: runtime.Version()}
	if info != nil {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && v.Commit == "":
				v.Commit = s.Value
			case s.Key == "vcs.time" && v.BuildTime == "":
				v.BuildTime = s.Value
			case s.Key == "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if v.Version == "" {
		v.Version = v.Commit
	}
	if v.Version == "" {
		v.Version = "dev"
	}
	return v
}
