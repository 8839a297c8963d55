//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// point is one of the points of a score-card, and what shows it.
type point struct {
	name  string
	shown func(*testing.T)
	apart string // why it does not apply to what stands, instead of what shows it
}

// score shows the points of a card one after the other, and prints how many of them hold, by name. There are exactly as many
// as are listed, and docs/reliability.md publishes the same score.
func score(t *testing.T, card string, listed int, points []point) {
	t.Helper()
	if len(points) != listed {
		t.Errorf("%s has %d points; %d are listed", card, len(points), listed)
	}
	passed, apart, seen := 0, 0, 0
	lines := []string{""}
	for _, p := range points {
		verdict := "not looked at" // the tests to run were chosen by name, or a part is missing
		switch {
		case p.apart != "":
			apart, seen, verdict = apart+1, seen+1, "does not apply: "+p.apart
		case !t.Run(p.name, func(t *testing.T) {
			defer func() {
				if !t.Skipped() {
					seen++
				}
			}()
			p.shown(t)
			if !t.Failed() {
				passed, verdict = passed+1, "passed"
			}
		}):
			verdict = "failed"
		}
		lines = append(lines, "  "+p.name+": "+verdict)
	}
	lines[0] = fmt.Sprintf("%s %d of %d", card, passed, listed-apart)
	if apart > 0 {
		lines[0] += fmt.Sprintf(", %d do not apply", apart)
	}
	if seen == listed {
		published(t, lines[0])
	}
	text := strings.Join(lines, "\n")
	t.Log("\n" + text)
	publish(t, text)
}

// published sees that the page tells the same score.
func published(t *testing.T, line string) {
	t.Helper()
	page, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "| "+line+" |") {
		t.Errorf("docs/reliability.md does not say %q", line)
	}
}
