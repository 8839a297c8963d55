package store

import (
	"context"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pgtest"
)

// seeded is a new database, and the context of somebody who may do everything in it.
func seeded(t *testing.T, c Config) (*DB, context.Context) {
	t.Helper()
	db, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ctx := leafward.WithActor(t.Context(), leafward.System("test"))
	if err := db.Migrate(ctx, db.Seed); err != nil {
		t.Fatal(err)
	}
	return db, ctx
}

// After a crash PostgreSQL gives the number of a transaction of which nothing was on disk to another.
func TestACommitThatNobodyHeardOfIsKnownByWhatItLeft(t *testing.T) {
	db, ctx := seeded(t, Config{URL: pgtest.DSN(t)})
	var xid string
	var left witness
	err := db.Write(ctx, func(tx *Tx) error {
		_, err := tx.one("SELECT pg_current_xact_id()::text", nil, &xid)
		add(tx, Teams().listing.table, "t", &leafward.Team{Slug: "x", Name: "x"})
		left = tx.left
		return err
	})
	if err != nil || left.query == "" {
		t.Fatal(left, err)
	}
	other := witness{left.query, []any{"t-of-another"}}
	for _, c := range []struct {
		sent trace
		want bool
	}{{trace{xid, left}, true}, {trace{xid, witness{}}, true}, {trace{xid, other}, false}, {trace{"1000000000", left}, false}} {
		if done, err := db.committed(ctx, c.sent); err != nil || done != c.want {
			t.Errorf("the transaction %+v: committed %v, %v", c.sent, done, err)
		}
	}
}
