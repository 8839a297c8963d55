package store_test

import (
	"runtime"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAskingForEverNewPagesTakesNoMemoryForGood(t *testing.T) {
	db := storetest.SQLite(t, nil)
	ctx := storetest.Admin(t.Context())
	ask := func(from, to int) (heap uint64) {
		t.Helper()
		for page := from; page < to; page++ {
			if _, err := store.Teams().List(ctx, db, leafward.Query{Page: page}); err != nil {
				t.Fatal(err)
			}
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := ask(1, 1000) // more than the statements that are kept
	if after := ask(1000, 6000); after > before+1<<20 {
		t.Errorf("5000 pages took %d kB", (after-before)>>10)
	}
}
