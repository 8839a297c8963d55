package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// copier keeps SQLite's write-ahead log short. It copies what the log holds into the database file beside the writer, which copies
// what came meanwhile, as a rule little; then the log begins anew. SQLite itself would have whoever commits copy all of it, while
// everybody waits. (https://sqlite.org/wal.html, Checkpointing)
type copier struct {
	conn   *conn
	look   chan struct{} // the log may be long
	copied atomic.Bool   // so much of a long log that the writer can do the rest; until it did, the copier rests
	done   chan struct{}

	commits int // the writer's, since somebody looked
	looked  time.Time
}

// When the log is looked at, and from how many pages on it is copied. What is copied seldom is written to the database file less often,
// and the pages of one copy are what a reader and a start after a crash search.
const (
	lookCommits = 16
	lookAfter   = 50 * time.Millisecond
	longLog     = 4000
	littleLog   = 200
	mostCopies  = 3
	endlessLog  = 2 * longLog // from here on whoever commits copies what readers leave, unless the copier is at it
)

var (
	errCopied = errors.New("another connection copies the log")
	errHeld   = errors.New("a reader needs what is in the log")
)

func newCopier(ctx context.Context, db *DB) (*copier, error) {
	c, err := db.dial(ctx)
	if err != nil {
		return nil, err
	}
	k := &copier{conn: c, look: make(chan struct{}, 1), done: make(chan struct{})}
	go k.run()
	return k, nil
}

func (k *copier) run() {
	defer close(k.done)
	for range k.look {
		if k.copied.Load() {
			continue
		}
		// What goes wrong, such as a full disk, the next look meets again; nothing depends on it.
		if pages, moved, err := checkpoint(k.conn, "NOOP"); err == nil && pages >= longLog && k.copy(moved) == nil {
			k.copied.Store(true)
		}
	}
}

// copy copies the log, of which some pages are copied already, and then what came meanwhile, which is less and less, until little is
// left for the writer. It is errHeld where a reader needs what is not copied.
func (k *copier) copy(before int) error {
	for range mostCopies {
		_, moved, err := checkpoint(k.conn, "PASSIVE")
		if err != nil {
			return err
		}
		if moved == before {
			return errHeld
		}
		before = moved
		pages, moved, err := checkpoint(k.conn, "NOOP")
		if err != nil || pages-moved < littleLog {
			return err
		}
	}
	return nil
}

// committed is what the writer calls behind each commit.
func (k *copier) committed(writing *conn) {
	if k.copied.Load() {
		if _, _, err := checkpoint(writing, "PASSIVE"); err == nil {
			k.copied.Store(false)
		}
	}
	if k.commits++; k.commits < lookCommits && time.Since(k.looked) < lookAfter {
		return
	}
	k.commits, k.looked = 0, time.Now()
	select {
	case k.look <- struct{}{}:
	default: // it is at it
	}
}

// stop ends the copying; the writer must not commit any more.
func (k *copier) stop() error {
	select {
	case <-k.look:
	default:
	}
	close(k.look)
	<-k.done
	return k.conn.close()
}

// checkpoint copies as much of the log as it can without waiting for anybody, or, by NOOP, nothing; it tells how many pages the log
// has and how many of them are copied. One that copies meets errCopied where another does.
func checkpoint(c *conn, how string) (pages, moved int, err error) {
	found, err := c.QueryContext(context.Background(), "PRAGMA wal_checkpoint("+how+")")
	if err != nil {
		return 0, 0, err
	}
	var busy int
	for found.Next() {
		err = errors.Join(err, found.Scan(&busy, &pages, &moved))
	}
	if err = errors.Join(err, found.Err(), found.Close()); err == nil && (busy != 0 || pages < 0) {
		err = errCopied
	}
	return pages, moved, err
}
