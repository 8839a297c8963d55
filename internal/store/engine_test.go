package store_test

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// eachRaw runs a test on both engines, with a way to the database beside the store.
func eachRaw(t *testing.T, test func(t *testing.T, c store.Config, raw *sql.DB)) {
	t.Helper()
	for engine, driver := range map[string]string{"sqlite": "sqlite", "postgres": "pgx"} {
		t.Run(engine, func(t *testing.T) {
			c := store.Config{Path: filepath.Join(t.TempDir(), "leafward.db")}
			source := c.Path
			if engine == "postgres" {
				c = store.Config{URL: pgtest.DSN(t)}
				source = c.URL
			}
			raw, err := sql.Open(driver, source)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			test(t, c, raw)
		})
	}
}

func open(t *testing.T, c store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestASchemaIsMigratedOnceAndANewerOneIsRefusedByName(t *testing.T) {
	migrations, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(migrations) == 0 {
		t.Fatal(err)
	}
	eachRaw(t, func(t *testing.T, c store.Config, raw *sql.DB) {
		db := open(t, c)
		for range 2 {
			if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
				t.Fatal(err)
			}
			var steps, newest int
			if err := raw.QueryRowContext(t.Context(), "SELECT count(*), max(version_id) FROM goose_db_version WHERE version_id > 0").Scan(&steps, &newest); err != nil {
				t.Fatal(err)
			}
			if steps != len(migrations) || newest != len(migrations) {
				t.Errorf("%d steps are on record, the newest is %d, and there are %d migrations", steps, newest, len(migrations))
			}
		}
		if _, err := raw.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)"); err != nil {
			t.Fatal(err)
		}
		err := db.Migrate(t.Context(), storetest.Seed(db))
		if leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), fmt.Sprintf("version 99 and this leafward knows %d only", len(migrations))) {
			t.Errorf("a newer schema: %v", err)
		}
	})
}

// Development versions had batches of another form under the same number: nothing is done to a database of theirs.
func TestASchemaThatNoVersionCanTakeOverIsRefusedUntouched(t *testing.T) {
	eachRaw(t, func(t *testing.T, c store.Config, raw *sql.DB) {
		db := open(t, c)
		if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"ALTER TABLE batches RENAME COLUMN change TO matched", "DELETE FROM goose_db_version WHERE version_id > 8"} {
			if _, err := raw.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		err := db.Migrate(t.Context(), storetest.Seed(db))
		if leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "development version") {
			t.Errorf("it is met with %v", err)
		}
		var newest int
		if err := raw.QueryRowContext(t.Context(), "SELECT max(version_id) FROM goose_db_version").Scan(&newest); err != nil || newest != 8 {
			t.Errorf("the schema has version %d then (%v)", newest, err)
		}
	})
}

