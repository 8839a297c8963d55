package store_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestCallersWhoLeaveAtAnyMomentSpoilNoReaderForTheNext(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		admin := storetest.Admin(t.Context())
		look := func(v *store.View) error {
			_, err := v.Setting("seeded")
			return err
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 1000 {
					ctx, leave := context.WithTimeout(admin, rand.N(60*time.Microsecond))
					_ = db.View(ctx, look) // answered or not
					leave()
				}
			})
		}
		all.Wait()
		for range 40 { // each reader in turn
			if err := db.View(admin, look); err != nil {
				t.Fatal(err)
			}
		}
	})
}
