// Package storetest opens real stores for tests: a fresh SQLite file and, where Debian's PostgreSQL is installed, a fresh
// database of a private cluster.
package storetest

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/store"
)

// Each runs the test on both engines.
func Each(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t, nil)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t, nil)) })
}

// SQLite opens a fresh store in a file.
func SQLite(t testing.TB, clock *hook.Clock) *store.DB {
	t.Helper()
	return open(t, store.Config{Path: filepath.Join(t.TempDir(), "leafward.db"), Clock: clock})
}

// Postgres opens a fresh store on PostgreSQL.
func Postgres(t testing.TB, clock *hook.Clock) *store.DB {
	t.Helper()
	return open(t, store.Config{URL: pgtest.DSN(t), Clock: clock})
}

func open(t testing.TB, c store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(context.Background(), Seed(db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// Busy takes every connection that reads until the test ends, as a database does that answers nobody.
func Busy(t testing.TB, db *store.DB) {
	t.Helper()
	connections := map[string]int{"sqlite": 4, "postgres": 16}[db.Engine()]
	ctx, stop := context.WithCancel(Admin(t.Context()))
	var all sync.WaitGroup
	t.Cleanup(func() { stop(); all.Wait() })
	held := make(chan error, connections)
	for range connections {
		all.Go(func() {
			err := db.View(ctx, func(*store.View) error { held <- nil; <-ctx.Done(); return nil })
			if err != nil {
				held <- err
			}
		})
	}
	for range connections {
		if err := <-held; err != nil {
			t.Fatal(err)
		}
	}
}

// Seed makes the rows that every installation starts with.
func Seed(db *store.DB) func(context.Context) error {
	return func(ctx context.Context) error { return db.Seed(Admin(ctx)) }
}

// Admin is a context whose actor may do everything.
func Admin(ctx context.Context) context.Context {
	return leafward.WithActor(ctx, leafward.Actor{ID: "pr-test", Name: "test", Type: leafward.ActorUser, Role: leafward.RoleAdmin})
}

// Scoped is a context whose actor sees the teams only.
func Scoped(ctx context.Context, teams ...string) context.Context {
	return leafward.WithActor(ctx, leafward.Actor{ID: "pr-scoped", Name: "scoped", Type: leafward.ActorUser, Role: leafward.RoleAdmin, Teams: teams})
}
