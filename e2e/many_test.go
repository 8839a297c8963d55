//go:build linux

package e2e_test

import (
	"database/sql"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/store/storetest"
)

// database is where the server keeps what it knows, as a path or a URL.
func (s *server) database(dsn string) string {
	if dsn != "" {
		return dsn
	}
	return filepath.Join(s.dir, "leafward.db")
}

// multiply ends the server, adds copies of certificates to its database and starts it again.
func (s *server) multiply(t testing.TB, dsn string, many int, of ...string) {
	t.Helper()
	s.stop(t)
	err := storetest.Multiply(t.Context(), s.database(dsn), storetest.Copies{
		Of: of, Many: many, Spread: 50 * day, Host: func(n int) string { return fmt.Sprintf("copy-%d", n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.start(t)
}

// tables counts the rows of every table.
func tables(t testing.TB, database string) map[string]int {
	t.Helper()
	driver, list := "sqlite", "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if database[0] != '/' {
		driver, list = "pgx", "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'"
	}
	db, err := sql.Open(driver, database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(list)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for _, name := range names {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM " + name).Scan(&n); err != nil {
			t.Fatal(err)
		}
		count[name] = n
	}
	return count
}

// What tests with very many certificates stand on: a copy that is written past the server is what the server would have
// written.
func TestCopiesOfCertificatesHaveEveryRowThatTheServerWrites(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := serve(t, dsn)
		_, model := s.issue(t, "model.example.com")
		for begun := time.Now(); tables(t, s.database(dsn))["responders"] < 2; <-time.After(10 * time.Millisecond) { // of both authorities
			if time.Since(begun) > patience {
				t.Fatal("no responder is made before anybody asks")
			}
		}
		s.stop(t)
		before := tables(t, s.database(dsn))
		s.start(t)
		s.issue(t, "another.example.com")
		s.stop(t)
		after := tables(t, s.database(dsn))
		const copies = 3
		s.multiply(t, dsn, copies, text(model, "id"))
		s.admin.get(t, "/ready")
		if n := len(s.admin.rows(t, "/api/v1/certificates")); n != 2+copies {
			t.Errorf("the list has %d certificates", n)
		}
		got := s.admin.get(t, "/api/v1/certificates?name=copy-1.example.com&per_page=1")["data"].([]any)[0].(object)
		shown := s.admin.get(t, "/api/v1/certificates/"+text(got, "id"))
		if text(shown, "status") != "Active" || text(shown, "version", "serial_number") == text(model, "version", "serial_number") {
			t.Errorf("a copy is shown as %v", shown)
		}
		if begun, err := time.Parse(time.RFC3339, text(shown, "created_at")); err != nil || time.Since(begun) < 10*day {
			t.Errorf("a copy is from %v (%v)", begun, err)
		}
		if found := s.admin.rows(t, "/api/v1/certificates?q="+text(shown, "version", "serial_number")); len(found) != 1 {
			t.Errorf("%d certificates are found by the serial number of a copy", len(found))
		}
		s.auditVerifies(t)
		s.stop(t)
		now := tables(t, s.database(dsn))
		for _, name := range slices.Sorted(maps.Keys(now)) {
			if slices.Contains([]string{"certificate_counts", "certificate_deltas", "checkpoints", "leases", "settings"}, name) {
				continue // of no certificate: sums, and what the server does again and again
			}
			if own := after[name] - before[name]; now[name]-after[name] != copies*own {
				t.Errorf("%s: the server wrote %d rows for a certificate, and %d copies have %d", name, own, copies, now[name]-after[name])
			}
		}
	})
}
