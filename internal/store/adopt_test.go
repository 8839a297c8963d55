package store_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// recorded writes so many events and gives the whole log, numbered.
func recorded(t *testing.T, db *store.DB, n int) (all []audit.Record) {
	t.Helper()
	ctx := storetest.Admin(t.Context())
	for range n {
		if err := db.Write(ctx, func(tx *store.Tx) error {
			tx.Record(leafward.TeamUpdated, leafward.DefaultTeam, "", leafward.Details{"changed": []string{"name"}})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Sequence(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	if err := db.View(ctx, func(v *store.View) error {
		events, err := v.EventsAfter(0, 1000)
		for i := range events {
			all = append(all, store.RecordOf(&events[i]))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheLogGoesOnBehindWhatWasAdopted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		log := recorded(t, db, 5)
		if err := db.Write(ctx, func(tx *store.Tx) error { // as if it had been put back from a backup
			tx.Exec("DELETE FROM events WHERE seq > $1", log[2].Seq)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		adopt := func(records []audit.Record) error {
			return db.Write(ctx, func(tx *store.Tx) error {
				tx.Record(leafward.LogRestored, "audit", "", nil)
				return tx.Adopt(records, "test")
			})
		}
		if err := adopt(log[4:]); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("records that do not follow: %v", err)
		}
		if err := adopt(log[3:]); err != nil {
			t.Fatal(err)
		}
		if err := adopt(log[3:]); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("records that are there already: %v", err)
		}
		again := recorded(t, db, 1)
		if len(again) != len(log)+2 {
			t.Fatalf("the log has %d events, not %d", len(again), len(log)+2)
		}
		seq, chain := int64(0), audit.Hash{}
		for i, r := range again {
			if err := r.Follows(seq, chain); err != nil {
				t.Errorf("record %d: %v", r.Seq, err)
			}
			if i < len(log) && r.Chain != log[i].Chain {
				t.Errorf("record %d is another than it was", r.Seq)
			}
			seq, chain = r.Seq, r.Chain
		}
	})
}

func TestAnEventThatWaitedForItsNumberGetsTheOneThatItHad(t *testing.T) {
	db := storetest.Postgres(t, nil)
	ctx := storetest.Admin(t.Context())
	log := recorded(t, db, 3)
	if err := db.Write(ctx, func(tx *store.Tx) error {
		tx.Exec("UPDATE events SET seq = 0, chain = $2 WHERE seq > $1", log[0].Seq, []byte{})
		return tx.Adopt(log[1:], "test")
	}); err != nil {
		t.Fatal(err)
	}
	if again := recorded(t, db, 0); len(again) != len(log) || again[len(log)-1].Chain != log[len(log)-1].Chain {
		t.Errorf("the log has %d events, not the %d that it had", len(again), len(log))
	}
}

func TestNothingIsAdoptedWhileAnotherServerNumbers(t *testing.T) {
	db := storetest.Postgres(t, nil)
	log := recorded(t, db, 1)
	err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error { return tx.Adopt(log, "somebody else") })
	if leafward.KindOf(err) != leafward.Later {
		t.Errorf("while another holds the lease: %v", err)
	}
}

func TestASnapshotIsWholeWhileTheDatabaseIsWritten(t *testing.T) {
	dir := t.TempDir()
	path, into := filepath.Join(dir, "leafward.db"), filepath.Join(dir, "copy.db")
	db, err := store.Open(t.Context(), store.Config{Path: path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
		t.Fatal(err)
	}
	writing, stop := context.WithCancel(storetest.Admin(t.Context()))
	var all sync.WaitGroup
	written := make(chan struct{})
	for hand := range 4 {
		all.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				_ = db.Write(writing, func(tx *store.Tx) error {
					tx.Record(leafward.TeamUpdated, leafward.DefaultTeam, "", nil)
					return nil
				})
				if hand == 0 && n == 10 {
					close(written)
				}
			}
		})
	}
	<-written
	err = store.Snapshot(t.Context(), path, into)
	stop()
	all.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(into); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info, err)
	}
	state, err := store.StateOf(t.Context(), store.Config{Path: into})
	if err != nil || state.Events < 10 || state.Schema != store.Newest() {
		t.Errorf("the copy says %+v, %v", state, err)
	}
	copied, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "absent", "x.db")})
	if err == nil {
		_ = copied.Close()
		t.Error("a database was opened in a directory that is not there")
	}
	if err := store.Snapshot(t.Context(), path, into); err == nil {
		t.Error("a file was replaced by a copy")
	}
	if err := store.Snapshot(t.Context(), filepath.Join(dir, "absent.db"), filepath.Join(dir, "other.db")); err == nil {
		t.Error("a database that is not there was copied")
	}
}

func TestADamagedCopyIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leafward.db")
	db, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoilt := range map[string][]byte{"cut off": whole[:len(whole)/2], "no database": []byte("no database, but words that are long enough for a header of one hundred octets, which SQLite reads first")} {
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := store.StateOf(t.Context(), store.Config{Path: path}); err == nil {
			t.Errorf("%s: it says %+v", name, s)
		}
	}
	if _, err := store.StateOf(t.Context(), store.Config{Path: path + "x"}); err == nil {
		t.Error("a file that is not there says something")
	}
}

func TestADatabaseWithoutOurTablesIsToldAsThat(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for engine, c := range map[string]func(t *testing.T) store.Config{
		"sqlite":   func(*testing.T) store.Config { return store.Config{Path: empty} },
		"postgres": func(t *testing.T) store.Config { return store.Config{URL: pgtest.DSN(t)} },
	} {
		t.Run(engine, func(t *testing.T) {
			if _, err := store.StateOf(t.Context(), c(t)); leafward.KindOf(err) != leafward.NotFound || !strings.Contains(err.Error(), "no tables of leafward") {
				t.Errorf("it says %v", err)
			}
		})
	}
}
