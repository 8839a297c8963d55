package rest

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

func (s *server) teams(r *router) {
	bind(r, api.ListTeams, func(ctx context.Context, in api.ListTeamsInput) (api.Page[api.Team], error) {
		page, err := s.Auth.Teams(ctx, in.Query(map[string]string{"name": in.Name}))
		return api.PageOf(page, api.TeamOf), err
	})
	bind(r, api.CreateTeam, func(ctx context.Context, in api.Make[api.TeamWrite]) (api.Team, error) {
		team, err := s.Auth.CreateTeam(ctx, writeTeam(in.Body))
		return api.TeamOf(&team), err
	})
	bind(r, api.GetTeam, func(ctx context.Context, in api.ByID) (api.Team, error) {
		team, err := s.Auth.Team(ctx, in.ID)
		return api.TeamOf(&team), err
	})
	bind(r, api.UpdateTeam, func(ctx context.Context, in api.Update[api.TeamWrite]) (api.Team, error) {
		team, err := s.Auth.UpdateTeam(ctx, in.ID, in.IfMatch, writeTeam(in.Body))
		return api.TeamOf(&team), err
	})
	bind(r, api.DeleteTeam, func(ctx context.Context, in api.ByID) (api.None, error) {
		return api.None{}, s.Auth.DeleteTeam(ctx, in.ID, in.IfMatch)
	})
}

// writeTeam applies what a client sent to a new or a stored team.
func writeTeam(in api.TeamWrite) func(*leafward.Team) error {
	return func(t *leafward.Team) error {
		var p leafward.Problems
		in.Check(&p, &t.Row, t.Number)
		in.Name.Apply(&t.Name)
		in.Description.Apply(&t.Description)
		return p.Err()
	}
}
