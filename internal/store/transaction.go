package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// transaction is one on PostgreSQL. Statements that nobody waits for go with the next one that somebody waits for, and
// cost no round trip of their own.
type transaction struct {
	lease *sql.Conn // of the pool; the transaction alone uses it, and so its conn, until it ends
	conn  *pgx.Conn
	queue *pgx.Batch // what nobody waits for
	musts []int      // places in the queue of what must touch a row
	ended bool
}

const (
	readWrite = "BEGIN ISOLATION LEVEL REPEATABLE READ"
	readOnly  = readWrite + " READ ONLY"
)

// begin begins a transaction and, in the same round trip, reads one row into targets. End must follow.
func (db *DB) begin(ctx context.Context, how, first string, targets ...any) (t *transaction, err error) {
	const tries = 3 // a connection that lay idle may be dead, and nothing has been done
	for range tries {
		if t, err = db.tryBegin(ctx, how, first, targets); err == nil || !lostConnection(err) {
			return t, err
		}
	}
	return nil, err
}

func (db *DB) tryBegin(ctx context.Context, how, first string, targets []any) (*transaction, error) {
	lease, err := db.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	t := &transaction{lease: lease, queue: &pgx.Batch{}}
	err = lease.Raw(func(raw any) error {
		t.conn = raw.(*stdlib.Conn).Conn()
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, lease.Close())
	}
	t.queue.Queue(how)
	rows, err := t.QueryContext(ctx, first)
	if err == nil {
		if rows.Next() {
			err = rows.Scan(targets...)
		}
		err = errors.Join(err, rows.Close())
	}
	if err != nil {
		t.end(ctx)
		return nil, err
	}
	return t, nil
}

// end gives the connection back, after undoing what was not committed.
func (t *transaction) end(ctx context.Context) {
	if !t.ended && !t.conn.IsClosed() {
		undo, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*second)
		defer stop()
		_, _ = t.conn.Exec(undo, "ROLLBACK") // the pool drops a connection on which that failed
	}
	_ = t.lease.Close()
}

// commit sends what waits and commits. What must touch a row is known to have done so before.
func (t *transaction) commit(ctx context.Context) error {
	if len(t.musts) > 0 {
		if err := t.Settle(ctx); err != nil {
			return err
		}
	}
	t.queue.Queue("COMMIT")
	results, err := t.send(ctx)
	if err != nil {
		return err
	}
	tag, err := results.Exec()
	if wrong := results.Close(); err == nil {
		err = wrong
	}
	if err == nil && tag.String() != "COMMIT" {
		err = pgx.ErrTxCommitRollback
	}
	t.ended = err == nil
	return err
}

// Later queues a statement whose outcome nobody waits for.
func (t *transaction) Later(_ context.Context, query string, args ...any) error {
	t.queue.Queue(query, args...)
	return nil
}

// Must queues a statement of which nobody waits for more than that it touches a row.
func (t *transaction) Must(_ context.Context, query string, args ...any) error {
	t.musts = append(t.musts, t.queue.Len())
	t.queue.Queue(query, args...)
	return nil
}

// Settle waits for everything that is queued.
func (t *transaction) Settle(ctx context.Context) error {
	n := t.queue.Len()
	if n == 0 {
		return nil
	}
	last := slices.Contains(t.musts, n-1)
	results, err := t.send(ctx)
	if err != nil {
		return err
	}
	tag, err := results.Exec()
	if wrong := results.Close(); err == nil {
		err = wrong
	}
	if err == nil && last && tag.RowsAffected() == 0 {
		err = errStale
	}
	return err
}

// Drop forgets what is queued.
func (t *transaction) Drop() { t.queue, t.musts = &pgx.Batch{}, nil }

// send sends the queue and reads what came of all but the last of it, which is left to the caller.
func (t *transaction) send(ctx context.Context) (pgx.BatchResults, error) {
	queue, musts := t.queue, t.musts
	t.Drop()
	results := t.conn.SendBatch(ctx, queue)
	for i := range queue.Len() - 1 {
		tag, err := results.Exec()
		if must := len(musts) > 0 && musts[0] == i; must {
			musts = musts[1:]
			if err == nil && tag.RowsAffected() == 0 {
				err = errStale
			}
		}
		if err != nil {
			_ = results.Close()
			return nil, err
		}
	}
	return results, nil
}

// ExecContext sends what waits with a statement and tells how many rows that touched.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if t.queue.Len() == 0 {
		tag, err := t.conn.Exec(ctx, query, args...)
		return driver.RowsAffected(tag.RowsAffected()), err
	}
	t.queue.Queue(query, args...)
	results, err := t.send(ctx)
	if err != nil {
		return nil, err
	}
	tag, err := results.Exec()
	if wrong := results.Close(); err == nil {
		err = wrong
	}
	return driver.RowsAffected(tag.RowsAffected()), err
}

// QueryContext sends what waits with a query.
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (rows, error) {
	if t.queue.Len() == 0 {
		found, err := t.conn.Query(ctx, query, args...)
		return &answer{Rows: found}, err
	}
	t.queue.Queue(query, args...)
	results, err := t.send(ctx)
	if err != nil {
		return nil, err
	}
	found, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return &answer{found, results}, nil
}

// answer is what came of a query, with the results that it is the last of, if any.
type answer struct {
	pgx.Rows
	results pgx.BatchResults
}

// Close ends the reading and tells what went wrong in it.
func (a *answer) Close() error {
	a.Rows.Close()
	err := a.Err()
	if a.results == nil {
		return err
	}
	if wrong := a.results.Close(); err == nil {
		err = wrong
	}
	return err
}
