package store

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward"
)

// The server reads the log on many times a second, however long it has become.
func TestTheLogIsReadOnFromWhereItWasLeft(t *testing.T) {
	db, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "leafward.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := leafward.WithActor(t.Context(), leafward.System("test"))
	if err := db.Migrate(ctx, db.Seed); err != nil {
		t.Fatal(err)
	}
	err = db.View(ctx, func(v *View) error {
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
