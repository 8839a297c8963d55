package store

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward"
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

func TestAFileThatIsNoDatabaseIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leafward.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), Config{Path: path})
	if err == nil {
		t.Fatal(db.Close())
	}
	if e, ok := errors.AsType[*leafward.Error](err); !ok || e.Kind != leafward.Invalid || !strings.Contains(e.Message, path+" is no SQLite database, or is damaged") || !strings.Contains(e.Fix, "backup") {
		t.Errorf("%v", err)
	}
}

func TestADatabaseThatRefusesItsUserSaysWhatToCheck(t *testing.T) {
	u, err := url.Parse(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	wrong, none := *u, *u
	wrong.User = url.UserPassword("nobody", "secret")
	none.Path = "/none"
	for _, given := range []string{wrong.String(), none.String()} {
		db, err := Open(t.Context(), Config{URL: given})
		if err == nil {
			t.Fatal(db.Close())
		}
		if e, ok := errors.AsType[*leafward.Error](err); !ok || e.Kind != leafward.Later || !strings.Contains(e.Fix, "--database") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
}
