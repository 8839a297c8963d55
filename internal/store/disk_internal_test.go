package store

import (
	"net/url"
	"path/filepath"
	"testing"

	"github.com/leafward/leafward/internal/pgtest"
)

// SQLite waits for the disk at every commit in WAL mode only when synchronous is FULL (2).
func TestSQLiteWaitsForTheDiskAtEveryCommit(t *testing.T) {
	db, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "leafward.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for setting, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "locking_mode": "normal"} {
		var got string
		if err := db.writer.conn.raw.QueryRowContext(t.Context(), "PRAGMA "+setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, not %q: %v", setting, got, want, err)
		}
	}
}

func TestPostgreSQLWaitsForTheDiskWhateverTheDatabaseIsSetTo(t *testing.T) {
	for set, want := range map[string]string{"off": "on", "on": "on", "local": "local", "remote_apply": "remote_apply"} {
		dsn, err := url.Parse(pgtest.DSN(t))
		if err != nil {
			t.Fatal(err)
		}
		dsn.RawQuery += "&options=-c%20synchronous_commit%3D" + set
		db, err := Open(t.Context(), Config{URL: dsn.String()})
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := db.pool.QueryRowContext(t.Context(), "SHOW synchronous_commit").Scan(&got); err != nil || got != want {
			t.Errorf("where it is %s a session has %q, not %q: %v", set, got, want, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
