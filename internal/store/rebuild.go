package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pressly/goose/v3"
)

// uuidsVersion is the migration that SQLite does by making tables anew.
const uuidsVersion = 16

// uuidTables hold rows that nobody looks for by their UUID.
func uuidTables() []string {
	return []string{"keys", "jobs", "requests", "installations", "endpoints", "batches"}
}

// uniqueUUID is the column as tables have it whose UUIDs are unique.
var uniqueUUID = regexp.MustCompile(`(?i)(\buuid\s+TEXT\s+NOT\s+NULL)\s+UNIQUE\b`)

// rebuild makes the tables anew whose UUIDs are unique and need not be, https://www.sqlite.org/lang_altertable.html#otheralter.
// References are not looked at meanwhile, which cannot be said within a transaction: the record of the version is no part of
// it, and a second run finds nothing to do.
func (db *DB) rebuild(version int64) *goose.GoFunc {
	return &goose.GoFunc{RunDB: func(ctx context.Context, pool *sql.DB) (err error) {
		if err := db.hit("migrating", version); err != nil {
			return err
		}
		conn, err := pool.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() {
			_, on := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA foreign_keys = ON")
			err = errors.Join(err, on, conn.Close())
		}()
		if _, err := conn.ExecContext(ctx, "PRAGMA foreign_keys = OFF"); err != nil {
			return err
		}
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing is left of it after a commit
		for _, table := range uuidTables() {
			if err := rebuildTable(ctx, tx, table); err != nil {
				return fmt.Errorf("making the table %s anew: %w", table, err)
			}
		}
		if err := errors.Join(referencesHold(ctx, tx), db.hit("before-migrated", version)); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		return db.hit("rebuilt", version)
	}}
}

// rebuildTable makes a table anew without the constraint, with its rows and indexes; one that has it not stays as it is.
func rebuildTable(ctx context.Context, tx *sql.Tx, table string) error {
	var text string
	if err := tx.QueryRowContext(ctx, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", table).Scan(&text); err != nil {
		return err
	}
	if !uniqueUUID.MatchString(text) {
		return nil
	}
	indexes, err := texts(ctx, tx, "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL ORDER BY rowid", table)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(uniqueUUID.ReplaceAllString(text, "$1"), "(")
	statements := append([]string{
		"CREATE TABLE rebuilt (" + rest,
		"INSERT INTO rebuilt SELECT * FROM " + table,
		"DROP TABLE " + table,
		"ALTER TABLE rebuilt RENAME TO " + table,
	}, indexes...)
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// referencesHold says which rows refer to nothing.
func referencesHold(ctx context.Context, tx *sql.Tx) error {
	broken, err := texts(ctx, tx, `SELECT DISTINCT "table" || ' refers to what is not in ' || parent FROM pragma_foreign_key_check`)
	if err == nil && len(broken) > 0 {
		err = errors.New(strings.Join(broken, "; "))
	}
	return err
}

// texts reads a query of one text a row.
func texts(ctx context.Context, tx *sql.Tx, query string, args ...any) (all []string, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
