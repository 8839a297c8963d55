//go:build linux

package e2e_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/store"
)

// freshSchema is the schema of a new database of this program on an engine.
func freshSchema(t *testing.T, dsn string) []string {
	t.Helper()
	c := store.Config{Path: filepath.Join(t.TempDir(), "leafward.db"), URL: dsn}
	db, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	database := c.Path
	if dsn != "" {
		database = dsn
	}
	return schema(t, database)
}

// The queries tell of every table, column, index and constraint in a line. What SQLite says of the text of a table is the
// one place where its checks and references stand in whole; how its name is quoted depends on how it was made.
const (
	sqliteSchema = `
		SELECT m.type || ' ' || m.name || ' of ' || m.tbl_name || ': ' || replace(coalesce(m.sql, ''), '"' || m.name || '"', m.name) FROM sqlite_schema m
			WHERE m.name NOT LIKE 'sqlite_stat%'
		UNION ALL SELECT 'column ' || m.name || '.' || c.name || ' ' || c.cid || ' ' || c.type || ' ' || c."notnull" || ' ' || coalesce(c.dflt_value, '-') || ' ' || c.pk
			FROM sqlite_schema m, pragma_table_xinfo(m.name) c WHERE m.type = 'table'
		UNION ALL SELECT 'reference ' || m.name || '.' || f."from" || ' to ' || f."table" || '.' || f."to" || ' ' || f.on_delete || ' ' || f.on_update
			FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'
		UNION ALL SELECT 'index ' || i.name || ' ' || i."unique" || ' ' || i.origin || ' ' || i.partial FROM sqlite_schema m, pragma_index_list(m.name) i WHERE m.type = 'table'`
	postgresSchema = `
		SELECT 'column ' || c.relname || '.' || a.attname || ' ' || a.attnum || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || a.attidentity::text || ' ' ||
				a.attcollation::regcollation::text || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '-')
			FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
			WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
		UNION ALL SELECT 'constraint ' || conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT relkind::text || ' ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`
)

// schema is everything that a database has but its rows, in lines that are sorted.
func schema(t *testing.T, database string) []string {
	t.Helper()
	query := postgresSchema
	if database[0] == '/' {
		query = sqliteSchema
	}
	all := lines(t, database, query)
	for i, line := range all {
		all[i] = strings.Join(strings.Fields(line), " ")
	}
	slices.Sort(all)
	return all
}

// lines are the rows of a query of one column.
func lines(t *testing.T, database, query string) (all []string) {
	t.Helper()
	db := connect(t, database)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// difference shows what only one of two schemas has.
func difference(got, want []string) string {
	var out strings.Builder
	for sign, pair := range map[string][2][]string{"+ ": {got, want}, "- ": {want, got}} {
		for _, line := range pair[0] {
			if !slices.Contains(pair[1], line) {
				out.WriteString(sign + line + "\n")
			}
		}
	}
	return out.String()
}
