package store_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func team(name string) func(*leafward.Team) error {
	return func(t *leafward.Team) error { t.Name, t.Slug = name, leafward.Slug(name); return nil }
}

func mustTeams(t *testing.T, db *store.DB, n int) {
	t.Helper()
	for i := range n {
		if _, err := store.Teams().Create(storetest.Admin(t.Context()), db, team(fmt.Sprintf("team %03d", i)), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAChangeIsReadBackWithANewRevision(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		made, err := store.Teams().Create(ctx, db, team("shop"), nil)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := store.Teams().Update(ctx, db, made.ID, fmt.Sprint(made.Revision), team("shop two"), nil)
		if err != nil {
			t.Fatal(err)
		}
		read, err := store.Teams().Get(ctx, db, made.ID)
		if err != nil || read != changed || read.Revision != made.Revision+1 || read.Number != made.Number {
			t.Fatalf("read %+v, want %+v; %v", read, changed, err)
		}
		if _, err := store.Teams().Update(ctx, db, made.ID, fmt.Sprint(made.Revision), team("three"), nil); leafward.KindOf(err) != leafward.Precondition {
			t.Fatalf("a stale ETag gave %v", err)
		}
	})
}

func TestATakenNameIsAConflict(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		mustTeams(t, db, 1)
		_, err := store.Teams().Create(storetest.Admin(t.Context()), db, team("team 000"), nil)
		if leafward.KindOf(err) != leafward.Conflict {
			t.Fatalf("got %v", err)
		}
	})
}

func TestWhatIsReferredToIsNotDeleted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		err := store.Teams().Delete(storetest.Admin(t.Context()), db, leafward.DefaultTeam, "", nil)
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || e.Kind != leafward.Conflict || e.Counts["owners"] != 1 {
			t.Fatalf("got %+v", err)
		}
	})
}

func TestAnotherTeamsRowsAreMissing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		mustTeams(t, db, 2)
		ctx := storetest.Scoped(t.Context(), leafward.DefaultTeam)
		page, err := store.Teams().List(ctx, db, leafward.Query{})
		if err != nil || page.Total != 1 || page.Items[0].ID != leafward.DefaultTeam {
			t.Fatalf("list shows %+v; %v", page, err)
		}
		all, _ := store.Teams().List(storetest.Admin(t.Context()), db, leafward.Query{})
		other := all.Items[1].ID
		if _, err := store.Teams().Get(ctx, db, other); leafward.KindOf(err) != leafward.NotFound {
			t.Fatalf("another team's row gave %v", err)
		}
		if _, err := store.Teams().Update(ctx, db, other, "", team("mine"), nil); leafward.KindOf(err) != leafward.NotFound {
			t.Fatalf("changing another team's row gave %v", err)
		}
	})
}

func TestACursorWalksEveryRowOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		mustTeams(t, db, 23)
		for _, order := range []string{"name", "-name", "created_at", "-created_at", "id"} {
			seen := make(map[string]bool)
			q := leafward.Query{PerPage: 5, Sort: order}
			for {
				page, err := store.Teams().List(storetest.Admin(t.Context()), db, q)
				if err != nil || page.Total != 24 {
					t.Fatalf("%s: total %d, %v", order, page.Total, err)
				}
				for _, row := range page.Items {
					if seen[row.ID] {
						t.Fatalf("%s: %s came twice", order, row.ID)
					}
					seen[row.ID] = true
				}
				if q.Cursor = page.Next; q.Cursor == "" {
					break
				}
			}
			if len(seen) != 24 {
				t.Fatalf("%s: saw %d of 24", order, len(seen))
			}
		}
	})
}

func TestAnAlteredCursorIsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		mustTeams(t, db, 2)
		for _, order := range []string{"name", "-created_at"} {
			page, err := store.Teams().List(ctx, db, leafward.Query{PerPage: 1, Sort: order})
			if err != nil {
				t.Fatal(err)
			}
			text, err := base64.RawURLEncoding.DecodeString(page.Next)
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range []string{`"a"`, `"a\u0000"`, `1`, `1.5`, `true`, `[]`, `null`} {
				for _, id := range []string{`"t-1"`, `"t\u0000"`} {
					altered := regexp.MustCompile(`"v":.*`).ReplaceAllLiteralString(string(text), `"v":`+value+`,"i":`+id+`}`)
					_, err := store.Teams().List(ctx, db, leafward.Query{PerPage: 1, Sort: order, Cursor: base64.RawURLEncoding.EncodeToString([]byte(altered))})
					good := id == `"t-1"` && (order == "name" && value == `"a"` || order != "name" && value == `1`)
					if good != (err == nil) || !good && leafward.KindOf(err) != leafward.Invalid {
						t.Errorf("%s: %s: %v", order, altered, err)
					}
				}
			}
		}
	})
}

