//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
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

const layout = "%-46s %-9s %-34s %-9s %-11s %-6s %s\n"

func printHead(out io.Writer) {
	fmt.Fprintln(out, machine())
	fmt.Fprintf(out, layout, "what", "engine", "figure", "CPU/op", "bare limit", "ratio", "goal")
	fmt.Fprintln(out, strings.Repeat("─", 150))
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
		goal += ": missed"
	}
	fmt.Fprintf(out, layout, r.what, engine, r.figure, cpu, r.bare, ratio, goal)
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

// perSecond is a rate as it is read.
func perSecond(rate float64) string { return fmt.Sprintf("%.0f/s", rate) }

// short is a duration in milliseconds.
func short(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
