package ca_test

import (
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// An older database has the key again that had gone offline: the root signs its last list anew, and the key goes.
func TestAKeyThatCameBackWithAnOlderDatabaseGoesAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, publicURL)
		root := w.rootID(t)
		_, text := w.copyKey(t, root)
		before := w.list(t, root)
		recovered := func(f func(*store.Tx) (bool, error)) {
			t.Helper()
			check(t, db.Write(w.ctx, func(tx *store.Tx) error {
				changed, err := f(tx)
				if !changed {
					t.Error("nothing changed")
				}
				return err
			}))
		}
		goes := func(tx *store.Tx) (bool, error) {
			return ca.RecoverOffline(tx, root, "of then", 365*24, tx.Now.Add(-time.Hour))
		}
		recovered(goes)
		recovered(func(tx *store.Tx) (bool, error) { return ca.RecoverOnline(tx, root) })
		check(t, w.Republish(w.ctx))
		if row := w.authority(t, root); row.Custody != leafward.CustodyLocal || len(w.sealedKey(t, root)) == 0 || row.Copy != "" {
			t.Fatalf("a key that had come back is %s, and leaves with the copy %q", row.Custody, row.Copy)
		}
		recovered(goes)
		check(t, w.Republish(w.ctx))
		check(t, w.Republish(w.ctx))
		if row := w.authority(t, root); row.Custody != leafward.CustodyOffline || len(w.sealedKey(t, root)) != 0 || row.Copy != "of then" {
			t.Fatalf("the key is %s", row.Custody)
		}
		list := w.list(t, root)
		if list.Number.Cmp(before.Number) <= 0 || list.NextUpdate.Sub(list.ThisUpdate) != 365*24*time.Hour {
			t.Errorf("the list is number %v, valid for %v", list.Number, list.NextUpdate.Sub(list.ThisUpdate))
		}
		check(t, w.back(t, root, text))
	})
}
