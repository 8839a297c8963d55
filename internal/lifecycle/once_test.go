package lifecycle_test

import (
	"sync"
	"testing"

	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestTheSameRequestThatComesManyTimesAtOnceIsAnsweredAlike(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		for round := range 6 {
			asked := lifecycle.Asked{}
			var all sync.WaitGroup
			made, errs := make([]string, 12), make([]error, 12)
			key := store.NewID("key")
			if round%2 == 1 {
				asked.CSR = csr(t, newKey(t), key+".example.com")
			}
			for i := range made {
				all.Go(func() {
					once := lifecycle.Once{Operation: "createCertificate", Key: key, Body: []byte("b"), Replayed: new(bool)}
					shown, err := w.Create(w.ctx, of(key+".example.com"), asked, once)
					made[i], errs[i] = shown.ID, err
				})
			}
			all.Wait()
			for i := range made {
				if errs[i] != nil || made[i] != made[0] || made[i] == "" {
					t.Errorf("%d: %q, wanted %q: %v", i, made[i], made[0], errs[i])
				}
			}
		}
	})
}