func TestACursorIsGoodForItsListOnly(t *testing.T) {
	db := storetest.SQLite(t, nil)
	ctx := storetest.Admin(t.Context())
	for _, id := range []string{"t-1", "t-2"} {
		_, err := store.Teams().Create(ctx, db, func(team *leafward.Team) error { team.ID, team.Name, team.Slug = id, id, id; return nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	page, err := store.Teams().List(ctx, db, leafward.Query{PerPage: 1, Sort: "name"})
	if err != nil || page.Next == "" {
		t.Fatalf("%+v %v", page, err)
	}
	if _, err := store.Owners().List(ctx, db, leafward.Query{PerPage: 1, Sort: "name", Cursor: page.Next}); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("owners are listed from where teams ended: %v", err)
	}
}

func TestPagesAndSearchAgreeWithTheCursor(t *testing.T) {
	db := storetest.SQLite(t, nil)
	mustTeams(t, db, 23)
	ctx := storetest.Admin(t.Context())
	third, err := store.Teams().List(ctx, db, leafward.Query{Page: 3, PerPage: 5})
	if err != nil || len(third.Items) != 5 || third.Items[0].Name != "team 009" {
		t.Fatalf("page 3 begins with %+v; %v", third.Items, err)
	}
	found, err := store.Teams().List(ctx, db, leafward.Query{Text: "Team 01"})
	if err != nil || found.Total != 10 {
		t.Fatalf("search found %d; %v", found.Total, err)
	}
	first, _ := store.Teams().List(ctx, db, leafward.Query{PerPage: 5})
	for name, q := range map[string]leafward.Query{
		"sort":   {PerPage: 5, Cursor: first.Next, Sort: "-name"},
		"filter": {PerPage: 5, Cursor: first.Next, Where: map[string]string{"name": "x"}},
		"broken": {Cursor: "!"}, "unknown sort": {Sort: "shoe size"}, "unknown filter": {Where: map[string]string{"shoe": "1"}}, "per page": {PerPage: 501},
	} {
		if _, err := store.Teams().List(ctx, db, q); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestConcurrentWritesShareCommitsAndHearTheirOwnOutcome(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		var wg sync.WaitGroup
		errs := make([]error, 64)
		for i := range errs {
			wg.Go(func() { // every fourth has a name that is taken, every seventh panics
				_, errs[i] = store.Teams().Create(ctx, db, func(row *leafward.Team) error {
					if i%7 == 6 {
						panic("a bad change")
					}
					if i%4 == 3 {
						return team("default")(row)
					}
					return team(fmt.Sprint("team ", i))(row)
				}, nil)
			})
		}
		wg.Wait()
		want := int64(1)
		for i, err := range errs {
			switch {
			case i%7 == 6 && err == nil, i%7 != 6 && i%4 == 3 && leafward.KindOf(err) != leafward.Conflict, i%7 != 6 && i%4 != 3 && err != nil:
				t.Errorf("write %d: %v", i, err)
			case err == nil:
				want++
			}
		}
		page, err := store.Teams().List(ctx, db, leafward.Query{})
		if err != nil || page.Total != want {
			t.Fatalf("%d rows, want %d; %v", page.Total, want, err)
		}
	})
}

func TestEveryEventIsNumberedAndChainedWithoutGaps(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				if _, err := store.Teams().Create(storetest.Admin(t.Context()), db, team(fmt.Sprint("team ", i)), nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if _, err := db.Sequence(storetest.Admin(t.Context()), "test"); err != nil {
			t.Fatal(err)
		}
		err := db.View(storetest.Admin(t.Context()), func(v *store.View) error {
			events, err := v.EventsAfter(0, 1000)
			if err != nil || len(events) != 40 {
				t.Fatalf("%d events; %v", len(events), err)
			}
			var chain audit.Hash
			for i, e := range events {
				leaf := audit.Leaf([]byte(e.Payload))
				chain = audit.Next(chain, leaf)
				if e.Seq != int64(i+1) || audit.Hash(e.Leaf) != leaf || audit.Hash(e.Chain) != chain {
					t.Fatalf("event %d is %+v", i, e)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestOneLeaseHolderAtATimeAndAGrowingEpoch(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		take := func(holder string) (epoch int64) {
			err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) (err error) {
				epoch, err = tx.Lease("sweep", holder, time.Minute)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return epoch
		}
		if a, b, again := take("a"), take("b"), take("a"); a != 1 || b != 0 || again != 1 {
			t.Fatalf("epochs %d, %d, %d", a, b, again)
		}
	})
}

func TestNobodyReadsOrWritesWithoutAnActor(t *testing.T) {
	db := storetest.SQLite(t, nil)
	if _, err := store.Teams().List(context.Background(), db, leafward.Query{}); err == nil {
		t.Error("a list was read by nobody")
	}
	if _, err := store.Teams().Create(context.Background(), db, team("x"), nil); err == nil {
		t.Error("a team was made by nobody")
	}
}

func TestASecondProcessIsKeptOffTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	c := store.Config{Path: dir + "/leafward.db"}
	db, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), c); leafward.KindOf(err) != leafward.Conflict {
		t.Fatalf("the second got %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("after the first closed: %v", err)
	}
	_ = again.Close()
}

func TestThePingWorksWhileEveryReaderIsOpen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for range 8 { // readers take turns
			if err := db.View(storetest.Admin(ctx), func(v *store.View) error { _, err := v.Setting("seeded"); return err }); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Ping(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestTheSeedsAreMadeOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		if err := store.RenewalPolicies().Delete(ctx, db, leafward.DefaultPolicy, "", nil); err != nil {
			t.Fatal(err)
		}
		for range 2 { // two more starts
			if err := db.Seed(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.RenewalPolicies().Get(ctx, db, leafward.DefaultPolicy); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("what somebody removed came back: %v", err)
		}
		if page, err := store.Owners().List(ctx, db, leafward.Query{}); err != nil || page.Total != 1 {
			t.Errorf("%d owners: %v", page.Total, err)
		}
	})
}
