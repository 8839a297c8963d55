package store_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// FuzzList asks for pages with every sort of cursor, sort key, search and filter: a page or a clear refusal comes back.
func FuzzList(f *testing.F) {
	db := storetest.SQLite(f, nil)
	ctx := storetest.Admin(f.Context())
	for i := range 3 {
		if _, err := store.Teams().Create(ctx, db, func(t *leafward.Team) error { t.Name = fmt.Sprint("team ", i); t.Slug = fmt.Sprint(i); return nil }, nil); err != nil {
			f.Fatal(err)
		}
	}
	page, err := store.Teams().List(ctx, db, leafward.Query{PerPage: 1})
	if err != nil || page.Next == "" {
		f.Fatal(page, err)
	}
	f.Add(page.Next, "", "", "")
	f.Add(page.Next, "-name", "", "")
	for _, position := range []string{`{}`, `null`, `{"s":"","b":"","v":1e99,"i":"x"}`, `{"s":"","b":"","v":[],"i":"x"}`, `[`} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(position)), "", "", "")
	}
	f.Add("!", "created_at", "team", "team 1")
	f.Add("", "-", "\x00", "' OR 1 --")
	f.Fuzz(func(t *testing.T, cursor, sort, text, name string) {
		q := leafward.Query{Cursor: cursor, Sort: sort, Text: text, PerPage: 2}
		if name != "" {
			q.Where = map[string]string{"name": name}
		}
		page, err := store.Teams().List(ctx, db, q)
		if kind := leafward.KindOf(err); kind != "" && kind != leafward.Invalid {
			t.Fatalf("%q %q %q %q: %v", cursor, sort, text, name, err)
		}
		if err == nil && len(page.Items) > 2 {
			t.Fatalf("%d rows on a page of 2", len(page.Items))
		}
	})
}
