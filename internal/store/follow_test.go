package store_test

import (
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func ledger(t *testing.T, dir string) *audit.Ledger {
	t.Helper()
	l, err := audit.OpenLedger(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// contents are the events of a ledger, in order.
func contents(t *testing.T, l *audit.Ledger) (events []string) {
	t.Helper()
	for r, err := range l.Records(1) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, string(r.Event))
	}
	return events
}

func TestEachReplicaHoldsEveryEventInItsLedger(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const teams = 40
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		heard := make(chan leafward.Action, 10*teams)
		one, other := ledger(t, t.TempDir()), ledger(t, t.TempDir())
		for holder, l := range map[string]*audit.Ledger{"one": one, "other": other} {
			f := store.NewFollower(db, l, holder, func(e *leafward.Event) { heard <- e.Action })
			running.Go(func() { _ = f.Run(ctx) })
		}
		mustTeams(t, db, teams)
		late := time.After(20 * time.Second)
		for range 2 * teams {
			select {
			case action := <-heard:
				if action != leafward.TeamCreated {
					t.Fatal(action)
				}
			case <-late:
				t.Fatal("the ledgers do not get all events")
			}
		}
		a, b := contents(t, one), contents(t, other)
		if len(a) != teams || strings.Join(a, "\n") != strings.Join(b, "\n") {
			t.Errorf("the ledgers hold %d and %d events, or different ones", len(a), len(b))
		}
	})
}

func TestALedgerGoesOnWhereItStopped(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, dir := storetest.Admin(t.Context()), t.TempDir()
		for _, n := range []int{3, 600} {
			l := ledger(t, dir)
			f := store.NewFollower(db, l, "one", nil)
			for range n {
				create(t, db)
			}
			if err := f.Follow(ctx); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(contents(t, ledger(t, dir))); got != 603 {
			t.Errorf("%d events", got)
		}
	})
}

// create records one event.
func create(t *testing.T, db *store.DB) {
	t.Helper()
	err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		tx.Record(leafward.TeamUpdated, "t-x", "t-x", nil)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAServerThatLeavesLetsAnotherNumberEventsAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		create(t, db)
		if err := store.NewFollower(db, ledger(t, t.TempDir()), "one", nil).Leave(ctx); err != nil {
			t.Fatal(err)
		}
		create(t, db)
		other := ledger(t, t.TempDir())
		if err := store.NewFollower(db, other, "other", nil).Follow(ctx); err != nil {
			t.Fatal(err)
		}
		if got := len(contents(t, other)); got != 2 {
			t.Errorf("the other's ledger holds %d events, not 2", got)
		}
	})
}

