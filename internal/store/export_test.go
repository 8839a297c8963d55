package store_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAnExportHasEverythingThatWasAcknowledged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		for i := range 3 {
			id := fmt.Sprintf("t-%d", i)
			_, err := store.Teams().Create(ctx, db, func(team *leafward.Team) error {
				team.ID, team.Name, team.Slug = id, id, id
				return nil
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			if err := db.ExportEvents(ctx, &log, "test", 1); err != nil {
				t.Fatal(err)
			}
			if report, err := audit.Verify(bytes.NewReader(log.Bytes())); err != nil || !bytes.Contains(log.Bytes(), []byte(`"resource_id":"`+id+`"`)) {
				t.Errorf("%s was made, and the export of %d events lacks it: %v", id, report.Records, err)
			}
		}
	})
}
