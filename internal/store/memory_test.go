package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func defaultTeam(t *testing.T, db *store.DB) leafward.Team {
	t.Helper()
	row, err := store.Teams().Get(storetest.Admin(t.Context()), db, leafward.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func describe(ctx context.Context, db *store.DB, text string) error {
	_, err := store.Teams().Update(ctx, db, leafward.DefaultTeam, "", func(t *leafward.Team) error { t.Description = text; return nil }, nil)
	return err
}

func TestARowThatChangesByHandIsReadOnceUntilOneChanges(t *testing.T) {
	eachRaw(t, func(t *testing.T, c store.Config, raw *sql.DB) {
		db := open(t, c)
		if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
			t.Fatal(err)
		}
		before := defaultTeam(t, db)
		if _, err := raw.Exec("UPDATE teams SET description = 'behind its back'"); err != nil {
			t.Fatal(err)
		}
		if now := defaultTeam(t, db); now.Description != before.Description {
			t.Errorf("it was read again: %q", now.Description)
		}
		_, err := store.Owners().Create(storetest.Admin(t.Context()), db, func(o *leafward.Owner) error {
			o.Name, o.Email, o.Team = "somebody", "somebody@example.com", leafward.DefaultTeam
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if now := defaultTeam(t, db); now.Description != "behind its back" {
			t.Errorf("it was not read again: %q", now.Description)
		}
	})
}

func TestAChangeIsSeenByEverybodyWhoReadsAfterIt(t *testing.T) {
	const changes = 100
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		var readers sync.WaitGroup
		done := make(chan struct{})
		for range 2 {
			readers.Go(func() {
				for last := int64(0); ; {
					select {
					case <-done:
						return
					default:
					}
					row, err := store.Teams().Get(ctx, db, leafward.DefaultTeam)
					if err != nil || row.Revision < last {
						t.Errorf("revision %d after %d: %v", row.Revision, last, err)
						return
					}
					last = row.Revision
				}
			})
		}
		for i := range changes {
			text := fmt.Sprint("change ", i)
			if err := describe(ctx, db, text); err != nil {
				t.Fatal(err)
			}
			if now := defaultTeam(t, db).Description; now != text {
				t.Fatalf("read %q after %q was written", now, text)
			}
		}
		close(done)
		readers.Wait()
	})
}

func TestAChangeThatIsRefusedIsNotRemembered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		before := defaultTeam(t, db)
		refused := errors.New("refused")
		err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
			_, _, err := store.Teams().Change(tx, leafward.DefaultTeam, "", func(t *leafward.Team) error { t.Description = "never"; return nil }, nil)
			if err != nil {
				return err
			}
			if now, err := tx.Team(leafward.DefaultTeam); err != nil || now.Description != "never" {
				t.Errorf("a change does not see what it wrote itself: %q %v", now.Description, err)
			}
			return refused
		})
		if !errors.Is(err, refused) {
			t.Fatal(err)
		}
		if now := defaultTeam(t, db); now.Description != before.Description {
			t.Errorf("the team is %q", now.Description)
		}
	})
}

func TestAChangeByAnotherServerIsSeenAtOnce(t *testing.T) {
	c := store.Config{URL: pgtest.DSN(t)}
	here, there := open(t, c), open(t, c)
	if err := here.Migrate(t.Context(), storetest.Seed(here)); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		defaultTeam(t, there)
		text := fmt.Sprint("change ", i)
		if err := describe(storetest.Admin(t.Context()), here, text); err != nil {
			t.Fatal(err)
		}
		if now := defaultTeam(t, there).Description; now != text {
			t.Fatalf("the other server reads %q after %q was written", now, text)
		}
	}
}
