package rest

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

func (s *server) issuers(r *router) {
	bind(r, api.ListIssuers, func(ctx context.Context, in api.ListIssuersInput) (api.Page[api.Issuer], error) {
		page, err := s.Issuers.List(ctx, in.Query(map[string]string{"name": in.Name, "type": in.Type, "team_id": in.TeamID, "enabled": in.Enabled}))
		return api.PageOf(page, api.IssuerOf), err
	})
	bind(r, api.CreateIssuer, func(ctx context.Context, in api.Make[api.IssuerWrite]) (api.Issuer, error) {
		issuer, err := s.Issuers.Create(ctx, writeIssuer(in.Body), api.SentConfig(in.Body.Config, in.Body.SecretsSet))
		return api.IssuerOf(&issuer), err
	})
	bind(r, api.GetIssuer, func(ctx context.Context, in api.ByID) (api.Issuer, error) {
		issuer, err := s.Issuers.Get(ctx, in.ID)
		return api.IssuerOf(&issuer), err
	})
	bind(r, api.UpdateIssuer, func(ctx context.Context, in api.Update[api.IssuerWrite]) (api.Issuer, error) {
		issuer, err := s.Issuers.Update(ctx, in.ID, in.IfMatch, writeIssuer(in.Body), api.SentConfig(in.Body.Config, in.Body.SecretsSet))
		return api.IssuerOf(&issuer), err
	})
	bind(r, api.DeleteIssuer, func(ctx context.Context, in api.ByID) (api.None, error) {
		return api.None{}, s.Issuers.Delete(ctx, in.ID, in.IfMatch)
	})
	bind(r, api.TestIssuerConnection, func(ctx context.Context, in api.IssuerID) (api.IssuerTest, error) {
		steps, err := s.Issuers.Test(ctx, in.ID)
		return api.IssuerTestOf(steps), err
	})
}

// writeIssuer applies what a client sent beside the configuration to a new or a stored issuer.
func writeIssuer(in api.IssuerWrite) func(*leafward.Issuer) error {
	return func(i *leafward.Issuer) error {
		var p leafward.Problems
		in.Check(&p, &i.Row, i.Number)
		api.SameList(&p, "secrets_set", in.SecretsSet, i.Secrets)
		api.Same(&p, "authority_id", in.AuthorityID, i.Authority)
		in.TeamID.Apply(&i.Team)
		in.Name.Apply(&i.Name)
		in.Type.Apply(&i.Type)
		in.Enabled.Or(true, &i.Enabled)
		return p.Err()
	}
}
