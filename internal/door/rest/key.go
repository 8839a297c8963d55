package rest

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
)

func (s *server) apiKeys(r *router) {
	bind(r, api.ListKeys, func(ctx context.Context, in api.ListKeysInput) (api.Page[api.Key], error) {
		page, err := s.Auth.Keys(ctx, in.Query(map[string]string{"name": in.Name, "team_id": in.TeamID}))
		return api.PageOf(page, func(k *store.Key) api.Key { return api.KeyOf(&k.Credential, k.Role) }), err
	})
	bind(r, api.CreateKey, func(ctx context.Context, in api.Make[api.KeyWrite]) (api.NewKey, error) {
		role := leafward.Role(in.Body.Role.Value)
		secret, made, err := s.Auth.CreateKey(ctx, in.Body.Name.Value, role, in.Body.TeamID.Value)
		return api.NewKey{Key: api.KeyOf(&made, role), Secret: secret}, err
	})
	bind(r, api.RevokeKey, func(ctx context.Context, in api.KeyID) (api.None, error) {
		return api.None{}, s.Auth.RevokeKey(ctx, in.ID)
	})
}
