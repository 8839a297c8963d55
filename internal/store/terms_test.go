package store_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// wordsOf are the words that certificates are found by, with what the index says of each.
func wordsOf(t *testing.T, raw *sql.DB) (all []string) {
	t.Helper()
	rows, err := raw.QueryContext(t.Context(), "SELECT noun, term, id, alike, born FROM terms WHERE noun LIKE 'certificate%' ORDER BY noun, id, term")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var noun, term, id string
		var alike, born int64
		if err := rows.Scan(&noun, &term, &id, &alike, &born); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(noun, " ", id, " ", term, " ", alike, " ", born))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// alikeVersion is the migration with which words say how much they have alike.
const alikeVersion = 18

// unstruck takes back what came after it.
func unstruck() []string {
	return []string{"DROP INDEX certificates_struck", "ALTER TABLE certificates DROP COLUMN struck_at", "DROP INDEX jobs_renewals", "ALTER TABLE jobs DROP COLUMN hourly", "DELETE FROM goose_db_version WHERE version_id >= 19"}
}

func TestWordsOfThePastAreToldApartAsNewOnes(t *testing.T) {
	eachRaw(t, func(t *testing.T, c store.Config, raw *sql.DB) {
		db := open(t, c)
		if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
			t.Fatal(err)
		}
		crowd(t, db, 100)
		want := wordsOf(t, raw)
		back := append(unstruck(), "ALTER TABLE terms DROP COLUMN alike", "ALTER TABLE terms DROP COLUMN born", "UPDATE certificates SET words = ''")
		if c.URL != "" {
			back = append([]string{"ALTER TABLE terms DROP CONSTRAINT terms_pkey, ADD PRIMARY KEY (noun, term, id)"}, back...)
		}
		for _, statement := range append(back, fmt.Sprintf("DELETE FROM goose_db_version WHERE version_id >= %d", alikeVersion)) {
			if _, err := raw.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
			t.Fatal(err)
		}
		if got := wordsOf(t, raw); !slices.Equal(got, want) {
			t.Errorf("the words are\n%q\nnot\n%q", got, want)
		}
		var without int
		if err := raw.QueryRowContext(t.Context(), "SELECT count(*) FROM certificates WHERE words = ''").Scan(&without); err != nil || without > 0 {
			t.Errorf("%d certificates have no words beside them: %v", without, err)
		}
	})
}

func TestAVersionInUseThatWasRevokedIsFoundInDatabasesOfThePast(t *testing.T) {
	eachRaw(t, func(t *testing.T, c store.Config, raw *sql.DB) {
		db := open(t, c)
		if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
			t.Fatal(err)
		}
		all := slices.DeleteFunc(crowd(t, db, 40), func(c leafward.Certificate) bool {
			return c.Version == "" || !c.ArchivedAt.IsZero() || !c.RevokedAt.IsZero()
		})
		at := all[0].CreatedAt.UnixMicro()
		back := append(unstruck(), fmt.Sprintf("UPDATE certificates SET revoked_at = %d WHERE id = '%s'", at, all[2].ID))
		for i, reason := range []string{"superseded", "certificateHold", "keyCompromise"} {
			back = append(back, fmt.Sprintf("UPDATE versions SET revoked_at = %d, revocation_reason = '%s' WHERE id = '%s'", at, reason, all[i].Version))
		}
		for _, statement := range back {
			if _, err := raw.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
			t.Fatal(err)
		}
		page := found(t, db, leafward.Query{Where: map[string]string{"version_revoked": "true"}})
		if len(page.Items) != 1 || page.Items[0].ID != all[0].ID || page.Items[0].StruckAt.UnixMicro() != at || page.Items[0].WindowAt.UnixMicro() > at {
			t.Errorf("found is %+v, and not %s alone", page.Items, all[0].ID)
		}
	})
}

func TestACertificateIsCountedOnceHoweverItsWordsChange(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		all := crowd(t, db, 20)
		for _, names := range [][]string{{"note-1.example.org", "note-12.example.org"}, {"note-2.example.org", "note-12.example.org", "note-123.example.org"}, {"note-12.example.org"}, {"not.example.org"}} {
			err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
				c, err := tx.Certificate(all[1].ID)
				if err != nil {
					return err
				}
				c.SANs = names
				tx.PutCertificate(&c)
				return tx.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"no", "note", "note-1", "note-12", "note-123", "example.org"} {
				probe := leafward.Certificate{Row: leafward.Row{ID: all[1].ID}, Name: all[1].Name, SANs: names, Version: ""}
				want := int64(0)
				if fits(&probe, leafward.Query{Text: word}, all[1].CreatedAt) {
					want = 1
				}
				for _, sort := range []string{"created_at", "name"} {
					page := found(t, db, leafward.Query{Text: word, Sort: sort})
					if page.Total != want || int64(len(page.Items)) != want {
						t.Errorf("with the names %q %d and %d certificates are found by %q, not %d", names, page.Total, len(page.Items), word, want)
					}
				}
			}
		}
	})
}

func found(t *testing.T, db *store.DB, q leafward.Query) (page leafward.List[leafward.Certificate]) {
	t.Helper()
	err := db.View(storetest.Admin(t.Context()), func(v *store.View) (err error) {
		page, err = v.Certificates(q)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func TestWhatWasImportedIsFoundAmongTheMany(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		all := crowd(t, db, 100)
		err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
			made := make([]leafward.Certificate, 100)
			for n := range made {
				name := fmt.Sprintf("db-%d.moved.example.com", n)
				made[n] = leafward.Certificate{
					Team: leafward.DefaultTeam, Name: name, CommonName: name, SANs: []string{name}, Owner: leafward.DefaultOwner,
					Profile: leafward.ServerProfile, Issuer: leafward.DefaultIssuer, Policy: leafward.DefaultPolicy, KeySource: leafward.ClientKey, Spec: 1,
				}
			}
			tx.AddCertificates(made, nil, nil)
			all = append(all, made...)
			return tx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, c := range all {
			if c.ArchivedAt.IsZero() && strings.HasPrefix(c.Name, "db-") {
				want = append(want, c.Name)
			}
		}
		slices.Sort(want)
		const some = 10
		for _, c := range found(t, db, leafward.Query{Text: "db-", Sort: "name", PerPage: some}).Items {
			got = append(got, c.Name)
		}
		if !slices.Equal(got, want[:some]) {
			t.Errorf("the first are %q, not %q", got, want[:some])
		}
	})
}
