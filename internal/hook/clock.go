//go:build testhooks

package hook

import (
	"sync/atomic"
	"time"
)

// Enabled says whether this is a build for tests.
const Enabled = true

// Clock is the system's clock moved by an offset. Its methods may be called from several goroutines.
type Clock struct{ offset, skew atomic.Int64 }

// NewClock makes a clock that shows start now; the zero time means the system's time.
func NewClock(start time.Time) *Clock {
	c := &Clock{}
	if !start.IsZero() {
		c.Set(start)
	}
	return c
}

// Now is the time of day, moved. Timers and contexts keep running on the system's clock.
func (c *Clock) Now() time.Time {
	now := time.Now().Add(c.Offset())
	if c != nil {
		now = now.Add(time.Duration(c.skew.Load()))
	}
	return now
}

// Offset is how far the clock is moved ahead of the system's.
func (c *Clock) Offset() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.offset.Load())
}

// Skew has Now be off what Offset says: the clock of this machine alone, beside that of the database.
func (c *Clock) Skew(d time.Duration) { c.skew.Store(int64(d)) }

// Advance moves the clock on, or back when d is negative.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// Set moves the clock to t, at most 292 years from now.
func (c *Clock) Set(t time.Time) { c.offset.Store(int64(time.Until(t))) }
