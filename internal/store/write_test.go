package store_test

import (
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
