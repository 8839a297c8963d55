package store_test

import (
	"runtime"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAskingForEverNewPagesTakesNoMemoryForGood(t *testing.T) {
	if testing.Short() {
		t.Skip("one hand reads twenty thousand pages")
	}
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
		runtime.GC() // what pools held back in the first
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := ask(1, 1000) // more than the statements that are kept
	const pages = 20_000
	// A text of SQL has some 500 bytes; what other goroutines hold at one moment is far below a third of them all.
	if after := ask(1000, 1000+pages); after > before+pages*150 {
		t.Errorf("%d pages took %d kB", pages, (after-before)>>10)
	}
}
