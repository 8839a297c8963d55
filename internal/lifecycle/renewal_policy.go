package lifecycle

import (
	"context"
	"slices"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// RenewalPolicies lists renewal policies.
func (s *Settings) RenewalPolicies(ctx context.Context, q leafward.Query) (leafward.List[leafward.RenewalPolicy], error) {
	return store.RenewalPolicies().List(ctx, s.db, q)
}

// RenewalPolicy reads one renewal policy.
func (s *Settings) RenewalPolicy(ctx context.Context, id string) (leafward.RenewalPolicy, error) {
	return store.RenewalPolicies().Get(ctx, s.db, id)
}

// CreateRenewalPolicy makes a policy of what fill writes over the defaults. Its id, unless given, is made of its name.
func (s *Settings) CreateRenewalPolicy(ctx context.Context, fill func(*leafward.RenewalPolicy) error) (leafward.RenewalPolicy, error) {
	return store.RenewalPolicies().Create(ctx, s.db, func(p *leafward.RenewalPolicy) error {
		*p = leafward.RenewalPolicy{
			Team: homeTeam(ctx), WindowDays: leafward.DefaultWindowDays, AutoRenew: true,
			MaxRetries: leafward.DefaultMaxRetries, RetryInterval: leafward.DefaultRetryInterval, Thresholds: leafward.DefaultThresholds(),
		}
		return fill(p)
	}, func(tx *store.Tx, p *leafward.RenewalPolicy) (err error) {
		if err := tx.CheckTeam("renewal_policy", "", p.Team); err != nil {
			return err
		}
		if p.ID == "" {
			p.ID, err = policyID(tx, p)
		}
		return err
	})
}

// policyID is the slug of the name, or a random id where another policy has that one already or the name has no letters
// for it. A policy of the same name and team keeps the slug, so that the second one is refused as a duplicate.
func policyID(tx *store.Tx, p *leafward.RenewalPolicy) (string, error) {
	id := "rp-" + leafward.Slug(p.Name)
	holder, taken, err := tx.PolicyNamed(id)
	if id == "rp-" || taken && (holder.Team != p.Team || holder.Name != p.Name) {
		id = store.NewID("rp")
	}
	return id, err
}

// UpdateRenewalPolicy changes a policy and, where that moves them, the renewals of its certificates.
func (s *Settings) UpdateRenewalPolicy(ctx context.Context, id, match string, change func(*leafward.RenewalPolicy) error) (p leafward.RenewalPolicy, err error) {
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		var changed []string
		p, changed, err = store.RenewalPolicies().Change(tx, id, match, change, func(tx *store.Tx, p *leafward.RenewalPolicy) error {
			return tx.CheckTeam("renewal_policy", id, p.Team)
		})
		if err == nil && s.replan != nil && slices.ContainsFunc(changed, moves) {
			err = s.replan(tx, id)
		}
		return err
	})
	return p, err
}

// moves tells whether another value in the column of a policy moves renewals.
func moves(column string) bool {
	return slices.Contains([]string{"window_days", "auto_renew", "literal_window", "thresholds", "retry_interval"}, column)
}

// DeleteRenewalPolicy removes a policy that nothing refers to.
func (s *Settings) DeleteRenewalPolicy(ctx context.Context, id, match string) error {
	return store.RenewalPolicies().Delete(ctx, s.db, id, match, nil)
}
