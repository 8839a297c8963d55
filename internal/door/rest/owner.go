package rest

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

func (s *server) owners(r *router) {
	bind(r, api.ListOwners, func(ctx context.Context, in api.ListOwnersInput) (api.Page[api.Owner], error) {
		page, err := s.Auth.Owners(ctx, in.Query(map[string]string{"name": in.Name, "team_id": in.TeamID, "email": in.Email}))
		return api.PageOf(page, api.OwnerOf), err
	})
	bind(r, api.CreateOwner, func(ctx context.Context, in api.Make[api.OwnerWrite]) (api.Owner, error) {
		owner, err := s.Auth.CreateOwner(ctx, writeOwner(in.Body))
		return api.OwnerOf(&owner), err
	})
	bind(r, api.GetOwner, func(ctx context.Context, in api.ByID) (api.Owner, error) {
		owner, err := s.Auth.Owner(ctx, in.ID)
		return api.OwnerOf(&owner), err
	})
	bind(r, api.UpdateOwner, func(ctx context.Context, in api.Update[api.OwnerWrite]) (api.Owner, error) {
		owner, err := s.Auth.UpdateOwner(ctx, in.ID, in.IfMatch, writeOwner(in.Body))
		return api.OwnerOf(&owner), err
	})
	bind(r, api.DeleteOwner, func(ctx context.Context, in api.ByID) (api.None, error) {
		return api.None{}, s.Auth.DeleteOwner(ctx, in.ID, in.IfMatch)
	})
}

// writeOwner applies what a client sent to a new or a stored owner.
func writeOwner(in api.OwnerWrite) func(*leafward.Owner) error {
	return func(o *leafward.Owner) error {
		var p leafward.Problems
		in.Check(&p, &o.Row, 0)
		in.TeamID.Apply(&o.Team)
		in.Name.Apply(&o.Name)
		in.Email.Apply(&o.Email)
		return p.Err()
	}
}
