package store_test

import (
	"errors"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func woken(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestAWatchHearsOfItsOwnRowsOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		make := func(id string) {
			_, err := store.Owners().Create(ctx, db, func(o *leafward.Owner) error { o.ID, o.Name, o.Team = id, id, leafward.DefaultTeam; return nil }, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
		make("o-one")
		one, due := db.Watch("o-one"), db.Watch(store.DueJobs)
		defer one.Close()
		defer due.Close()

		any, mine, job := db.Changed(), one.Next(), due.Next()
		make("o-two")
		if !woken(any) || woken(mine) || woken(job) {
			t.Errorf("another row: %t %t %t", woken(any), woken(mine), woken(job))
		}
		_, err := store.Owners().Update(ctx, db, "o-one", "", func(o *leafward.Owner) error { o.Name = "uno"; return nil }, nil)
		if err != nil || !woken(mine) || woken(job) {
			t.Errorf("its own row: %v %t %t", err, woken(mine), woken(job))
		}
		mine = one.Next()
		refused := errors.New("no")
		_, err = store.Owners().Update(ctx, db, "o-one", "", func(o *leafward.Owner) error { o.Name = "due"; return nil }, func(*store.Tx, *leafward.Owner) error { return refused })
		if err == nil || woken(mine) {
			t.Errorf("a change that was refused: %v %t", err, woken(mine))
		}
		err = db.Write(ctx, func(tx *store.Tx) error {
			tx.AddJob(&leafward.Job{Kind: "replan", Subject: "x", Status: leafward.JobPending, MaxAttempts: 1})
			return nil
		})
		if err != nil || !woken(job) || woken(mine) {
			t.Errorf("a job: %v %t %t", err, woken(job), woken(mine))
		}
	})
}

func TestAWatchThatIsClosedLeavesNothingBehind(t *testing.T) {
	db := storetest.SQLite(t, nil)
	first, second := db.Watch("x"), db.Watch("x")
	waiting := second.Next()
	first.Close()
	if same := second.Next(); same != waiting {
		t.Error("the topic of one who still watches was dropped")
	}
	second.Close()
	if third := db.Watch("x"); third.Next() == waiting {
		t.Error("the topic outlives those who watch it")
	}
}
