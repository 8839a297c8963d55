package store_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAChangeThatPanicsBehindARefusalIsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		err := db.Write(ctx, func(tx *store.Tx) error {
			tx.Fail(leafward.Errorf(leafward.Later, "", "others were faster"))
			panic("which the change did not expect")
		})
		if leafward.KindOf(err) != leafward.Later {
			t.Errorf("the outcome is %v", err)
		}
		if err := db.Write(ctx, func(*store.Tx) error { panic("by itself") }); err == nil || leafward.KindOf(err) != leafward.Internal {
			t.Errorf("a panic is %v", err)
		}
	})
}

// Changes that wait together share a commit: what one of them wrote before it was refused is undone, and the others stay.
func TestOfChangesInOneCommitOnlyTheRefusedAreUndone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		team := func(tx *store.Tx, id string) error {
			row := leafward.Team{}
			return store.Teams().Insert(tx, &row, func(team *leafward.Team) error {
				team.ID, team.Name, team.Slug = id, id, id
				return nil
			}, nil)
		}
		gate, refusal := make(chan struct{}), leafward.Errorf(leafward.Conflict, "", "refused behind a write")
		errs := make(map[string]error)
		var mu sync.Mutex
		var waiting sync.WaitGroup
		write := func(id string, change func(*store.Tx) error) {
			waiting.Go(func() {
				err := db.Write(ctx, change)
				mu.Lock()
				defer mu.Unlock()
				errs[id] = err
			})
		}
		write("gate", func(*store.Tx) error { <-gate; return nil })
		for _, id := range []string{"t-1", "t-2", "t-3", "t-4"} {
			write(id, func(tx *store.Tx) error {
				if err := team(tx, id); err != nil || id != "t-2" && id != "t-4" {
					return err
				}
				return refusal
			})
			write("none of "+id, func(*store.Tx) error { return leafward.Errorf(leafward.NotFound, "", "refused before any write") })
		}
		close(gate)
		waiting.Wait()
		for id, refused := range map[string]bool{"t-1": false, "t-2": true, "t-3": false, "t-4": true} {
			_, err := store.Teams().Get(ctx, db, id)
			if (err != nil) != refused || refused != errors.Is(errs[id], refusal) || leafward.KindOf(errs["none of "+id]) != leafward.NotFound {
				t.Errorf("%s: written %v, read %v, and the one before it %v", id, errs[id], err, errs["none of "+id])
			}
		}
		err := db.View(ctx, func(v *store.View) error {
			list, err := v.Events(leafward.Query{})
			for _, e := range list.Items {
				if e.ResourceID == "t-2" || e.ResourceID == "t-4" {
					t.Errorf("%s tells of %s", e.Action, e.ResourceID)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
