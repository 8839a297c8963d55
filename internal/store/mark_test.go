package store_test

import (
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func write(t *testing.T, db *store.DB, change func(*store.Tx)) {
	t.Helper()
	if err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error { change(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func markOf(t *testing.T, db *store.DB) (m store.Mark) {
	t.Helper()
	err := db.View(storetest.Admin(t.Context()), func(v *store.View) error { m = v.Mark(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatASerialIsHoldsUntilACommitThatMayChangeIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		// Each change is tried on a mark of its own, which may be over by itself on a slow machine: then it is tried again.
		held := func(change func(*store.Tx)) bool {
			for {
				m := markOf(t, db)
				write(t, db, change)
				_, holds := db.Holds(m)
				if holds || time.Since(m.Now) < time.Second/2 {
					return holds
				}
			}
		}
		s := leafward.Serial{Authority: "ca-1", Serial: "1f", State: leafward.SerialReserved, Subject: "r-1", TBS: []byte{1}, TBSHash: []byte{1}, NotAfter: time.Now().Add(time.Hour)}
		if !held(func(tx *store.Tx) {
			again := s
			again.Serial = "2f" + store.NewID("s")
			again.Subject = again.Serial
			tx.AddSerial(&again)
		}) {
			t.Error("a new serial ends what holds")
		}
		write(t, db, func(tx *store.Tx) { tx.AddSerial(&s) })
		if !held(func(tx *store.Tx) { tx.IssueSerial(s.Authority, s.Serial) }) {
			t.Error("a serial that is issued ends what holds")
		}
		s.State, s.RevokedAt, s.Reason = leafward.SerialIssued, time.Now(), leafward.Superseded
		if held(func(tx *store.Tx) { tx.PutRevocation(&s) }) {
			t.Error("it holds after a revocation")
		}
		if held(func(tx *store.Tx) { tx.ReplaceSerial(&s) }) {
			t.Error("it holds after a serial was replaced")
		}
		if err := describe(storetest.Admin(t.Context()), db, "another"); err != nil {
			t.Fatal(err)
		}
		m := markOf(t, db)
		if err := describe(storetest.Admin(t.Context()), db, "one more"); err != nil {
			t.Fatal(err)
		}
		if _, holds := db.Holds(m); holds {
			t.Error("it holds after what people configure changed")
		}
		if _, holds := db.Holds(store.Mark{}); holds {
			t.Error("no mark holds")
		}
		last := markOf(t, db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, holds := db.Holds(last); holds {
			t.Error("something holds of a database that is closed")
		}
	})
}
