package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

func openBulk(ctx context.Context, database string) (*bulk, error) {
	if strings.Contains(database, "://") {
		return openBulkPostgres(database)
	}
	return openBulkSQLite(ctx, database)
}

func openBulkPostgres(url string) (*bulk, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	b := &bulk{
		db: stdlib.OpenDB(*config), settle: []string{"VACUUM ANALYZE"},
		list: "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 AND is_identity = 'NO' ORDER BY ordinal_position",
	}
	b.insert = b.copyPostgres
	return b, nil
}

// copyPostgres writes with COPY, in one transaction.
func (b *bulk) copyPostgres(ctx context.Context, rows map[string][][]any) (err error) {
	conn, err := b.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return conn.Raw(func(raw any) error {
		return pgx.BeginFunc(ctx, raw.(*stdlib.Conn).Conn(), func(tx pgx.Tx) error {
			for _, part := range belonging() {
				columns, err := b.columns(ctx, part.table)
				if err != nil {
					return err
				}
				if _, err := tx.CopyFrom(ctx, pgx.Identifier{part.table}, columns, pgx.CopyFromRows(rows[part.table])); err != nil {
					return fmt.Errorf("copying %s: %w", part.table, err)
				}
			}
			return nil
		})
	})
}

func openBulkSQLite(ctx context.Context, path string) (*bulk, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=cache_size(-400000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	b := &bulk{
		db: db, settle: []string{"PRAGMA wal_checkpoint(TRUNCATE)"},
		list: "SELECT name FROM pragma_table_info($1) WHERE NOT (pk = 1 AND type = 'INTEGER') ORDER BY cid",
	}
	b.insert = b.insertSQLite
	return b, db.PingContext(ctx)
}

// insertSQLite writes many rows with each statement, in one transaction.
func (b *bulk) insertSQLite(ctx context.Context, rows map[string][][]any) error {
	columns := make(map[string][]string)
	for _, part := range belonging() {
		var err error
		if columns[part.table], err = b.columns(ctx, part.table); err != nil {
			return err
		}
	}
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing is left of it after a commit
	for _, part := range belonging() {
		if err := insertAll(ctx, tx, part.table, columns[part.table], rows[part.table]); err != nil {
			return fmt.Errorf("inserting into %s: %w", part.table, err)
		}
	}
	return tx.Commit()
}

func insertAll(ctx context.Context, tx *sql.Tx, table string, columns []string, rows [][]any) error {
	const together = 50
	one := "(" + strings.Repeat("?, ", len(columns)-1) + "?)"
	head := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES "
	whole, err := tx.PrepareContext(ctx, head+strings.Repeat(one+", ", together-1)+one)
	if err != nil {
		return err
	}
	defer whole.Close()
	for len(rows) > 0 {
		n := min(together, len(rows))
		var args []any
		for _, row := range rows[:n] {
			args = append(args, row...)
		}
		if n == together {
			_, err = whole.ExecContext(ctx, args...)
		} else {
			_, err = tx.ExecContext(ctx, head+strings.Repeat(one+", ", n-1)+one, args...)
		}
		if err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}
