package store

import (
	"context"
	"database/sql"
	"maps"
	"time"

	"github.com/leafward/leafward"
)

// querier runs SQL: a PostgreSQL transaction, or the SQLite connection inside one.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (rows, error)
	Later(ctx context.Context, query string, args ...any) error // need not be done before Settle or the next statement
	Must(ctx context.Context, query string, args ...any) error  // is Later for one that is errStale unless it touches a row
	Settle(ctx context.Context) error
	Drop() // what was sent and not settled, since it is undone anyhow
}

// rows are what came of a query. Close tells what went wrong in reading them.
type rows interface {
	Next() bool
	Scan(targets ...any) error
	Err() error
	Close() error
}

// View reads one consistent snapshot inside the actor's scope.
type View struct {
	Now   time.Time // the one instant of this transaction
	Actor leafward.Actor
	dialect
	ctx      context.Context
	q        querier
	rowsRead map[string]*readRow // by table and id; nil where nothing is written
	memory   *memory             // nil where something is written
	mark     Mark                // of the snapshot; zero where something is written
}

// Tx is a View that also writes. Writing methods keep the first error, which Write returns;
// reading methods return theirs. A Tx must not be used after its function returned.
type Tx struct {
	View
	err     error
	events  []leafward.Event
	touched map[string]bool // topics of what was written
	folds   map[leafward.FoldKey]int
	steady  bool // a steady table was written to
	heard   bool // what a serial is to others may have changed
	left    witness
	adopted bool // events of a log came in with their numbers
}

// touch names what was written, for those who watch it.
func (tx *Tx) touch(topic string) {
	if tx.touched == nil {
		tx.touched = make(map[string]bool)
	}
	tx.touched[topic] = true
}

// send is Exec for a statement whose outcome nobody waits for.
func (tx *Tx) send(query string, args ...any) {
	if tx.err == nil {
		tx.notice(query)
		tx.Fail(tx.q.Later(tx.ctx, query, args...))
	}
}

// must is send for a statement that makes the transaction run again when it touches no row.
func (tx *Tx) must(query string, args ...any) {
	if tx.err == nil {
		tx.notice(query)
		tx.Fail(tx.q.Must(tx.ctx, query, args...))
	}
}

// settle waits for what was sent.
func (tx *Tx) settle() error {
	if tx.err == nil {
		tx.Fail(tx.q.Settle(tx.ctx))
	}
	return tx.err
}

// notice notes what a statement is about to write to.
func (tx *Tx) notice(query string) {
	tx.steady = tx.steady || steady(written(query))
	tx.heard = tx.heard || heard(query)
}

// Err is the first error of a writing method that is known so far: a row that is refused may be told later, at the latest
// by Write.
func (tx *Tx) Err() error { return tx.err }

// Fail keeps the error as the outcome unless there is one already.
func (tx *Tx) Fail(err error) {
	if tx.err == nil && err != nil {
		tx.err = translate(err)
	}
}

// Exec runs one writing statement and tells how many rows it touched.
func (tx *Tx) Exec(query string, args ...any) int64 {
	if tx.err != nil {
		return 0
	}
	tx.notice(query)
	result, err := tx.q.ExecContext(tx.ctx, query, args...)
	if err != nil {
		tx.Fail(err)
		return 0
	}
	n, err := result.RowsAffected()
	tx.Fail(err)
	return n
}

// insert runs one INSERT on SQLite and returns the number that the database made.
func (tx *Tx) insert(query string, args []any) (number int64) {
	result, err := tx.q.ExecContext(tx.ctx, query, args...)
	if err == nil {
		number, err = result.LastInsertId()
	}
	tx.Fail(err)
	return number
}

