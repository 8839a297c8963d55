//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"

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