// PostgreSQL keeps the plans it made for tables that were empty, in which each index is as good as another, until it looks.
func TestPostgreSQLLooksAtTablesThatFillOrCameFromADump(t *testing.T) {
	c := store.Config{URL: pgtest.DSN(t)}
	db := open(t, c)
	if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("pgx", c.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ctx := storetest.Admin(t.Context())
	held, err := raw.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Rollback() }()
	if _, err := held.ExecContext(t.Context(), "LOCK TABLE certificates IN SHARE UPDATE EXCLUSIVE MODE"); err != nil { // as VACUUM does
		t.Fatal(err)
	}
	for _, many := range []int{200, 100} {
		err := db.Write(ctx, func(tx *store.Tx) error {
			for range many {
				tx.Record(leafward.TeamUpdated, "t-x", "t-x", nil)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := db.Sequence(ctx, "one"); n != many || err != nil {
			t.Fatalf("%d events are numbered, not %d: %v", n, many, err)
		}
	}
	knows(t, raw, 300)
	restored(t, raw)
	knows(t, raw, -1)
	looks, err := pgx.Connect(t.Context(), c.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = looks.Close(context.WithoutCancel(t.Context())) }()
	if _, err := looks.Exec(t.Context(), "LISTEN looked; SELECT pg_advisory_lock(7)"); err != nil {
		t.Fatal(err)
	}
	within, stop := context.WithTimeout(ctx, 30*time.Second)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	followed := make(chan struct{}, 300)
	f := store.NewFollower(db, ledger(t, t.TempDir()), "one", func(*leafward.Event) { followed <- struct{}{} })
	running.Go(func() { _ = f.Run(within) })
	select {
	case <-followed:
	case <-within.Done():
		t.Fatal("the log is not followed while PostgreSQL looks at the tables")
	}
	if _, err := looks.Exec(t.Context(), "SELECT pg_advisory_unlock(7)"); err != nil {
		t.Fatal(err)
	}
	if _, err := looks.WaitForNotification(within); err != nil {
		t.Errorf("nobody looked at the tables: %v", err)
	}
	knows(t, raw, 300)
}

// knows fails the test unless PostgreSQL knows of so many events; -1 is that it never looked.
func knows(t *testing.T, raw *sql.DB, want int) {
	t.Helper()
	var known int
	if err := raw.QueryRowContext(t.Context(), "SELECT reltuples FROM pg_class WHERE oid = 'events'::regclass").Scan(&known); err != nil || known != want {
		t.Errorf("PostgreSQL knows of %d events, not %d: %v", known, want, err)
	}
}

// restored leaves the events as a restore from a dump does. Whoever looks at them from there on waits for the advisory lock 7,
// and tells those who listen when it is done.
func restored(t *testing.T, raw *sql.DB) {
	t.Helper()
	for _, statement := range []string{
		`CREATE FUNCTION looked(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
			$$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); PERFORM pg_notify('looked', ''); RETURN $1; END $$`,
		"CREATE INDEX events_looked ON events (looked(id))",
		"CREATE TEMPORARY TABLE dump AS TABLE events; TRUNCATE events; INSERT INTO events TABLE dump",
	} {
		if _, err := raw.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnOlderDatabaseUnderANewerLedgerIsNoticed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	ctx := storetest.Admin(t.Context())
	newer, older := storetest.SQLite(t, nil), storetest.SQLite(t, nil)
	for range 5 {
		create(t, newer)
	}
	create(t, older)
	l := ledger(t, dir)
	if err := store.NewFollower(newer, l, "one", nil).Follow(ctx); err != nil {
		t.Fatal(err)
	}
	err := store.NewFollower(older, l, "one", nil).Follow(ctx)
	if leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "event 5") {
		t.Error(err)
	}
	if got := len(contents(t, l)); got != 5 {
		t.Errorf("the ledger holds %d events", got)
	}
}

func TestTheFreshnessOfAnAuthorityWithoutACRLIsStale(t *testing.T) {
	f := store.Freshness{NextUpdate: time.Now()}
	if f.Stale(f.NextUpdate.Add(-time.Second)) || !f.Stale(f.NextUpdate) || !(store.Freshness{}).Stale(time.Now()) {
		t.Error("a CRL is stale from its next update on, and without one")
	}
}

func TestEventsThatWaitForTheirNumberAreTheLagOfTheAudit(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		for range 3 {
			create(t, db)
		}
		lag := func() (n int64, oldest time.Time) {
			err := db.View(ctx, func(v *store.View) (err error) {
				n, oldest, err = v.AuditLag()
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n, oldest
		}
		wait := int64(3)
		if db.Engine() == "sqlite" {
			wait = 0 // the one writer numbers them itself
		}
		if n, oldest := lag(); n != wait || (wait > 0) != (time.Since(oldest).Abs() < time.Minute) {
			t.Errorf("%d events wait, the oldest since %s", n, oldest)
		}
		if _, err := db.Sequence(ctx, "test"); err != nil {
			t.Fatal(err)
		}
		if n, oldest := lag(); n != 0 || time.Since(oldest) < time.Minute {
			t.Errorf("numbered, %d events wait, the oldest since %s", n, oldest)
		}
	})
}
