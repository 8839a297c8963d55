package store

import (
	"path/filepath"
	"strings"
	"testing"
)

// planOf is how SQLite, which has no statistics, answers a query.
func planOf(t *testing.T, query string, args ...any) (plan string) {
	t.Helper()
	db, ctx := seeded(t, Config{Path: filepath.Join(t.TempDir(), "leafward.db")})
	err := db.View(ctx, func(v *View) error {
		return v.rows(func(scan func(...any) error) error {
			var id, parent, unused int
			var step string
			err := scan(&id, &parent, &unused, &step)
			plan += step + "\n"
			return err
		}, "EXPLAIN QUERY PLAN "+query, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// The server reads the log on many times a second, however long it has become.
func TestTheLogIsReadOnFromWhereItWasLeft(t *testing.T) {
	plan := planOf(t, "SELECT payload FROM events WHERE "+behind+" ORDER BY seq LIMIT $2", 7, 5)
	if !strings.Contains(plan, "SEARCH events USING INDEX events_seq") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP") {
		t.Errorf("events are found by\n%s", plan)
	}
}

// The server looks for them once a minute, among however many.
func TestCertificatesWithARevokedVersionAreFoundWithoutALookAtTheOthers(t *testing.T) {
	plan := planOf(t, "SELECT * FROM certificates WHERE "+struckBehind+" LIMIT $3", 7, "mc", 5)
	if !strings.Contains(plan, "USING INDEX certificates_struck ((created_at,id)>(?,?))") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP") {
		t.Errorf("they are found by\n%s", plan)
	}
}
