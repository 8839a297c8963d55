package rest

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

func (s *server) renewalPolicies(r *router) {
	bind(r, api.ListRenewalPolicies, func(ctx context.Context, in api.ListRenewalPoliciesInput) (api.Page[api.RenewalPolicy], error) {
		page, err := s.Settings.RenewalPolicies(ctx, in.Query(map[string]string{"name": in.Name, "team_id": in.TeamID}))
		return api.PageOf(page, api.RenewalPolicyOf), err
	})
	bind(r, api.CreateRenewalPolicy, func(ctx context.Context, in api.Make[api.RenewalPolicyWrite]) (api.RenewalPolicy, error) {
		policy, err := s.Settings.CreateRenewalPolicy(ctx, writeRenewalPolicy(in.Body))
		return api.RenewalPolicyOf(&policy), err
	})
	bind(r, api.GetRenewalPolicy, func(ctx context.Context, in api.ByID) (api.RenewalPolicy, error) {
		policy, err := s.Settings.RenewalPolicy(ctx, in.ID)
		return api.RenewalPolicyOf(&policy), err
	})
	bind(r, api.UpdateRenewalPolicy, func(ctx context.Context, in api.Update[api.RenewalPolicyWrite]) (api.RenewalPolicy, error) {
		policy, err := s.Settings.UpdateRenewalPolicy(ctx, in.ID, in.IfMatch, writeRenewalPolicy(in.Body))
		return api.RenewalPolicyOf(&policy), err
	})
	bind(r, api.DeleteRenewalPolicy, func(ctx context.Context, in api.ByID) (api.None, error) {
		return api.None{}, s.Settings.DeleteRenewalPolicy(ctx, in.ID, in.IfMatch)
	})
}

// writeRenewalPolicy applies what a client sent to a new or a stored policy; null brings a default back.
func writeRenewalPolicy(in api.RenewalPolicyWrite) func(*leafward.RenewalPolicy) error {
	return func(t *leafward.RenewalPolicy) error {
		var p leafward.Problems
		in.Check(&p, &t.Row, 0)
		api.Same(&p, "certificate_profile_id", in.CertificateProfileID, "")
		in.TeamID.Apply(&t.Team)
		in.Name.Apply(&t.Name)
		in.RenewalWindowDays.Or(leafward.DefaultWindowDays, &t.WindowDays)
		in.LiteralWindow.Apply(&t.LiteralWindow)
		in.AutoRenew.Or(true, &t.AutoRenew)
		in.MaxRetries.Or(leafward.DefaultMaxRetries, &t.MaxRetries)
		in.RetryIntervalSeconds.Or(leafward.DefaultRetryInterval, &t.RetryInterval)
		in.AlertThresholdsDays.Or(leafward.DefaultThresholds(), &t.Thresholds)
		return p.Err()
	}
}
