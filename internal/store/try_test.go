package store_test

import (
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAPartThatIsRefusedLeavesNothingBehindAndStopsNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		insert := func(tx *store.Tx, name, id string) error {
			row := leafward.Team{}
			return store.Teams().Insert(tx, &row, func(team *leafward.Team) error {
				team.ID, team.Name, team.Slug = id, name, leafward.Slug(name)
				return nil
			}, nil)
		}
		err := db.Write(ctx, func(tx *store.Tx) error {
			if err := tx.Try(func() error { return insert(tx, "first", "t-first") }); err != nil {
				return err
			}
			refused := tx.Try(func() error {
				if err := insert(tx, "lost", "t-lost"); err != nil {
					return err
				}
				return insert(tx, "again", "t-first") // the id is taken
			})
			if leafward.KindOf(refused) != leafward.Conflict || tx.Err() != nil {
				t.Errorf("the part was refused with %v, the change with %v", refused, tx.Err())
			}
			return tx.Try(func() error { return insert(tx, "last", "t-last") })
		})
		if err != nil {
			t.Fatal(err)
		}
		for id, there := range map[string]bool{"t-first": true, "t-lost": false, "t-last": true} {
			if _, err := store.Teams().Get(ctx, db, id); (err == nil) != there {
				t.Errorf("%s: %v", id, err)
			}
			err := db.View(ctx, func(v *store.View) error {
				list, err := v.Events(leafward.Query{Where: map[string]string{"resource_id": id}})
				if (len(list.Items) == 1) != there {
					t.Errorf("%d events tell of %s", len(list.Items), id)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAPartThatConcernsTheWholeChangeEndsIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		full := leafward.Errorf(leafward.StorageFull, "", "the disk is full")
		went := false
		err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
			if err := tx.Try(func() error { return full }); err == nil {
				t.Error("nothing was told")
			}
			went = tx.Err() == nil
			return nil
		})
		if leafward.KindOf(err) != leafward.StorageFull || went {
			t.Errorf("the change ended with %v", err)
		}
	})
}
