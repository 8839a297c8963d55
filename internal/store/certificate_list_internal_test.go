package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pgtest"
)

// explained has SQLite tell how it finds the certificates that it is asked for.
type explained struct {
	querier
	plans *[]string
}

func (e explained) QueryContext(ctx context.Context, query string, args ...any) (rows, error) {
	steps, err := e.querier.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		return nil, err
	}
	var plan string
	for steps.Next() {
		var id, parent, unused int
		var step string
		if err := steps.Scan(&id, &parent, &unused, &step); err != nil {
			return nil, errors.Join(err, steps.Close())
		}
		plan += step + "\n"
	}
	if err := errors.Join(steps.Err(), steps.Close()); err != nil {
		return nil, err
	}
	*e.plans = append(*e.plans, query+"\n"+plan)
	return e.querier.QueryContext(ctx, query, args...)
}

// struckAmong makes many certificates that are due, of which a few have lost a version, in two teams.
func struckAmong(ctx context.Context, t *testing.T, db *DB) {
	t.Helper()
	err := db.Write(ctx, func(tx *Tx) error {
		tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: leafward.DefaultIssuer}, Name: "local", Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}})
		add(tx, tableOf[leafward.Team]("team", "teams"), "t", &leafward.Team{Row: leafward.Row{ID: "t-shop"}, Name: "shop", Slug: "shop"})
		for n := range 40 {
			name := fmt.Sprintf("c%d.example.com", n)
			c := leafward.Certificate{
				Team: leafward.DefaultTeam, Name: name, CommonName: name, SANs: []string{name}, Tags: map[string]string{}, Owner: leafward.DefaultOwner, Environment: "prod",
				Profile: leafward.ServerProfile, Issuer: leafward.DefaultIssuer, Policy: leafward.DefaultPolicy, KeySource: leafward.ClientKey, Spec: 1,
				Version: "cv-" + name, ExpiresAt: tx.Now.Add(time.Hour), WindowAt: tx.Now.Add(-time.Hour),
			}
			if n%2 == 1 {
				c.Team = "t-shop"
			}
			if n%10 == 0 || n == 1 {
				c.StruckAt = tx.Now.Add(-time.Hour)
			}
			tx.AddCertificate(&c)
		}
		return tx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Few have lost a version, and that SQLite cannot know: whatever else is asked for, it must look at those alone.
func TestCertificatesThatLostAVersionAreFoundWithoutALookAtOthers(t *testing.T) {
	for name, config := range map[string]func(*testing.T) Config{
		"sqlite":   func(t *testing.T) Config { return Config{Path: filepath.Join(t.TempDir(), "leafward.db")} },
		"postgres": func(t *testing.T) Config { return Config{URL: pgtest.DSN(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			db, ctx := seeded(t, config(t))
			struckAmong(ctx, t, db)
			shop := leafward.Actor{ID: "ak-shop", Type: leafward.ActorUser, Teams: []string{"t-shop"}}
			for _, c := range []struct {
				where map[string]string
				actor leafward.Actor
				want  int64
			}{
				{map[string]string{}, leafward.System("test"), 5},
				{map[string]string{"status": "Expiring"}, leafward.System("test"), 5},
				{map[string]string{"status": "Expiring", "team_id": leafward.DefaultTeam}, leafward.System("test"), 4},
				{map[string]string{"status": "Expiring", "owner_id": leafward.DefaultOwner, "issuer_id": leafward.DefaultIssuer}, leafward.System("test"), 5},
				{map[string]string{"environment": "prod", "certificate_profile_id": leafward.ServerProfile, "renewal_policy_id": leafward.DefaultPolicy}, leafward.System("test"), 5},
				{map[string]string{"status": "Expiring"}, shop, 1},
				{map[string]string{}, shop, 1},
				{map[string]string{"status": "Active"}, leafward.System("test"), 0},
				{map[string]string{"status": "Expired"}, leafward.System("test"), 0},
				{map[string]string{"status": "Failed"}, leafward.System("test"), 0},
				{map[string]string{"status": "Pending"}, leafward.System("test"), 0},
				{map[string]string{"status": "RenewalInProgress"}, leafward.System("test"), 0},
				{map[string]string{"status": "Revoked"}, leafward.System("test"), 0},
				{map[string]string{"status": "Archived"}, leafward.System("test"), 0},
			} {
				c.where["version_revoked"] = "true"
				for _, sort := range []string{"created_at", "-created_at", "expires_at", "name"} {
					asked(leafward.WithActor(ctx, c.actor), t, db, leafward.Query{Where: c.where, Sort: sort, PerPage: 10}, c.want)
				}
			}
		})
	}
}

// asked lists certificates, and judges how many there are and how they are found.
func asked(ctx context.Context, t *testing.T, db *DB, q leafward.Query, want int64) {
	t.Helper()
	var plans []string
	err := db.View(ctx, func(v *View) error {
		if db.writer != nil {
			v.q = explained{v.q, &plans}
		}
		page, err := v.Certificates(q)
		if page.Total != want || int64(len(page.Items)) != want {
			t.Errorf("%v has %d, and %d of them are shown, not %d", q.Where, page.Total, len(page.Items), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, plan := range plans {
		looked += strings.Count(plan, "USING INDEX certificates_struck") + strings.Count(plan, "USING COVERING INDEX certificates_struck")
		for _, step := range strings.Split(plan, "\n") {
			if strings.Contains(step, "INDEX certificates_") && !strings.Contains(step, "INDEX certificates_struck") || step == "SCAN certificates" {
				t.Errorf("%v by %s is found by\n%s", q.Where, q.Sort, plan)
			}
		}
	}
	if db.writer != nil && looked < 2 { // for the total and for the page
		t.Errorf("%v by %s is found by\n%s", q.Where, q.Sort, strings.Join(plans, "\n"))
	}
}
