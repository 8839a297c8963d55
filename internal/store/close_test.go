package store_test

import (
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAClosedStoreSaysSoInsteadOfWaiting(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		for range 2 {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.View(ctx, func(*store.View) error { return nil }); err == nil || ctx.Err() != nil {
			t.Errorf("reading: %v", err)
		}
		if err := db.Write(ctx, func(*store.Tx) error { return nil }); leafward.KindOf(err) == "" || ctx.Err() != nil {
			t.Errorf("writing: %v", err)
		}
	})
}
