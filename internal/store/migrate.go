package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/leafward/leafward"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// lockKey is the PostgreSQL advisory lock under which one replica migrates and seeds.
const lockKey = 0x1eaf_0a4d

// Migrate brings the schema to this version and then runs seed, both while no other process does the same.
// A schema newer than this version is refused.
func (db *DB) Migrate(ctx context.Context, seed func(context.Context) error) (err error) {
	if db.writer == nil {
		guard, err := db.pool.Conn(ctx)
		if err != nil {
			return translate(err)
		}
		defer func() { err = errors.Join(err, guard.Close()) }()
		if _, err := guard.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(lockKey)); err != nil {
			return translate(err)
		}
		defer func() {
			_, _ = guard.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(lockKey))
		}()
	}
	if err := db.migrate(ctx); err != nil {
		return err
	}
	return seed(ctx)
}

func (db *DB) migrate(ctx context.Context) error {
	steps, err := db.steps()
	if err != nil {
		return err
	}
	kind := goose.DialectSQLite3
	if db.writer == nil {
		kind = goose.DialectPostgres
	}
	provider, err := goose.NewProvider(kind, db.pool, nil, goose.WithGoMigrations(steps...), goose.WithDisableGlobalRegistry(true), goose.WithSlog(db.config.Log))
	if err != nil {
		return fmt.Errorf("preparing the migrations: %w", err)
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of the schema: %w", translate(err))
	}
	if newest := steps[len(steps)-1].Version; have > newest {
		return leafward.Errorf(leafward.Conflict, "run the newer leafward that made it, or restore a backup of before",
			"the schema has version %d and this leafward knows %d only", have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema: %w", translate(err))
	}
	return nil
}

// Newest is the version of the schema that this leafward knows.
func Newest() int64 {
	names, _ := fs.Glob(migrationFiles, "migrations/*.sql") // the pattern is right
	newest := int64(0)
	for _, name := range names {
		version, err := versionOf(name)
		if err == nil {
			newest = max(newest, version)
		}
	}
	return newest
}

// versionOf reads the number in a migration's name.
func versionOf(name string) (int64, error) {
	number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return version, nil
}

// steps are the migrations with the engine's tokens filled in, one transaction each.
func (db *DB) steps() ([]*goose.Migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var steps []*goose.Migration
	for _, name := range names {
		raw, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		version, err := versionOf(name)
		if err != nil {
			return nil, err
		}
		text := db.tokens.Replace(string(raw))
		up := &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, text)
			return err
		}}
		steps = append(steps, goose.NewGoMigration(version, up, nil))
	}
	return steps, nil
}
