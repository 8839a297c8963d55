//go:build linux

package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
)

// Drills have a short form for `make test` and a long one, `make drill-NAME`.
var (
	long   = flag.Bool("drill.long", false, "run the drills in their long forms")
	seeded = flag.Uint64("drill.seed", 0, "seed of the drills; 0: a new one for each")
	board  = flag.String("drill.board", "", "file to which each drill and score-card adds its lines")
)

// sized is the size of a drill in its present form.
func sized(short, inLong int) int {
	if *long {
		return inLong
	}
	return short
}

// drill is one drill on one engine. At its end it says in a line whether it holds, with what was measured.
type drill struct {
	*testing.T
	seed uint64

	mu      sync.Mutex
	figures []string
}

// seed is the one that was given, or a new one.
func seed() uint64 {
	if *seeded != 0 {
		return *seeded
	}
	return rand.Uint64()
}

// newDrill begins a drill of the scoreboard on an engine.
func newDrill(t *testing.T, id, on string) *drill {
	t.Helper()
	d := &drill{T: t, seed: seed()}
	t.Cleanup(func() { d.conclude(id, on) })
	return d
}

// random is a source for one of the drill's hands.
func (d *drill) random(hand int) *rand.Rand { return rand.New(rand.NewPCG(d.seed, uint64(hand))) }

// measured adds a figure to the drill's line.
func (d *drill) measured(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.figures = append(d.figures, fmt.Sprintf(format, args...))
}

// conclude prints the line, and adds it to the board.
func (d *drill) conclude(id, on string) {
	if d.Skipped() {
		return
	}
	verdict, form := "holds", "short form"
	if d.Failed() {
		verdict = "falls short"
	}
	if *long {
		form = "long form"
	}
	d.measured("%s, -drill.seed=%d", form, d.seed)
	line := fmt.Sprintf("%s %s on %s: %s", id, verdict, on, strings.Join(d.figures, ", "))
	d.Log(line)
	publish(d, line)
}

// publish adds lines to the board.
func publish(t testing.TB, lines string) {
	t.Helper()
	if *board == "" {
		return
	}
	f, err := os.OpenFile(*board, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, lines); err != nil {
		t.Fatal(err)
	}
}
