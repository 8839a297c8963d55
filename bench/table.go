//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is one line of the table.
type row struct {
	what   string
	figure string
	cpu    time.Duration // of the server, for one operation
	bare   string        // limit measured in the same run, "" where there is none
	ratio  float64       // of figure and limit; 0 where there is none
	goal   string        // what it should be, "" where nothing is said
	missed bool          // the goal
}

// table is what is printed, line by line.
type table struct {
	out      io.Writer
	progress *progress
	goals    int
	missed   []string
}

const layout = "%-46s %-9s %-38s %-9s %-11s %-6s %s\n"

// head says where and how the figures come about.
func (t *table) head(disk string, b bench) {
	fmt.Fprintln(t.out, machine())
	fmt.Fprintf(t.out, "%s; loads of %s, the middle one of %d; the machine's load before: %s\n", disk, b.time, b.runs, busy())
	fmt.Fprintf(t.out, layout, "what", "engine", "figure", "CPU/op", "bare limit", "ratio", "goal")
	fmt.Fprintln(t.out, strings.Repeat("─", 150))
}

func (t *table) print(r row, engine string) {
	t.progress.clear()
	r.print(t.out, engine)
	if r.goal != "" {
		t.goals++
	}
	if r.missed {
		t.missed = append(t.missed, r.what+" on "+engine)
	}
}

// foot says how the lines stand to their goals.
func (t *table) foot() {
	t.progress.clear()
	fmt.Fprintf(t.out, "%d of %d lines with a goal reach it.\n", t.goals-len(t.missed), t.goals)
	for _, what := range t.missed {
		fmt.Fprintf(t.out, "short of its goal: %s\n", what)
	}
}

func (r row) print(out io.Writer, engine string) {
	cpu, ratio := "", ""
	if r.cpu > 0 {
		cpu = r.cpu.Round(10 * time.Microsecond).String()
	}
	if r.ratio > 0 {
		ratio = fmt.Sprintf("%.2f", r.ratio)
	}
	goal := r.goal
	if r.missed {
		goal = "SHORT OF " + goal
	}
	line := fmt.Sprintf(layout, r.what, engine, r.figure, cpu, r.bare, ratio, goal)
	fmt.Fprintln(out, strings.TrimRight(line, " \n"))
}

// machine says where the figures are from.
func machine() string {
	model := "unknown processor"
	text, _ := os.ReadFile("/proc/cpuinfo") // it is only words
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%d × %s, %s; the clients run on the same cores", runtime.NumCPU(), model, runtime.Version())
}

// busy is how many programs wanted a core in the last minute, so that a reader sees whether the machine was quiet.
func busy() string {
	text, _ := os.ReadFile("/proc/loadavg") // it is only words
	load, _, _ := strings.Cut(string(text), " ")
	return load
}

// perSecond is a rate as it is read.
func perSecond(rate float64) string { return fmt.Sprintf("%.0f/s", rate) }

// short is a duration in milliseconds, with what is left of it where it is less than one.
func short(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// middle is the one in the middle by its size, of an even number the lower. There is at least one.
func middle[T any, K cmp.Ordered](all []T, size func(T) K) T {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b T) int { return cmp.Compare(size(a), size(b)) })
	return sorted[(len(sorted)-1)/2]
}

// itself is the size of what has an order of its own.
func itself[K cmp.Ordered](k K) K { return k }
