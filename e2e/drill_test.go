//go:build linux

package e2e_test

import (
	"math/rand/v2"
	"testing"

	"github.com/leafward/leafward/internal/drilltest"
)

var (
	drills = drilltest.Flags()
	long   = drills.Long
)

// sized is the size of a drill in its present form.
func sized(short, inLong int) int { return drills.Sized(short, inLong) }

// seed is the one that was given, or a new one.
func seed() uint64 { return drills.Seed() }

// publish adds lines to the board.
func publish(t testing.TB, lines string) {
	t.Helper()
	drills.Add(t, lines)
}

// drill is one drill on one engine.
type drill struct{ *drilltest.Drill }

// newDrill begins a drill of the scoreboard on an engine.
func newDrill(t *testing.T, id, on string) *drill {
	t.Helper()
	return &drill{drills.New(t, id, on)}
}

// random is a source for one of the drill's hands.
func (d *drill) random(hand int) *rand.Rand { return d.Random(hand) }

// measured adds a figure to the drill's line.
func (d *drill) measured(format string, args ...any) { d.Measured(format, args...) }
