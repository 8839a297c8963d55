package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward"
)

// The writer by itself never would.
func TestALongLogIsCopiedBesideTheWriterAndBeginsAnew(t *testing.T) {
	c := Config{Path: filepath.Join(t.TempDir(), "leafward.db")}
	db, ctx := seeded(t, c)
	looking, err := db.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var never int
	err = db.Write(ctx, func(tx *Tx) error {
		_, err := tx.one("PRAGMA wal_autocheckpoint = 0", nil, &never)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const endless = 10 * longLog
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
		if pages, _, err = checkpoint(looking, "NOOP"); err != nil || pages >= endless {
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

// Before 3.51.3 a log that began anew beside a checkpoint could damage the database, and before 3.51.0 NOOP was PASSIVE.
func TestTheSQLiteIsOneInWhichALogMayBeCopiedBesideTheWriter(t *testing.T) {
	db, ctx := seeded(t, Config{Path: filepath.Join(t.TempDir(), "leafward.db")})
	var major, minor, patch int
	err := db.View(ctx, func(v *View) error {
		var version string
		if _, err := v.one("SELECT sqlite_version()", nil, &version); err != nil {
			return err
		}
		_, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch)
		return err
	})
	if err != nil || major*1_000_000+minor*1000+patch < 3_051_003 {
		t.Errorf("it is %d.%d.%d: %v", major, minor, patch, err)
	}
}
