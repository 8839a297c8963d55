package store_test

import (
	"testing"

	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestCheckpointsCoverTheLogInThousandsAndTheRestAfterAMinute(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		private, public, err := audit.NewCheckpointKey()
		if err != nil {
			t.Fatal(err)
		}
		sign := func(f *audit.Frontier) (string, error) { return audit.SignCheckpoint(f, private) }
		write := func(want int, size int64) {
			t.Helper()
			for { // on PostgreSQL the events are numbered first
				if n, err := db.Sequence(ctx, "test"); err != nil {
					t.Fatal(err)
				} else if n == 0 {
					break
				}
			}
			n, err := db.WriteCheckpoints(ctx, sign)
			if err != nil || n != want {
				t.Errorf("%d checkpoints, want %d (%v)", n, want, err)
			}
			last, found, err := last(t, db)
			if err != nil || !found || last.Size != size {
				t.Fatalf("%+v %v", last, err)
			}
			got, root, err := audit.OpenCheckpoint(last.Note, public)
			if err != nil || got != size || root != rootOf(t, db, size) {
				t.Errorf("%d %s %v", got, root, err)
			}
		}
		for range 3 {
			create(t, db)
		}
		write(1, 3) // the first does not wait
		create(t, db)
		write(0, 3)                                    // a minute has not passed
		err = db.Write(ctx, func(tx *store.Tx) error { // as if it had, and more
			tx.Exec("UPDATE checkpoints SET at = at - 61000000")
			for range 2500 {
				tx.Record("team.updated", "t-x", "t-x", nil)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		write(2, 2003) // the rest waits for its own minute
	})
}

func last(t *testing.T, db *store.DB) (c store.Checkpoint, found bool, err error) {
	t.Helper()
	err = db.View(storetest.Admin(t.Context()), func(v *store.View) error {
		c, found, err = v.LastCheckpoint()
		return err
	})
	return c, found, err
}

// rootOf computes the root of the first events anew.
func rootOf(t *testing.T, db *store.DB, size int64) audit.Hash {
	t.Helper()
	var tree audit.Frontier
	err := db.View(storetest.Admin(t.Context()), func(v *store.View) error {
		events, err := v.EventsAfter(0, int(size))
		for i := range events {
			tree.Add(audit.Hash(events[i].Leaf))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree.Root()
}
