//go:build linux

package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestTheRunInTheMiddleCounts(t *testing.T) {
	run := func(answers int, wait time.Duration) load {
		return load{took: time.Second, waits: []time.Duration{wait}, clients: answers}
	}
	slow, usual, fast := run(1, 3*time.Second), run(2, 2*time.Second), run(3, time.Second)
	for _, order := range [][]load{{slow, usual, fast}, {fast, slow, usual}, {usual, fast, slow}} {
		if got := middle(order, func(l load) int { return l.clients }); got.waits[0] != usual.waits[0] {
			t.Errorf("the middle is the run whose answer took %s", got.waits[0])
		}
	}
	for want, all := range map[float64][]float64{5: {5}, 1: {9, 1}, 4: {9, 1, 4, 7}} {
		if got := middle(all, itself); got != want {
			t.Errorf("the middle of %v is %v, not %v", all, got, want)
		}
	}
}

func TestALineThatMissesItsGoalIsMarkedAndTheLastLinesSaySo(t *testing.T) {
	var out strings.Builder
	table := table{out: &out, progress: newProgress(io.Discard)}
	table.print(row{what: "a thing", figure: "3/s", cpu: 1234 * time.Microsecond, bare: "12/s", ratio: 0.25, goal: "≥ 4/s", missed: true}, sqlite)
	table.print(row{what: "another", figure: "5/s", goal: "≥ 4/s"}, sqlite)
	table.print(row{what: "a third", figure: "6/s"}, postgres)
	table.foot()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{
		"a thing sqlite 3/s 1.23ms 12/s 0.25 SHORT OF ≥ 4/s", "another sqlite 5/s ≥ 4/s", "a third postgres 6/s",
		"1 of 2 lines with a goal reach it.", "short of its goal: a thing on sqlite",
	} {
		if i >= len(lines) {
			t.Fatalf("line %d is missing in\n%s", i, out.String())
		}
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d is %q, not %q", i, got, want)
		}
	}
}
