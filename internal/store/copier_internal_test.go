package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward"
)

// The writer alone would copy it at a length that is never reached.
func TestALongLogIsCopiedBesideTheWriterAndBeginsAnew(t *testing.T) {
	c := Config{Path: filepath.Join(t.TempDir(), "leafward.db")}
	db, ctx := seeded(t, c)
	looking, err := db.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	long := false
	for pages := 0; !long || pages >= longLog; {
		name := NewID("team") + strings.Repeat(" of many words", 3000) // some ten pages
		err := db.Write(ctx, func(tx *Tx) error {
			add(tx, Teams().listing.table, "t", &leafward.Team{Slug: NewID("slug"), Name: name})
			return tx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		if pages, _, err = checkpoint(looking, "NOOP"); err != nil || pages >= endlessLog {
			t.Fatalf("the log has %d pages: %v", pages, err)
		}
		long = long || pages >= longLog
	}
	if err := looking.close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Path + "-wal"); !os.IsNotExist(err) {
		t.Errorf("the log of a closed database: %v", err)
	}
}
