//go:build !testhooks

package hook

import (
	"net/http"
	"time"
)

// Enabled says whether this is a build for tests.
const Enabled = false

// Clock is the system's clock.
type Clock struct{}

// NewClock makes a clock; the start is for test builds.
func NewClock(time.Time) *Clock { return &Clock{} }

// Now is the time of day.
func (*Clock) Now() time.Time { return time.Now() }

// Offset is how far Now is ahead of the system's clock: nothing.
func (*Clock) Offset() time.Duration { return 0 }

// Points has no failpoints.
type Points struct{}

// NewPoints makes the empty set.
func NewPoints() *Points { return &Points{} }

// Hit does nothing.
func (*Points) Hit(string) error { return nil }

// Handler is nil: a release cannot be reached this way.
func Handler(*Clock, *Points) http.Handler { return nil }
