package rest

import (
	"context"

	"github.com/leafward/leafward/api"
)

func (s *server) authorities(r *router) {
	bind(r, api.ListAuthorities, func(ctx context.Context, _ api.Nothing) (api.Authorities, error) {
		all, err := s.Authorities.List(ctx)
		out := api.Authorities{Data: make([]api.Authority, len(all)), Total: len(all)}
		for i := range all {
			out.Data[i] = api.AuthorityOf(&all[i])
		}
		return out, err
	})
	bind(r, api.GetAuthority, func(ctx context.Context, in api.AuthorityID) (api.Authority, error) {
		a, err := s.Authorities.Get(ctx, in.ID)
		return api.AuthorityOf(&a), err
	})
	bind(r, api.CopyAuthorityKey, func(ctx context.Context, in api.KeyCopyInput) (api.KeyCopy, error) {
		sealed, sha, err := s.Authorities.CopyKey(ctx, in.ID, in.Body.Recipients)
		return api.KeyCopy{SealedKey: string(sealed), CopySHA256: sha}, err
	})
	bind(r, api.TakeOffline, func(ctx context.Context, in api.OfflineInput) (api.Authority, error) {
		a, err := s.Authorities.TakeOffline(ctx, in.ID, in.Body.CopySHA256, in.Body.CRLDays)
		return api.AuthorityOf(&a), err
	})
	bind(r, api.BringOnline, func(ctx context.Context, in api.OnlineInput) (api.Authority, error) {
		a, err := s.Authorities.BringOnline(ctx, in.ID, in.Body.SealedKey)
		return api.AuthorityOf(&a), err
	})
}
