package app

import (
	"context"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

const (
	clockLook    = time.Second      // how often this machine's clock is looked at
	databaseLook = 10 * time.Second // how often the database's is, where it is another
	leastGap     = 5 * time.Minute  // by how much the last event must lie in the future for a clock to have jumped while no server ran
	leastJump    = 5 * time.Second  // what counts as a jump; clocks that are set right little by little move less
)

// hand is a clock as it was last seen: what it showed, and when that was by the count of time that nobody sets.
type hand struct {
	showed time.Time // without a count of its own
	at     time.Time
}

// moved is how far the clock moved beside the time that passed, since it was last seen; 0 where that is not much. It was read
// between the two moments.
func (h *hand) moved(shows, before, after time.Time) time.Duration {
	shows = shows.Round(0)
	last := *h
	*h = hand{shows, after}
	if last.at.IsZero() {
		return 0
	}
	by := shows.Sub(last.showed)
	least, most := before.Sub(last.at), after.Sub(last.at)
	switch {
	case by < least-leastJump:
		return by - least
	case by > most+leastJump:
		return by - most
	}
	return 0
}

// watchClock tells of clocks that jump, until the context ends: this machine's, and the database's where that is another.
func (a *App) watchClock(ctx context.Context) error {
	ctx = leafward.WithActor(ctx, leafward.System("clock"))
	if a.behind != 0 {
		a.jumped(ctx, "record", -a.behind)
	}
	tick := time.NewTicker(clockLook)
	defer tick.Stop()
	var machine, database hand
	var asked time.Time
	for {
		before := time.Now()
		if by := machine.moved(a.clock.Now(), before, time.Now()); by != 0 {
			a.jumped(ctx, "machine", by)
		}
		if a.db.Engine() == "postgres" && time.Since(asked) >= databaseLook {
			asked = time.Now()
			var shows time.Time
			if err := a.db.View(ctx, func(v *store.View) error { shows = v.Now; return nil }); err == nil {
				if by := database.moved(shows, asked, time.Now()); by != 0 {
					a.jumped(ctx, "database", by)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// compareRecord sees whether the clock shows less than the last event on record: it was ahead then, or is set back now. It is
// asked before this server writes its first event, which would be the last one from then on.
func (a *App) compareRecord(ctx context.Context) error {
	return a.db.View(ctx, func(v *store.View) error {
		last, err := v.LastRecorded()
		if last.After(v.Now.Add(leastGap)) {
			a.behind = last.Sub(v.Now)
		}
		return err
	})
}

// jumped tells of a jump, and has everything that hangs on the time look again.
func (a *App) jumped(ctx context.Context, whose string, by time.Duration) {
	by = by.Round(time.Second)
	a.log.ErrorContext(ctx, "the clock jumped: see that NTP keeps it right", "clock", whose, "by", by)
	a.metrics.jumps.WithLabelValues(whose).Inc()
	a.verbs.engine.CompareClocks(ctx)
	a.nudge()
	err := a.db.Write(ctx, func(tx *store.Tx) error {
		tx.Record(leafward.ClockJumped, a.name, "", leafward.Details{"clock": whose, "by_seconds": int64(by / time.Second), "shows": tx.Now.Format(time.RFC3339)})
		return nil
	})
	if err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "a jump of the clock is not on record", "clock", whose, "by", by, "error", err)
	}
}
