package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/hook"
)

const second = time.Second

// errStale says that a row changed since it was read: the transaction runs again.
var errStale = errors.New("the row changed meanwhile")

// Config says where the data lies.
type Config struct {
	Path    string       // SQLite file; its directory must exist
	URL     string       // PostgreSQL, instead of Path
	Readers int          // SQLite reader connections, PostgreSQL connections; 0: a sensible number
	Clock   *hook.Clock  // nil: the system's
	Points  *hook.Points // nil: none
	Log     *slog.Logger
}

// DB is the store. It is safe for concurrent use; Close it to release files and connections.
type DB struct {
	dialect
	config  Config
	pool    *sql.DB    // readers on SQLite, everything on PostgreSQL
	readers chan *conn // SQLite: idle reader connections
	writer  *writer    // SQLite: the one connection that writes
	lock    io.Closer  // SQLite: keeps a second process off the data directory
	changes changes
	fresh   fresh
	turns   turns
	memory  atomic.Pointer[memory] // of the newest generation that this process saw
	closing sync.Once
}

// Open opens the database and leaves its schema as it is: call Migrate next.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.URL != "" {
		return openPostgres(ctx, c)
	}
	return openSQLite(ctx, c)
}

func openPostgres(ctx context.Context, c Config) (*DB, error) {
	config, err := parsePostgres(c.URL)
	if err != nil {
		return nil, err
	}
	pool := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(waitForDisk))
	if c.Readers == 0 {
		c.Readers = 16
	}
	pool.SetMaxOpenConns(c.Readers)
	pool.SetMaxIdleConns(c.Readers)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, translate(err)
	}
	db := &DB{dialect: postgresDialect(), config: c, pool: pool}
	db.memory.Store(newMemory(""))
	return db, nil
}

// Lock keeps a second process off a data directory until it is closed. Opening SQLite does so by itself.
func Lock(dir string) (io.Closer, error) { return lockFile(filepath.Join(dir, "leafward.lock")) }

func openSQLite(ctx context.Context, c Config) (*DB, error) {
	lock, err := Lock(filepath.Dir(c.Path))
	if err != nil {
		return nil, err
	}
	if c.Readers == 0 {
		c.Readers = 4
	}
	if err := touch(c.Path); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	// The writer sets a checkpoint of its own: see copier. Migrations have a connection of the pool.
	dsn := "file:" + uriPath(c.Path) + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=foreign_keys(1)&_pragma=cache_size(-8000)&_pragma=journal_size_limit(67108864)&_pragma=temp_store(MEMORY)&_pragma=wal_autocheckpoint(4000)"
	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	pool.SetMaxOpenConns(c.Readers + 2)
	db := &DB{dialect: sqliteDialect(), config: c, pool: pool, lock: lock, readers: make(chan *conn, c.Readers)}
	db.memory.Store(newMemory(""))
	for range c.Readers {
		db.readers <- &conn{dialect: db.dialect} // dialled when first used
	}
	writing, err := db.dial(ctx)
	if err != nil {
		return nil, errors.Join(damaged(c.Path, translate(err)), pool.Close(), lock.Close())
	}
	if db.writer, err = newWriter(ctx, db, writing); err != nil {
		return nil, errors.Join(translate(err), writing.close(), pool.Close(), lock.Close())
	}
	go db.writer.run()
	return db, nil
}

// Close finishes what is being written and releases everything.
func (db *DB) Close() (err error) {
	db.closing.Do(func() {
		db.turns.lasting.Add(1) // nothing holds any more
		err = db.close()
	})
	return err
}

func (db *DB) close() error {
	var errs []error
	if db.writer != nil {
		db.writer.stop()
		for range cap(db.readers) {
			errs = append(errs, (<-db.readers).close())
		}
	}
	errs = append(errs, db.pool.Close())
	if db.lock != nil {
		errs = append(errs, db.lock.Close())
	}
	return errors.Join(errs...)
}

// Engine is "sqlite" or "postgres".
func (db *DB) Engine() string { return db.name }

// Log is the logger the store was given.
func (db *DB) Log() *slog.Logger { return db.config.Log }

