package job

import "time"

// DefaultSettle is how long a clock must have gone on evenly before it is believed that what lies in its future was written by
// one that was ahead. The rows alone do not tell that from a clock that was set back by mistake: in both cases they are dated
// later than now. A mistake is mended within minutes, by NTP or by whoever made it, and acting on it would move deadlines and
// renew what is in use; a clock that was put right stays, and what waited for years waits a quarter of an hour more.
const DefaultSettle = 15 * time.Minute

// evenness is since when a clock has gone on as time passes.
type evenness struct {
	showed time.Time // the first reading of the stretch
	since  time.Time // when that was, by the count of time that nobody sets
}

// stretch takes a reading and tells for how long the clock has gone on evenly.
func (e *evenness) stretch(shows, at time.Time) time.Duration {
	passed := at.Sub(e.since)
	if e.since.IsZero() || (shows.Sub(e.showed)-passed).Abs() > stopSkew {
		*e, passed = evenness{shows, at}, 0
	}
	return passed
}

// unsettled is how long the clock must yet go on evenly before anything is set back by it, after the engine began, the clock
// jumped, or this machine's and the database's differed: 0 when it has.
func (e *Engine) unsettled(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.skew.Abs() > stopSkew {
		e.even = evenness{}
		return e.config.Settle
	}
	return max(e.config.Settle-e.even.stretch(now.Round(0), time.Now()), 0)
}
