// Package drilltest is the frame of the drills: tests with a short form for `make test` and a long one, `make drill-NAME`, that
// says in a line whether what is claimed holds.
package drilltest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options are the flags of a test binary that has drills.
type Options struct {
	Long  *bool // the drills run in their long forms
	seed  *uint64
	board *string

	mu sync.Mutex // one at a time writes to the board
}

// Flags defines the flags; once in each test binary that has drills.
func Flags() *Options {
	return &Options{
		Long:  flag.Bool("drill.long", false, "run the drills in their long forms"),
		seed:  flag.Uint64("drill.seed", 0, "seed of the drills; 0: a new one for each"),
		board: flag.String("drill.board", "", "file in which each drill renews its line, and to which score-cards add theirs"),
	}
}

// Seed is the one that was given, or a new one.
func (o *Options) Seed() uint64 {
	if *o.seed != 0 {
		return *o.seed
	}
	return rand.Uint64()
}

// Add writes lines that are no drill's at the end of the board.
func (o *Options) Add(t testing.TB, lines string) {
	t.Helper()
	if *o.board == "" {
		return
	}
	f, err := os.OpenFile(*o.board, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, lines); err != nil {
		t.Fatal(err)
	}
}

// Sized is the size of a drill in its present form.
func (o *Options) Sized(short, inLong int) int {
	if *o.Long {
		return inLong
	}
	return short
}

// Drill is one drill on one engine. At its end it says in a line whether it holds, with what was measured.
type Drill struct {
	*testing.T
	Seed uint64

	options *Options
	id, on  string
	mu      sync.Mutex
	figures []string
}

// New begins a drill of the scoreboard on an engine. Until its end the board says that it falls short, so that one that
// panics, is killed or takes too long does not leave the line of an earlier run.
func (o *Options) New(t *testing.T, id, on string) *Drill {
	t.Helper()
	d := &Drill{T: t, Seed: o.Seed(), options: o, id: id, on: on}
	d.write(d.line("falls short", "it did not come to its end"))
	t.Cleanup(d.conclude)
	return d
}

// Random is a source for one of the drill's hands.
func (d *Drill) Random(hand int) *rand.Rand { return rand.New(rand.NewPCG(d.Seed, uint64(hand))) }

// Measured adds a figure to the drill's line.
func (d *Drill) Measured(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.figures = append(d.figures, fmt.Sprintf(format, args...))
}

// conclude prints the line, and renews it on the board.
func (d *Drill) conclude() {
	verdict := "holds"
	switch {
	case d.Failed(), panics():
		verdict = "falls short"
	case d.Skipped():
		verdict = "was skipped"
	}
	line := d.line(verdict, d.figures...)
	d.Log(line)
	d.write(line)
}

// panics tells whether the test is being left by a panic, of which it does not know yet.
func panics() bool { return strings.Contains(string(debug.Stack()), "\npanic(") }

// line is what is said of the drill.
func (d *Drill) line(verdict string, figures ...string) string {
	form := "short form"
	if *d.options.Long {
		form = "long form"
	}
	return fmt.Sprintf("%s %s on %s: %s", d.id, verdict, d.on, strings.Join(append(figures[:len(figures):len(figures)], form, time.Now().Format(time.DateOnly), fmt.Sprintf("-drill.seed=%d", d.Seed)), ", "))
}

func (d *Drill) write(line string) {
	if *d.options.board == "" {
		return
	}
	d.options.mu.Lock()
	defer d.options.mu.Unlock()
	if err := renew(*d.options.board, d.id, d.on, line); err != nil {
		d.Errorf("the board: %v", err)
	}
}