// Ping asks the database for a sign of life.
func (db *DB) Ping(ctx context.Context) error {
	if db.writer == nil {
		return translate(db.pool.PingContext(ctx))
	}
	return db.View(leafward.WithActor(ctx, leafward.System("ping")), func(v *View) error {
		_, err := v.Setting("seeded") // the pool has no connection to spare for its own ping
		return err
	})
}

// conn is one SQLite connection that keeps its prepared statements: those that ask, and those that the driver itself is told to do.
type conn struct {
	dialect
	raw    *sql.Conn
	stmts  map[string]*sql.Stmt
	told   map[string]statement
	values []driver.NamedValue // of the statement that is done
}

// maxStatements bounds the statements one connection keeps; lists with rare filters come and go.
const maxStatements = 512

func (db *DB) dial(ctx context.Context) (*conn, error) {
	raw, err := db.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{dialect: db.dialect, raw: raw, stmts: make(map[string]*sql.Stmt), told: make(map[string]statement)}, nil
}

// dialReader is dial for a connection that reads. Readers take turns, so that each comes to hold what all of them read: its
// cache is small, and the system's own is behind it.
func (db *DB) dialReader(ctx context.Context) (*conn, error) {
	c, err := db.dial(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.raw.ExecContext(ctx, "PRAGMA cache_size = -2000"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *conn) close() error {
	if c.raw == nil {
		return nil
	}
	discard(c.stmts)
	_ = c.raw.Raw(func(any) error {
		discard(c.told)
		return nil
	})
	return c.raw.Close()
}

// statement is one that was prepared by the driver itself.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
}

// discard closes what was prepared.
func discard[S interface{ Close() error }](all map[string]S) {
	for _, s := range all {
		_ = s.Close()
	}
	clear(all)
}

func (c *conn) prepared(query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	if len(c.stmts) >= maxStatements {
		discard(c.stmts)
	}
	s, err := c.raw.PrepareContext(context.Background(), c.text(query))
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

// ExecContext has the driver itself run the statement: the one writer runs some ten thousand a second, and database/sql has
// locks and copies for each.
func (c *conn) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	c.values = c.values[:0]
	for i, a := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		c.values = append(c.values, driver.NamedValue{Ordinal: i + 1, Value: value})
	}
	err = c.raw.Raw(func(under any) error {
		s, err := c.tell(under, query)
		if err != nil {
			return err
		}
		result, err = s.ExecContext(ctx, c.values)
		return err
	})
	clear(c.values)
	return result, err
}

// tell prepares a statement that the driver is told to do.
func (c *conn) tell(under any, query string) (statement, error) {
	if s, ok := c.told[query]; ok {
		return s, nil
	}
	if len(c.told) >= maxStatements {
		discard(c.told)
	}
	made, err := under.(driver.Conn).Prepare(c.text(query))
	if err != nil {
		return nil, err
	}
	s := made.(statement)
	c.told[query] = s
	return s, nil
}

func (c *conn) QueryContext(ctx context.Context, query string, args ...any) (rows, error) {
	s, err := c.prepared(query)
	if err != nil {
		return nil, err
	}
	found, err := s.QueryContext(ctx, args...) //nolint:rowserrcheck // who reads the rows asks
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Later is ExecContext: SQLite is here.
func (c *conn) Later(ctx context.Context, query string, args ...any) error {
	_, err := c.ExecContext(ctx, query, args...)
	return err
}

// Must is ExecContext: it is errStale at once.
func (c *conn) Must(ctx context.Context, query string, args ...any) error {
	return must(ctx, c, query, args)
}

// must runs a statement that is errStale unless it touches a row.
func must(ctx context.Context, q querier, query string, args []any) error {
	result, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); n > 0 || err != nil {
		return err
	}
	return errStale
}

// Settle has nothing to wait for.
func (c *conn) Settle(context.Context) error { return nil }

// Drop has nothing to drop.
func (c *conn) Drop() {}

// touch makes the database file with permissions of its own, before SQLite would with the umask's.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// uriPath escapes what has a meaning in an SQLite file URI.
func uriPath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path))
}

// lostConnection tells whether the outcome of a statement is unknown because the server went away.
func lostConnection(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08")
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "conn closed")
}
