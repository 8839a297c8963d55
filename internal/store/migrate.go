package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

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
	return db.up(ctx, provider, have)
}

// up takes the steps that are missing. Whoever starts a server sees that it takes them, and from where: the way back is a
// backup of before.
func (db *DB) up(ctx context.Context, provider *goose.Provider, have int64) error {
	newest := Newest()
	if have == newest {
		return nil
	}
	if have >= withBatches {
		if err := db.released(ctx); err != nil {
			return err
		}
		db.config.Log.Info("migrating the schema; do not end the server, and keep the backup of before until all is well", "from", have, "to", newest)
	}
	begun := time.Now()
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema: %w", translate(err))
	}
	if have > 0 {
		db.config.Log.Info("the schema is migrated", "from", have, "to", newest, "took", time.Since(begun).Round(time.Millisecond).String())
	}
	return db.config.Points.Hit("store.migrated")
}

// withBatches is the first schema that has batches; one of before is what a first start left that was ended in the midst.
const withBatches = 8

// released refuses a schema of a time when batches had another form under the same number.
func (db *DB) released(ctx context.Context) error {
	rows, err := db.pool.QueryContext(ctx, "SELECT * FROM batches WHERE 1 = 0")
	if err != nil {
		return translate(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err == nil && !slices.Contains(columns, "change") {
		return leafward.Errorf(leafward.Conflict, "start with an empty data directory or database; nothing was changed here",
			"the schema is that of a development version which no later one can take over")
	}
	return errors.Join(err, rows.Err())
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
		up := db.step(version, db.tokens.Replace(string(raw)))
		if version == uuidsVersion && db.writer != nil {
			up = db.rebuild(version)
		}
		steps = append(steps, goose.NewGoMigration(version, up, nil))
	}
	return steps, nil
}

// step runs a text in one transaction with the record of its version.
func (db *DB) step(version int64, text string) *goose.GoFunc {
	return &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		if err := db.hit("migrating", version); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
		return db.hit("before-migrated", version)
	}}
}

// hit is the failpoint of a step: store.migrating-N before its first statement, store.before-migrated-N after its last.
func (db *DB) hit(moment string, version int64) error {
	return db.config.Points.Hit(fmt.Sprintf("store.%s-%d", moment, version))
}
