package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/leafward/leafward"
)

// Snapshot writes a consistent copy of an SQLite database to a file that is not there yet, mode 0600. Whoever else uses the
// database goes on reading and writing meanwhile, also from other processes. After an error nothing is left of the copy.
func Snapshot(ctx context.Context, path, into string) (err error) {
	pool, err := looking(Config{Path: path})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	file, err := os.OpenFile(into, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // VACUUM INTO takes an empty one
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if _, err = pool.ExecContext(ctx, "VACUUM INTO ?", into); err == nil {
		err = syncFile(into)
	}
	if err != nil {
		return errors.Join(damaged(path, translate(err)), os.Remove(into))
	}
	return nil
}

func syncFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Gather puts everything of an SQLite database that nobody uses into its one file, durably: closing it does that too, but says
// nothing when the disk is full, and what was written last is in a second file then.
func Gather(ctx context.Context, path string) error {
	pool, err := looking(Config{Path: path})
	if err != nil {
		return err
	}
	var busy, pages, moved int
	err = pool.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	if err == nil && busy != 0 {
		err = leafward.Errorf(leafward.Conflict, "stop what uses it", "%s is in use", path)
	}
	if err = errors.Join(translate(err), pool.Close()); err != nil {
		return err
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		return leafward.Errorf(leafward.StorageFull, "free some space", "what was written last is not in %s yet: %s-wal has %d octets", path, path, info.Size())
	}
	return syncFile(path)
}

// State is what a database says of itself.
type State struct {
	Schema    int64  // its version
	MasterKey string // id of the master key that it was sealed with; "" before the first start
	Events    int64  // the last that is numbered
	Chain     []byte // the chain hash of that event
}

// StateOf reads what a database says of itself and changes nothing. A file must be whole.
func StateOf(ctx context.Context, c Config) (s State, err error) {
	pool, err := looking(c)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if c.URL == "" {
		var verdict string
		err := pool.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
		if err == nil && verdict != "ok" {
			err = leafward.Errorf(leafward.Invalid, "take another backup; `leafward status` says whether the server works", "%s is damaged: %.200s", c.Path, verdict)
		}
		if err != nil {
			return s, damaged(c.Path, translate(err))
		}
	}
	err = pool.QueryRowContext(ctx, `SELECT (SELECT coalesce(max(version_id), 0) FROM goose_db_version), coalesce((SELECT value FROM settings WHERE name = 'master_key'), ''),
		(SELECT coalesce(max(seq), 0) FROM events), coalesce((SELECT chain FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1), '')`).
		Scan(&s.Schema, &s.MasterKey, &s.Events, &s.Chain)
	if noTable(err) {
		return s, &leafward.Error{Kind: leafward.NotFound, Message: "the database has no tables of leafward", Fix: "name the database of a server that was started once: --data-dir or --database", Cause: err}
	}
	return s, damaged(c.Path, translate(err))
}

// looking connects to a database that is there already.
func looking(c Config) (*sql.DB, error) {
	if c.URL != "" {
		config, err := parsePostgres(c.URL)
		if err != nil {
			return nil, err
		}
		return stdlib.OpenDB(*config), nil
	}
	if _, err := os.Stat(c.Path); err != nil { // SQLite would make one
		return nil, err
	}
	pool, err := sql.Open("sqlite", "file:"+uriPath(c.Path)+"?mode=rw&_pragma=busy_timeout(5000)")
	if err == nil {
		pool.SetMaxOpenConns(1)
	}
	return pool, err
}

// Truncate empties the log of an SQLite database into its file, so that no former state of a row is left in it. PostgreSQL
// keeps its own log.
func (db *DB) Truncate(ctx context.Context) (err error) {
	if db.config.URL != "" {
		return nil
	}
	pool, err := looking(db.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	const patience, pause = 5 * second, 50 * time.Millisecond
	again := time.NewTicker(pause)
	defer again.Stop()
	// Hazard: while it waits for readers nobody writes. For who copies the log it does not wait by itself.
	for begun := time.Now(); time.Since(begun) < patience; {
		var busy, pages, moved int
		if err := pool.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil || busy == 0 {
			return translate(err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return translate(ctx.Err())
		}
	}
	return leafward.Errorf(leafward.Later, "", "the log of the database is being read or copied all the time")
}
