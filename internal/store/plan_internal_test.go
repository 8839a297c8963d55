package store

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward"
)

// SQLite cannot know that few serials are reserved, few certificates struck, and most jobs orders, which no list shows.
func TestTheFewAreFoundWithoutALookAtTheMany(t *testing.T) {
	db, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "leafward.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	listed := func(q leafward.Query) func(*View) error {
		return func(v *View) error {
			_, err := v.Jobs(q)
			return err
		}
	}
	for what, c := range map[string]struct {
		ask func(*View) error
		by  string
	}{
		"an authority's reserved serials":  {func(v *View) error { _, err := v.Reserved("ca-1"); return err }, "serials_reservation"},
		"old reservations":                 {func(v *View) error { _, err := v.ReservedBefore(v.Now, 10); return err }, "serials_reservation"},
		"jobs, the newest first":           {listed(leafward.Query{}), "jobs_created"},
		"jobs, the last written first":     {listed(leafward.Query{Sort: "-updated_at"}), "jobs_updated"},
		"jobs of a status":                 {listed(leafward.Query{Where: map[string]string{"status": "Failed"}}), "jobs_status"},
		"jobs of a type":                   {listed(leafward.Query{Where: map[string]string{"type": "Renewal"}}), "jobs_type"},
		"open jobs of a certificate":       {func(v *View) error { _, err := v.OpenJobsOf("mc-1"); return err }, "jobs_certificate"},
		"renewals of an hour":              {func(v *View) error { _, err := v.Renewals(v.Now); return err }, "jobs_renewals"},
		"certificates that lost a version": {func(v *View) error { _, err := v.DueStruck(10); return err }, "certificates_struck"},
		"open jobs":                        {func(v *View) error { _, err := v.OpenJobs(); return err }, "jobs_status"},
	} {
		var plans []string
		err := db.View(leafward.WithActor(t.Context(), leafward.System("test")), func(v *View) error {
			if err := c.ask(v); err != nil { // an explanation alone does not see that the schema has changed
				return err
			}
			v.q = explained{v.q, &plans}
			return c.ask(v)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, plan := range plans {
			if total := len(plans) > 1 && strings.HasPrefix(plan, "SELECT count("); !total && !strings.Contains(plan, "INDEX "+c.by) {
				t.Errorf("%s are found by\n%s", what, plan)
			}
		}
		if len(plans) == 0 {
			t.Errorf("%s: nothing was asked", what)
		}
	}
}
