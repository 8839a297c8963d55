package store

import (
	"strings"
	"sync/atomic"
	"time"
)

// Mark is the place of a snapshot among the commits of this process that others hear of: those that change what people
// configure, or what a serial is to whoever asks about it.
type Mark struct {
	Now   time.Time // the snapshot's
	epoch uint64
	taken time.Time // by this machine's clock
}

// maxMark is how long what was read may be used again. Others may commit too: another server, or somebody by hand.
const maxMark = time.Second

// Mark is the place of the view's snapshot.
func (v *View) Mark() Mark {
	m := v.mark
	m.Now = v.Now
	return m
}

// Holds tells whether what people configure and what a serial is to others is still as it was in a snapshot, and what time
// it is by the clock of the snapshot. That a serial is not issued yet does not hold: issuing it is no such commit.
func (db *DB) Holds(m Mark) (now time.Time, holds bool) {
	if m.taken.IsZero() || !db.turns.at(m.epoch) {
		return now, false
	}
	here := db.config.Clock.Now()
	passed, told := here.Sub(m.taken), here.Round(0).Sub(m.taken.Round(0)) // the clock may have been set, or the machine have slept
	if min(passed, told) < 0 || max(passed, told) > maxMark {
		return now, false
	}
	return m.Now.Add(passed).Truncate(time.Microsecond), true
}

// Forget has nothing used again that was read before. Whoever says to a client what another server stored, or an earlier
// request, says nothing else from then on.
func (db *DB) Forget() { db.turns.epoch.Add(1) }

// mark is taken before a snapshot is.
func (db *DB) mark() Mark { return Mark{epoch: db.turns.epoch.Load(), taken: db.config.Clock.Now()} }

// turns count the commits that others hear of.
//
// Hazard: between the commit in the database and the end of its turn, one reader sees the change while another would still
// use what was read before. So nothing holds while a turn lasts, and a reader looks for turns before it looks at the epoch.
type turns struct {
	lasting atomic.Int64
	epoch   atomic.Uint64
}

// at tells whether an epoch is the present one and no turn lasts.
func (t *turns) at(epoch uint64) bool { return t.lasting.Load() == 0 && t.epoch.Load() == epoch }

// turn is one commit of a change that others hear of; the zero one is none.
type turn struct{ of *turns }

// begin begins the turn of a transaction that is about to be committed, unless it has begun.
func (t *turn) begin(all *turns, tx *Tx) {
	if t.of == nil && (tx.steady || tx.heard) {
		t.of = all
		all.lasting.Add(1)
	}
}

// end is for when it is known what became of the commit, before anybody is told.
func (t *turn) end() {
	if t.of != nil {
		t.of.epoch.Add(1)
		t.of.lasting.Add(-1)
		t.of = nil
	}
}

// heard tells whether a statement may change what a serial is to others. A new serial, and the one that is issued, were
// nothing to them before, which nobody remembers.
func heard(query string) bool {
	return written(query) == "serials" && !strings.HasPrefix(query, "INSERT ") && query != issueSerial
}
