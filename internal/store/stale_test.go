package store_test

import (
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// What must touch a row is sent with what comes after it, on PostgreSQL: nothing of a transaction in which it did not is kept.
func TestARowThatChangedSinceItWasReadMakesTheTransactionRunAgain(t *testing.T) {
	behind := map[string]func(tx *store.Tx, id string) error{
		"nothing":         func(*store.Tx, string) error { return nil },
		"what is read":    func(tx *store.Tx, id string) error { _, err := tx.Certificate(id); return err },
		"a part":          func(tx *store.Tx, _ string) error { return tx.Try(func() error { return nil }) },
		"what is written": func(tx *store.Tx, _ string) error { tx.Exec("UPDATE teams SET name = name"); return tx.Err() },
	}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, id := storetest.Admin(t.Context()), crowd(t, db, 2)[1].ID
		for what, after := range behind {
			runs, was := 0, found(t, db, leafward.Query{Text: id}).Items[0].Revision
			err := db.Write(ctx, func(tx *store.Tx) error {
				runs++
				c, err := tx.Certificate(id)
				if err != nil {
					return err
				}
				old := c
				c.Environment = "staging " + what
				tx.PutCertificate(&c)
				if runs == 1 {
					old.Environment = "lost"
					tx.PutCertificate(&old)
				}
				return after(tx, id)
			})
			if err != nil {
				t.Fatal(err)
			}
			page := found(t, db, leafward.Query{Text: id})
			if len(page.Items) != 1 || runs != 2 || page.Items[0].Environment != "staging "+what || page.Items[0].Revision != was+1 {
				t.Errorf("before %s: %d runs, and it is %+v", what, runs, page.Items)
			}
		}
	})
}
