package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
)

const (
	followPause  = 50 * time.Millisecond  // events that come together are written to disk together
	followShared = 100 * time.Millisecond // how often other replicas' events are looked for
	followAlone  = time.Second            // how often to look when every change is our own
	followRows   = 500
)

// Follower copies the numbered events into the ledger, which lies outside the database, and numbers them while this
// process holds the sequencer's lease. Make one for each process with NewFollower.
type Follower struct {
	db     *DB
	ledger *audit.Ledger
	holder string
	tell   func(*leafward.Event)

	mu      sync.Mutex
	trouble error
}

// NewFollower makes a follower. Holder is unique for each process; tell, which may be nil, hears each event once it is
// in the ledger.
func NewFollower(db *DB, ledger *audit.Ledger, holder string, tell func(*leafward.Event)) *Follower {
	if tell == nil {
		tell = func(*leafward.Event) {}
	}
	return &Follower{db: db, ledger: ledger, holder: holder, tell: tell}
}

// Healthy is nil while the ledger takes every event, else the reason why not.
func (f *Follower) Healthy() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble
}

// Run follows until the context ends. What the ledger cannot take is tried again: it is in the database.
func (f *Follower) Run(ctx context.Context) error {
	ctx = leafward.WithActor(ctx, leafward.System("ledger"))
	every := followAlone
	if f.db.writer == nil {
		every = followShared
	}
	var looking sync.WaitGroup
	defer looking.Wait()
	looking.Go(func() { f.db.lookOnce(ctx) }) // while the log is followed
	for {
		changed := f.db.Changed()
		if err := f.Follow(ctx); ctx.Err() == nil {
			f.note(ctx, err)
		}
		if !pause(ctx, followPause, nil) || !pause(ctx, every, changed) {
			return nil
		}
	}
}

// Follow brings the ledger to where the log is now. The context must carry an actor of all teams.
func (f *Follower) Follow(ctx context.Context) error {
	if err := f.sequence(ctx); err != nil {
		return err
	}
	for {
		n, err := f.copy(ctx)
		if err != nil || n < followRows {
			return err
		}
	}
}

// Leave follows for the last time and lets another process number events at once. The context must carry an actor of all
// teams.
func (f *Follower) Leave(ctx context.Context) error {
	if err := f.Follow(ctx); err != nil || f.db.writer != nil {
		return err
	}
	return f.db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Lease(sequencer, f.holder, 0)
		return err
	})
}

// sequence numbers what waits. It reads first, because a write wakes everybody.
func (f *Follower) sequence(ctx context.Context) error {
	for f.db.writer == nil {
		var waiting int64
		err := f.db.View(ctx, func(v *View) (err error) {
			waiting, _, err = v.AuditLag()
			return err
		})
		if err != nil || waiting == 0 {
			return err
		}
		if n, err := f.db.Sequence(ctx, f.holder); err != nil || n < maxSequence {
			return err
		}
	}
	return nil
}

// copy appends the next events to the ledger.
func (f *Follower) copy(ctx context.Context) (n int, err error) {
	seq, chain := f.ledger.Head()
	events := f.db.fresh.take(seq, chain)
	if len(events) == 0 {
		if events, err = f.read(ctx, seq, chain); err != nil || len(events) == 0 {
			return 0, err
		}
	}
	records := make([]audit.Record, len(events))
	for i := range events {
		records[i] = RecordOf(&events[i])
	}
	if err := f.ledger.Append(records); err != nil {
		return 0, fmt.Errorf("appending to the ledger: %w", err)
	}
	for i := range events {
		f.tell(&events[i])
	}
	return len(events), nil
}

// read reads the events behind the end of the ledger, which must be the same in the database.
func (f *Follower) read(ctx context.Context, seq int64, chain audit.Hash) (events []leafward.Event, err error) {
	err = f.db.View(ctx, func(v *View) error {
		events, err = v.EventsAfter(max(seq-1, 0), followRows+1)
		return err
	})
	if err != nil || seq == 0 {
		return events, err
	}
	if len(events) == 0 || audit.Hash(events[0].Chain) != chain {
		return nil, leafward.Errorf(leafward.Conflict, "stop the server, move the ledger directory away, and let `leafward reconcile --ledger` take over what it knows",
			"the ledger on this machine knows event %d, and the database knows another or none: an older database was put in its place", seq)
	}
	return events[1:], nil
}

// fresh keeps the events that the writer committed last, so that the follower need not read them. What nobody takes in
// time is forgotten: it is in the database.
type fresh struct {
	mu     sync.Mutex
	events []leafward.Event
}

// add keeps the events of a commit.
func (f *fresh) add(events []leafward.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events)+len(events) > followRows {
		f.events = nil
		return
	}
	f.events = append(f.events, events...)
}

// take gives the events that follow an end of the chain, none when they are not all here.
func (f *fresh) take(seq int64, chain audit.Hash) []leafward.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := f.events
	f.events = nil
	for len(events) > 0 && events[0].Seq <= seq {
		events = events[1:]
	}
	if len(events) == 0 || events[0].Seq != seq+1 || audit.Next(chain, audit.Hash(events[0].Leaf)) != audit.Hash(events[0].Chain) {
		return nil
	}
	return events
}

// note keeps why the ledger does not follow, and logs when that begins and ends.
func (f *Follower) note(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil && (f.trouble == nil || f.trouble.Error() != err.Error()):
		f.db.Log().ErrorContext(ctx, "the ledger does not follow the log", "error", err)
	case err == nil && f.trouble != nil:
		f.db.Log().InfoContext(ctx, "the ledger follows the log again", slog.String("holder", f.holder))
	}
	f.trouble = err
}

// pause waits for a while or until woken; it is false when the context ended.
func pause(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
		return false
	}
	return true
}
