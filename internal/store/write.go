package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/leafward/leafward"
)

const (
	maxRuns   = 12 // how often at most one change runs because of others
	maxDoubts = 2  // of those because of a constraint that the change may have been unable to see

	inTheFuture = "22023" // what PostgreSQL says of the number of a transaction that it has not given yet (invalid_parameter_value)
)

// Write runs the function in a transaction and returns when the commit is on disk. The function reads what it changes
// inside, touches nothing outside, and may run more than once. The context must carry an actor; on SQLite cancelling it
// only takes a change that waits out of the queue.
func (db *DB) Write(ctx context.Context, change func(*Tx) error) error {
	actor, err := actorOf(ctx)
	if err != nil {
		return err
	}
	if db.writer != nil {
		return db.writer.submit(ctx, actor, change)
	}
	return db.writePostgres(ctx, actor, change)
}

// run calls the change and catches its panic, so that one bad change does not take the writer down.
func run(tx *Tx, change func(*Tx) error) (err error) {
	defer func() {
		p := recover()
		switch {
		case p != nil && tx.err != nil: // writes that were skipped since may have misled the change
			err = tx.err
		case p != nil:
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	if err := change(tx); err != nil && tx.err == nil {
		tx.err = translate(err)
	}
	if tx.err == nil {
		tx.writeFolds()
		tx.insertEvents()
	}
	return tx.err
}

func (db *DB) writePostgres(ctx context.Context, actor leafward.Actor, change func(*Tx) error) error {
	var t turn
	defer t.end()
	for attempt, doubts := 1, 0; ; attempt++ {
		touched, sent, err := db.tryPostgres(ctx, actor, change, &t)
		if doubtful(err) {
			doubts++
		}
		switch {
		case err == nil:
			db.changes.tell(touched)
			return nil
		case sent.xid != "" && lostConnection(err):
			done, asked := db.committed(ctx, sent)
			if asked == nil && done {
				db.changes.tell(touched)
				return nil
			}
			if asked != nil {
				return translate(err)
			}
		case !again(err) && !lostConnection(err) && (!doubtful(err) || doubts > maxDoubts):
			return translate(err)
		}
		if attempt == maxRuns || ctx.Err() != nil {
			return exhausted(err)
		}
		t.end() // nothing was committed
		wait := time.NewTimer(time.Duration(1+rand.IntN(1<<min(attempt, 7))) * time.Millisecond)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}

// exhausted is the answer when others were faster every time.
func exhausted(err error) error {
	if again(err) {
		return &leafward.Error{Kind: leafward.Later, Message: "the same rows are being changed by many at once", Fix: "try again in a moment", After: second, Cause: err}
	}
	return translate(err)
}

// tryPostgres runs the change once and tells what it touched, and by what it is known when the commit was sent, so that a
// lost answer can be looked up.
func (db *DB) tryPostgres(ctx context.Context, actor leafward.Actor, change func(*Tx) error, t *turn) (touched map[string]bool, sent trace, err error) {
	var now int64
	var id string
	q, err := db.begin(ctx, readWrite, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pg_current_xact_id()::text", &now, &id)
	if err != nil {
		return nil, sent, err
	}
	defer q.end(ctx)
	tx := &Tx{View: View{Actor: actor, dialect: db.dialect, ctx: ctx, q: q, rowsRead: make(map[string]*readRow)}}
	tx.Now = instant(now).Add(db.config.Clock.Offset()).Truncate(time.Microsecond)
	if err := run(tx, change); err != nil {
		return nil, sent, err
	}
	if tx.begetGeneration(); tx.err != nil {
		return nil, sent, tx.err
	}
	if err := db.config.Points.Hit("store.before-commit"); err != nil {
		return nil, sent, err
	}
	t.begin(&db.turns, tx)
	err = q.commit(ctx)
	_ = db.config.Points.Hit("store.after-commit") // nothing can fail any more
	return tx.touched, trace{id, tx.left}, err
}

// trace is what a transaction is known by when nobody heard of its commit. Hazard: after a crash PostgreSQL gives the number
// of a transaction of which nothing was on disk to another, whose status says nothing of ours: what ours left says it.
type trace struct {
	xid  string
	left witness
}

// witness is a query that finds a row if a transaction that wrote it was committed; empty for one that wrote none by its id.
type witness struct {
	query string
	args  []any
}

// committed asks PostgreSQL whether the transaction with the lost answer was committed.
func (db *DB) committed(ctx context.Context, sent trace) (bool, error) {
	var status sql.NullString
	left := func(ctx context.Context) (found bool, err error) {
		if sent.left.query == "" {
			return true, nil
		}
		err = db.pool.QueryRowContext(ctx, "SELECT EXISTS ("+sent.left.query+")", sent.left.args...).Scan(&found)
		return found, err
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*second)
	defer cancel()
	for {
		err := db.pool.QueryRowContext(deadline, "SELECT pg_xact_status($1::xid8)", sent.xid).Scan(&status)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == inTheFuture {
			return false, nil
		}
		if err == nil && status.String == "committed" {
			var found bool
			if found, err = left(deadline); err == nil {
				return found, nil
			}
		} else if err == nil && status.String != "in progress" {
			return false, nil
		}
		if err != nil && !lostConnection(err) {
			return false, err
		}
		wait := time.NewTimer(50 * time.Millisecond)
		select {
		case <-wait.C:
		case <-deadline.Done():
			wait.Stop()
			return false, deadline.Err()
		}
	}
}

// writer owns the one SQLite connection that writes. Changes that come together share one commit. Most are not refused, or
// before they write anything; only where that is otherwise do they run again, each under a savepoint, for which SQLite
// keeps a copy of every page.
type writer struct {
	db     *DB
	conn   *conn
	queue  chan *pending
	quit   chan struct{}
	done   chan struct{}
	head   head
	copier *copier
}

// pending is one change in the queue.
type pending struct {
	ctx    context.Context
	actor  leafward.Actor
	change func(*Tx) error
	tx     *Tx
	err    error
	done   chan struct{}
}

// maxBatch bounds how many changes share one commit, and so how long a reader of the outcome waits.
const maxBatch = 32

// joining is how long after its begin a transaction takes in changes that come meanwhile, besides those that waited: the first of
// many does not wait for all of them.
const joining = 5 * time.Millisecond

var errClosed = &leafward.Error{Kind: leafward.Later, Message: "the server is stopping", Fix: "try again when it is back", After: 2 * second}

// errEnded says that SQLite ended the whole transaction, not just one change.
var errEnded = errors.New("the transaction ended")

// errMixed says that a change of a batch without savepoints was refused behind something that it wrote.
var errMixed = errors.New("a change was refused that had written")

func newWriter(ctx context.Context, db *DB, c *conn) (*writer, error) {
	if _, err := c.raw.ExecContext(ctx, fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", endlessLog)); err != nil {
		return nil, err
	}
	k, err := newCopier(ctx, db)
	if err != nil {
		return nil, err
	}
	return &writer{db: db, conn: c, copier: k, queue: make(chan *pending, maxBatch), quit: make(chan struct{}), done: make(chan struct{})}, nil
}

func (w *writer) stop() {
	close(w.quit)
	<-w.done
	_ = w.copier.stop()
	_ = w.conn.close()
}

func (w *writer) submit(ctx context.Context, actor leafward.Actor, change func(*Tx) error) error {
	p := &pending{ctx: ctx, actor: actor, change: change, done: make(chan struct{})}
	select {
	case w.queue <- p:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.quit:
		return errClosed
	}
	select {
	case <-p.done:
		return p.err
	case <-w.done:
		select {
		case <-p.done:
			return p.err
		default:
			return errClosed
		}
	}
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case p := <-w.queue:
			w.commit(p)
			w.copier.committed(w.conn)
		case <-w.quit:
			for {
				select {
				case p := <-w.queue:
					w.commit(p)
				default:
					return
				}
			}
		}
	}
}

// commit runs a change, with those that wait or come soon enough, in one transaction. When something ends the whole of it, the changes
// run again one by one, so that each caller hears its own outcome.
func (w *writer) commit(first *pending) {
	if err := first.ctx.Err(); err != nil {
		first.finish(err)
		return
	}
	batch, err := w.transact([]*pending{first}, false)
	if errors.Is(err, errMixed) {
		batch, err = w.transact(batch, true)
	}
	if err != nil && len(batch) > 1 {
		for _, p := range batch {
			p.finish(w.alone(p))
		}
		return
	}
	for _, p := range batch {
		p.finish(errors.Join(err, p.err))
	}
}

// join adds to a batch what waits.
func (w *writer) join(batch []*pending) []*pending {
	for len(batch) < maxBatch {
		select {
		case p := <-w.queue:
			if err := p.ctx.Err(); err != nil {
				p.finish(err)
				continue
			}
			batch = append(batch, p)
		default:
			return batch
		}
	}
	return batch
}

func (w *writer) alone(p *pending) error {
	if _, err := w.transact([]*pending{p}, true); err != nil {
		return err
	}
	return p.err
}

func (p *pending) finish(err error) {
	p.err = err
	close(p.done)
}

// transact is one BEGIN … COMMIT of some changes and, without savepoints, of those that join them. Its error concerns the whole; the
// errors of single changes are left in p.err.
func (w *writer) transact(some []*pending, savepoints bool) (batch []*pending, err error) {
	background, begun := context.Background(), time.Now()
	if _, err := w.conn.ExecContext(background, "BEGIN IMMEDIATE"); err != nil {
		return some, translate(err)
	}
	defer func() {
		if err != nil {
			_, _ = w.conn.ExecContext(background, "ROLLBACK")
			w.head.known = false
		}
	}()
	wrote, apply := false, w.applyPlain
	if savepoints {
		apply = w.apply
	}
	if batch = some; !savepoints {
		batch = w.join(batch)
	}
	for i := 0; i < len(batch); i++ {
		if err := apply(batch[i]); err != nil {
			return batch, err
		}
		wrote = wrote || batch[i].err == nil
		if !savepoints && time.Since(begun) < joining {
			batch = w.join(batch)
		}
	}
	if !wrote {
		_, err := w.conn.ExecContext(background, "ROLLBACK")
		return batch, translate(err)
	}
	events, err := w.sequence(batch)
	if err != nil {
		return batch, translate(err)
	}
	if err := w.db.config.Points.Hit("store.before-commit"); err != nil {
		return batch, err
	}
	var t turn
	defer t.end()
	for _, p := range batch {
		t.begin(&w.db.turns, p.tx)
	}
	_, err = w.conn.ExecContext(background, "COMMIT")
	_ = w.db.config.Points.Hit("store.after-commit") // nothing can fail any more
	if slices.ContainsFunc(batch, func(p *pending) bool { return p.tx.steady }) {
		w.db.memory.Store(newMemory("")) // before anybody is told; also when nobody knows what became of the commit
	}
	if err == nil {
		w.db.fresh.add(events)
		w.db.changes.tell(touchedBy(batch))
	}
	return batch, translate(err)
}

// touchedBy is what the changes of a batch that were not refused wrote.
func touchedBy(batch []*pending) map[string]bool {
	all := make(map[string]bool)
	for _, p := range batch {
		if p.err == nil {
			maps.Copy(all, p.tx.touched)
		}
	}
	return all
}

// applyPlain runs one change without a savepoint: it is errMixed when there is something to undo.
func (w *writer) applyPlain(p *pending) error {
	q := &noting{conn: w.conn}
	p.tx = w.begin(p, q)
	if p.err = run(p.tx, p.change); p.err == nil {
		return nil
	}
	if q.wrote || !alone(p.err) {
		return errMixed
	}
	p.tx.events = nil
	return nil
}

// noting is a connection that notes whether anything but SELECT was asked of it.
type noting struct {
	*conn
	wrote bool
}

func (n *noting) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	n.wrote = true
	return n.conn.ExecContext(ctx, query, args...)
}

// Later is ExecContext: SQLite is here.
func (n *noting) Later(ctx context.Context, query string, args ...any) error {
	_, err := n.ExecContext(ctx, query, args...)
	return err
}

// Must is ExecContext: it is errStale at once.
func (n *noting) Must(ctx context.Context, query string, args ...any) error {
	return must(ctx, n, query, args)
}

func (n *noting) QueryContext(ctx context.Context, query string, args ...any) (rows, error) {
	n.wrote = n.wrote || !strings.HasPrefix(query, "SELECT ")
	return n.conn.QueryContext(ctx, query, args...)
}

// begin is what a change is given.
func (w *writer) begin(p *pending, q querier) *Tx {
	return &Tx{View: View{Now: w.db.now(), Actor: p.actor, dialect: w.db.dialect, ctx: context.Background(), q: q, rowsRead: make(map[string]*readRow)}}
}

// apply runs one change under a savepoint, again while it meets stale rows.
func (w *writer) apply(p *pending) error {
	background := context.Background()
	for attempt := 1; ; attempt++ {
		if _, err := w.conn.ExecContext(background, "SAVEPOINT change"); err != nil {
			return translate(err)
		}
		p.tx = w.begin(p, w.conn)
		p.err = run(p.tx, p.change)
		if p.err != nil {
			p.tx.events = nil
			if _, err := w.conn.ExecContext(background, "ROLLBACK TO change"); err != nil {
				return errors.Join(p.err, errEnded)
			}
		}
		if _, err := w.conn.ExecContext(background, "RELEASE change"); err != nil {
			return errors.Join(p.err, translate(err))
		}
		if !errors.Is(p.err, errStale) {
			return nil
		}
		if attempt == maxRuns {
			p.err = exhausted(p.err)
			return nil
		}
	}
}
