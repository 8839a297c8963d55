package store_test

import (
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestWhatAProberSeesIsKeptForEachAddress(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		e := leafward.Endpoint{Installation: "in-1", Address: "www.example.com", Port: 443, Enabled: true}
		nodes := func(change func(tx *store.Tx)) (all []leafward.Node) {
			t.Helper()
			if err := db.Write(ctx, func(tx *store.Tx) (err error) {
				change(tx)
				if all, err = tx.Nodes(e.ID); err != nil {
					return err
				}
				return tx.Err()
			}); err != nil {
				t.Fatal(err)
			}
			return all
		}
		start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		see := func(tx *store.Tx, ip, sum string, after time.Duration) {
			tx.PutNode(&leafward.Node{Endpoint: e.ID, IP: ip, Prober: "server", Fingerprint: sum, Outcome: "ok", SeenAt: start.Add(after)})
		}
		first := nodes(func(tx *store.Tx) {
			tx.AddEndpoint(&e)
			see(tx, "192.0.2.1", "aa", 0)
			see(tx, "192.0.2.2", "aa", 0)
		})
		if len(first) != 2 || !first[0].SeenAt.Equal(start) || !first[0].GoneAt.IsZero() {
			t.Fatalf("%+v", first)
		}
		if soon := nodes(func(tx *store.Tx) { see(tx, "192.0.2.1", "aa", 5*time.Second) }); !soon[0].SeenAt.Equal(start) {
			t.Errorf("the same five seconds later was written: %+v", soon[0])
		}
		if other := nodes(func(tx *store.Tx) { see(tx, "192.0.2.1", "bb", 6*time.Second) }); other[0].Fingerprint != "bb" || !other[0].SeenAt.Equal(start.Add(6*time.Second)) {
			t.Errorf("something else was not written: %+v", other[0])
		}
		if later := nodes(func(tx *store.Tx) { see(tx, "192.0.2.1", "bb", time.Minute) }); !later[0].SeenAt.Equal(start.Add(time.Minute)) {
			t.Errorf("a minute later was not written: %+v", later[0])
		}
		gone := nodes(func(tx *store.Tx) { tx.LeaveNodes(e.ID, "server", []string{"192.0.2.1"}) })
		if !gone[0].GoneAt.IsZero() || gone[1].GoneAt.IsZero() {
			t.Errorf("%+v", gone)
		}
		if all := nodes(func(tx *store.Tx) { tx.LeaveNodes(e.ID, "server", nil) }); all[0].GoneAt.IsZero() {
			t.Errorf("%+v", all)
		}
		if back := nodes(func(tx *store.Tx) { see(tx, "192.0.2.2", "aa", time.Minute) }); !back[1].GoneAt.IsZero() {
			t.Errorf("%+v", back)
		}
		if none := nodes(func(tx *store.Tx) { tx.RemoveEndpoint(&e) }); len(none) != 0 {
			t.Errorf("%+v", none)
		}
	})
}

func TestAnInstallationIsRemovedWhileItsAddressesAreLookedAt(t *testing.T) {
	db := storetest.Postgres(t, nil)
	ctx := storetest.Admin(t.Context())
	e := leafward.Endpoint{Installation: "in-1", Address: "www.example.com", Port: 443, Enabled: true}
	see := func(tx *store.Tx) error {
		tx.PutNode(&leafward.Node{Endpoint: e.ID, IP: "192.0.2.1", Prober: "server", Outcome: "ok", SeenAt: tx.Now})
		return tx.Err()
	}
	write := func(change func(tx *store.Tx) error) {
		t.Helper()
		if err := db.Write(ctx, change); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *store.Tx) error { tx.AddEndpoint(&e); return tx.Err() })
	seen := false
	write(func(tx *store.Tx) error {
		if all, err := tx.Nodes(e.ID); err != nil || len(all) > 0 != seen {
			t.Fatalf("%+v %v", all, err)
		}
		if !seen { // by another, since this transaction looked
			seen = true
			write(see)
		}
		tx.RemoveEndpoint(&e)
		return tx.Err()
	})
}
