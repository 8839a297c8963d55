package store

import (
	"path/filepath"
	"strings"
	"testing"
)

// The server reads the log on many times a second, however long it has become.
func TestTheLogIsReadOnFromWhereItWasLeft(t *testing.T) {
	db, ctx := seeded(t, Config{Path: filepath.Join(t.TempDir(), "leafward.db")})
	err := db.View(ctx, func(v *View) error {
		var plan string
		err := v.rows(func(scan func(...any) error) error {
			var id, parent, unused int
			var step string
			err := scan(&id, &parent, &unused, &step)
			plan += step + "\n"
			return err
		}, "EXPLAIN QUERY PLAN SELECT payload FROM events WHERE "+behind+" ORDER BY seq LIMIT $2", 7, 5)
		if !strings.Contains(plan, "SEARCH events USING INDEX events_seq") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP") {
			t.Errorf("events are found by\n%s", plan)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
