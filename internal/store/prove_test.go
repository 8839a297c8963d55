package store_test

import (
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAnEventIsProvedInACheckpointOfItsSizeAndInTheNewest(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		private, public, err := audit.NewCheckpointKey()
		if err != nil {
			t.Fatal(err)
		}
		sign := func() {
			t.Helper()
			if _, err := db.WriteCheckpoints(ctx, func(f *audit.Frontier) (string, error) { return audit.SignCheckpoint(f, private) }); err != nil {
				t.Fatal(err)
			}
		}
		recorded(t, db, 5)
		sign()
		log := recorded(t, db, 6)
		prove := func(r audit.Record, size int64) (p audit.Proof, err error) {
			e, err := store.EventOf(r)
			if err != nil {
				t.Fatal(err)
			}
			err = db.View(ctx, func(v *store.View) error {
				p, err = v.Prove(e.ID, size)
				return err
			})
			return p, err
		}
		newest := log[len(log)-1]
		if _, err := prove(newest, 0); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("an event that no checkpoint covers: %v", err)
		}
		if err := db.Write(ctx, func(tx *store.Tx) error { // as if a minute had passed
			tx.Exec("UPDATE checkpoints SET at = at - 61000000")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		sign()
		for _, r := range log {
			p, err := prove(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			if size, err := p.Check(public); err != nil || size != int64(len(log)) || p.Seq != r.Seq {
				t.Errorf("event %d: %d, %v", r.Seq, size, err)
			}
			p, err = prove(r, 5)
			if r.Seq > 5 {
				if leafward.KindOf(err) != leafward.Conflict {
					t.Errorf("event %d in a checkpoint of 5: %v", r.Seq, err)
				}
				continue
			}
			if size, wrong := p.Check(public); err != nil || wrong != nil || size != 5 {
				t.Errorf("event %d in a checkpoint of 5: %d, %v, %v", r.Seq, size, err, wrong)
			}
		}
		if _, err := prove(log[0], 4); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("in a checkpoint that was never signed: %v", err)
		}
		if err := db.View(ctx, func(v *store.View) error { _, err := v.Prove("ev-none", 0); return err }); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("an event that is not there: %v", err)
		}
	})
}

func TestAProofGoesOnFromWhatCheckpointsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		private, public, err := audit.NewCheckpointKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Write(ctx, func(tx *store.Tx) error {
			for range 3 * store.CheckpointRows {
				tx.Record(leafward.TeamUpdated, leafward.DefaultTeam, "", leafward.Details{"changed": []string{"name"}})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for n := 1; n > 0 && err == nil; {
			n, err = db.Sequence(ctx, "test")
		}
		if err != nil {
			t.Fatal(err)
		}
		if n, err := db.WriteCheckpoints(ctx, func(f *audit.Frontier) (string, error) { return audit.SignCheckpoint(f, private) }); err != nil || n != 3 {
			t.Fatalf("%d checkpoints: %v", n, err)
		}
		proves := func(seq int64) {
			t.Helper()
			var p audit.Proof
			if err := db.View(ctx, func(v *store.View) error {
				events, err := v.EventsAfter(seq-1, 1)
				if err == nil {
					p, err = v.Prove(events[0].ID, 0)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if size, err := p.Check(public); err != nil || size != 3*store.CheckpointRows {
				t.Errorf("event %d: %d, %v", seq, size, err)
			}
		}
		for _, seq := range []int64{1, 2, 999, 1000, 1001, 1024, 1025, 2000, 2048, 2049, 2560, 2999, 3000} {
			proves(seq)
		}
		if err := db.Write(ctx, func(tx *store.Tx) error { // which the first checkpoint stands for
			tx.Exec("UPDATE events SET leaf = chain WHERE seq <= 1000")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		proves(1700)
	})
}