// Totals are the sum of the counts that each change moves, whatever the rows say; and they are what the rows say.
func TestTotalsComeFromTheFolds(t *testing.T) {
	eachRaw(t, func(t *testing.T, c store.Config, raw *sql.DB) {
		db, ctx := open(t, c), storetest.Admin(t.Context())
		if err := db.Migrate(ctx, storetest.Seed(db)); err != nil {
			t.Fatal(err)
		}
		write := func(change func(tx *store.Tx) error) {
			t.Helper()
			if err := db.Write(ctx, change); err != nil {
				t.Fatal(err)
			}
		}
		totals := func(want ...int64) {
			t.Helper()
			for i, q := range []leafward.Query{{}, {Where: map[string]string{"status": "Revoked"}}, {Where: map[string]string{"status": "Archived"}}, {Where: map[string]string{"team_id": "t-default", "issuer_id": "iss-x"}}} {
				err := db.View(ctx, func(v *store.View) error {
					list, err := v.Certificates(q)
					if list.Total != want[i] {
						t.Errorf("of %v there are %d, not %d", q.Where, list.Total, want[i])
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		write(func(tx *store.Tx) error {
			tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: "iss-x"}, Name: "x", Type: "GenericCA"})
			for i := range 5 {
				tx.AddCertificate(&leafward.Certificate{
					Row: leafward.Row{ID: fmt.Sprint("mc-", i)}, Team: leafward.DefaultTeam, Owner: leafward.DefaultOwner, Profile: leafward.ServerProfile,
					Policy: leafward.DefaultPolicy, Issuer: "iss-x", Name: fmt.Sprint("c", i), CommonName: "c.example.com", KeySource: leafward.ClientKey,
				})
			}
			return nil
		})
		totals(5, 0, 0, 5)
		write(func(tx *store.Tx) error {
			for id, change := range map[string]func(c *leafward.Certificate){
				"mc-0": func(c *leafward.Certificate) { c.Archive(tx.Now) }, "mc-1": func(c *leafward.Certificate) { c.Revoke("superseded", tx.Now) },
			} {
				c, err := tx.Certificate(id)
				if err != nil {
					return err
				}
				change(&c)
				tx.PutCertificate(&c)
			}
			return nil
		})
		totals(4, 1, 1, 4)
		write(func(tx *store.Tx) error { _, err := tx.FoldCounts(); return err })
		totals(4, 1, 1, 4)
		if _, err := raw.ExecContext(ctx, "UPDATE certificate_counts SET n = n + 100 WHERE state = 'revoked'"); err != nil {
			t.Fatal(err)
		}
		totals(104, 101, 1, 104)
	})
}

// Queries are the same text on both engines. What differs in form is in the dialect; where an engine does a thing in
// another way is listed here.
func TestOneTextOfSQLServesBothEngines(t *testing.T) {
	apart := map[string]string{
		"db.go": "opening", "dialect.go": "the dialect", "migrate.go": "the lock under which one replica migrates", "write.go": "one writer, or transactions that run again",
		"certificate.go": "counts move in the transaction, or are added up later", "event.go": "the writer numbers events, or the holder of a lease",
		"event_list.go": "likewise", "follow.go": "likewise", "tx.go": "the clock of the database", "keypair.go": "transactions beside each other, of which one must run again", "snapshot.go": "PostgreSQL has a tool of its own for copies",
	}
	asks := regexp.MustCompile(`"sqlite"|"postgres"|writer [!=]= nil|postgresDialect|sqliteDialect`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := asks.Find(text); found != nil && apart[file] == "" && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s asks for the engine: %s", file, found)
		}
	}
}

// commits counts the transactions in SQLite's write-ahead log: the last page of each has the size of the database in its
// header (https://sqlite.org/fileformat2.html, section 4.1).
func commits(t *testing.T, path string) (n int) {
	t.Helper()
	log, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	const head, frameHead = 32, 24
	page, salt := int(binary.BigEndian.Uint32(log[8:])), string(log[16:24])
	for at := head; at+frameHead+page <= len(log); at += frameHead + page {
		if size := binary.BigEndian.Uint32(log[at+4:]); size != 0 && string(log[at+8:at+16]) == salt {
			n++
		}
	}
	return n
}

func TestChangesThatComeTogetherShareOneCommit(t *testing.T) {
	const others = 20
	for held, want := range map[time.Duration]int{0: 1, time.Second: 2} { // who takes long takes nobody in
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			c := store.Config{Path: filepath.Join(dir, "leafward.db")}
			db, ctx := open(t, c), storetest.Admin(t.Context())
			if err := db.Migrate(ctx, storetest.Seed(db)); err != nil {
				t.Fatal(err)
			}
			before, hold := commits(t, c.Path), make(chan struct{})
			var writing sync.WaitGroup
			for i := range 1 + others {
				writing.Go(func() {
					_, err := store.Teams().Create(ctx, db, func(row *leafward.Team) error {
						if i == 0 {
							<-hold // the one writer has it in hand
							time.Sleep(held)
						}
						return team(fmt.Sprint("team ", i))(row)
					}, nil)
					if err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			if n := commits(t, c.Path); n != before {
				t.Errorf("%d commits while the first change is under way", n-before)
			}
			close(hold)
			writing.Wait()
			if n := commits(t, c.Path) - before; n != want {
				t.Errorf("one change that took %v and the %d that came meanwhile took %d commits, not %d", held, others, n, want)
			}
		})
	}
}

func TestAFullDiskOfPostgreSQLIsToldAsThat(t *testing.T) {
	db := storetest.Postgres(t, nil)
	err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		tx.Exec("DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$")
		return nil
	})
	if leafward.KindOf(err) != leafward.StorageFull {
		t.Errorf("got %v", err)
	}
}
