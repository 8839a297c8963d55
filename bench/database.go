//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// open opens the server's database beside it.
func (s *server) open() (*sql.DB, error) {
	if s.dsn != "" {
		return sql.Open("pgx", s.dsn)
	}
	return sql.Open("sqlite", "file:"+s.database()+"?_pragma=busy_timeout(5000)")
}

func (s *server) exec(ctx context.Context, statement string) error {
	db, err := s.open()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

func (s *server) number(ctx context.Context, query string) (n int64, err error) {
	db, err := s.open()
	if err != nil {
		return 0, err
	}
	err = db.QueryRowContext(ctx, query).Scan(&n)
	return n, errors.Join(err, db.Close())
}

// column reads all values of a query's one column.
func (s *server) column(ctx context.Context, query string) (all []string, err error) {
	db, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, rows.Err()
}

// perCommit is how many rows are written at once where a limit is measured.
const perCommit = 500

// again has the driver alone write rows that the server has written: one by one, into a table without indexes. It returns
// how many they are and how long they took.
func (s *server) again(ctx context.Context, table, where string) (many int, took time.Duration, err error) {
	db, err := s.open()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	columns, rows, err := read(ctx, db, "SELECT * FROM "+table+" WHERE "+where)
	if err != nil {
		return 0, 0, err
	}
	//nolint:gosec // the table is one that this program names
	if _, err := db.ExecContext(ctx, "CREATE TABLE bare AS SELECT * FROM "+table+" WHERE 1 = 0"); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if err = write(ctx, db, "bare", columns, slices.Values(rows), perCommit); err != nil {
		return 0, 0, err
	}
	took = time.Since(begun)
	_, err = db.ExecContext(ctx, "DROP TABLE bare")
	return len(rows), took, err
}

func read(ctx context.Context, db *sql.DB, query string) (columns int, all [][]any, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return 0, nil, err
	}
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return 0, nil, err
		}
		all = append(all, values)
	}
	return len(names), all, rows.Err()
}

// write inserts rows one by one, so many in a transaction.
func write(ctx context.Context, db *sql.DB, table string, columns int, rows iter.Seq[[]any], many int) error {
	places := make([]string, columns)
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	statement := "INSERT INTO " + table + " VALUES (" + strings.Join(places, ", ") + ")"
	next, stop := iter.Pull(rows)
	defer stop()
	for more := true; more; {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		more, err = insert(ctx, tx, statement, next, many)
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// insert inserts so many rows at most and tells whether there may be more.
func insert(ctx context.Context, tx *sql.Tx, statement string, next func() ([]any, bool), many int) (more bool, err error) {
	prepared, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, prepared.Close()) }()
	for range many {
		row, more := next()
		if !more {
			return false, nil
		}
		if _, err := prepared.ExecContext(ctx, row...); err != nil {
			return false, err
		}
	}
	return true, nil
}