// Try runs a part of the change by itself. When the part is refused, what it wrote is undone and the change may go on
// with the returned error; what concerns the whole transaction, such as a stale row or a full disk, ends the change.
func (tx *Tx) Try(part func() error) error {
	tx.Exec("SAVEPOINT part")
	if tx.err != nil {
		return tx.err
	}
	recorded, folds, left := len(tx.events), maps.Clone(tx.folds), tx.left
	refused := part()
	if err := tx.settle(); err != nil {
		refused = err
	}
	if refused == nil {
		tx.Exec("RELEASE part")
		return tx.err
	}
	refused = translate(refused)
	if tx.err = refused; !alone(refused) {
		return refused
	}
	tx.err, tx.events, tx.folds, tx.left = nil, tx.events[:recorded], folds, left
	tx.q.Drop()
	tx.Exec("ROLLBACK TO part")
	tx.Exec("RELEASE part")
	if tx.err != nil {
		return tx.err
	}
	return refused
}

// alone tells a refusal that concerns one part of a change only.
func alone(err error) bool {
	switch leafward.KindOf(err) {
	case leafward.Invalid, leafward.Conflict, leafward.NotFound, leafward.Denied, leafward.Gone, leafward.Precondition:
		return true
	}
	return false
}

// rows calls each for every row of the query.
func (v *View) rows(each func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := v.q.QueryContext(v.ctx, query, args...)
	if err != nil {
		return translate(err)
	}
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			_ = rows.Close()
			return translate(err)
		}
	}
	err = rows.Err()
	if wrong := rows.Close(); err == nil {
		err = wrong
	}
	return translate(err)
}

// one reads the single row of the query into targets; found is false when there is none.
func (v *View) one(query string, args []any, targets ...any) (found bool, err error) {
	err = v.rows(func(scan func(...any) error) error {
		found = true
		return scan(targets...)
	}, query, args...)
	return found, err
}

// micros is the form of an instant in SQL.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// instant is the time of a stored number.
func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// View runs the function on a snapshot. The context must carry an actor.
func (db *DB) View(ctx context.Context, read func(*View) error) error {
	actor, err := actorOf(ctx)
	if err != nil {
		return err
	}
	if db.writer == nil {
		return db.viewPostgres(ctx, actor, read)
	}
	var c *conn
	select {
	case c = <-db.readers:
	case <-ctx.Done():
		return translate(ctx.Err())
	case <-db.writer.done:
		return errClosed
	}
	defer func() { db.readers <- c }()
	if c.raw == nil {
		fresh, err := db.dialReader(ctx)
		if err != nil {
			return translate(err)
		}
		*c = *fresh
	}
	if err := ctx.Err(); err != nil {
		return translate(err)
	}
	// Hazard: a statement that ended while its context did is told as cancelled. BEGIN takes no lock and waits for nobody,
	// so it is left to its end: what it began must be known.
	whole, mark := context.WithoutCancel(ctx), db.mark()
	known := db.memory.Load() // after the mark, or what it knows would seem newer than it is
	if _, err := c.ExecContext(whole, "BEGIN DEFERRED"); err != nil {
		return translate(err)
	}
	defer func() { _, _ = c.ExecContext(whole, "ROLLBACK") }()
	return read(&View{Now: db.now(), Actor: actor, dialect: db.dialect, ctx: ctx, q: c, memory: known, mark: mark})
}

func (db *DB) viewPostgres(ctx context.Context, actor leafward.Actor, read func(*View) error) error {
	var now int64
	var current string
	mark := db.mark()
	tx, err := db.begin(ctx, readOnly, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, "+generation, &now, &current)
	if err != nil {
		return translate(err)
	}
	defer tx.end(ctx)
	return read(&View{
		Now: instant(now).Add(db.config.Clock.Offset()), Actor: actor, dialect: db.dialect, ctx: ctx, q: tx, memory: db.remembered(current), mark: mark,
	})
}

// now is the process's clock, in the resolution of the store.
func (db *DB) now() time.Time { return db.config.Clock.Now().UTC().Truncate(time.Microsecond) }

func actorOf(ctx context.Context) (leafward.Actor, error) {
	actor, ok := leafward.ActorFrom(ctx)
	if !ok {
		return actor, leafward.Errorf(leafward.Internal, "", "the store was asked by nobody: the context carries no actor")
	}
	return actor, nil
}
