package store

import (
	"context"

	"github.com/leafward/leafward"
)

// Seed makes the rows that every installation starts with, once. Call it under Migrate's lock.
func (db *DB) Seed(ctx context.Context) error {
	return db.Write(ctx, func(tx *Tx) error {
		if done, err := tx.Setting("seeded"); err != nil || done != "" {
			return err
		}
		tx.SetSetting("seeded", "yes")
		team := leafward.Team{Row: leafward.Row{ID: leafward.DefaultTeam}, Name: "default", Slug: "default", Description: "Everything that belongs to no other team"}
		owner := leafward.Owner{Row: leafward.Row{ID: leafward.DefaultOwner}, Team: leafward.DefaultTeam, Name: "default"}
		profile := leafward.Profile{
			Row: leafward.Row{ID: leafward.ServerProfile}, Name: "server", Description: "TLS servers, 90 days",
			Keys:   []leafward.KeyRule{{Algorithm: leafward.ECDSA, MinSize: 256}, {Algorithm: leafward.RSA, MinSize: 2048}, {Algorithm: leafward.Ed25519}},
			MaxTTL: 90 * 24 * 3600, DefaultTTL: 90 * 24 * 3600, Backdate: 300, EKUs: []string{"serverAuth"}, NameTypes: []string{"dns", "ip"}, RequiredSANs: []string{}, Enabled: true,
		}
		policy := leafward.RenewalPolicy{
			Row: leafward.Row{ID: leafward.DefaultPolicy}, Name: "default", WindowDays: leafward.DefaultWindowDays, AutoRenew: true,
			MaxRetries: leafward.DefaultMaxRetries, RetryInterval: leafward.DefaultRetryInterval, Thresholds: leafward.DefaultThresholds(),
		}
		add(tx, Teams().listing.table, "t", &team)
		add(tx, Owners().listing.table, "o", &owner)
		add(tx, Profiles().listing.table, "prof", &profile)
		add(tx, RenewalPolicies().listing.table, "rp", &policy)
		for _, id := range leafward.SentinelAgents() {
			agent := leafward.Agent{Row: leafward.Row{ID: id}, Name: id, RegisteredAt: tx.Now}
			add(tx, Agents().listing.table, "ag", &agent)
		}
		return nil
	})
}
