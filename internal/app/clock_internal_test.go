package app

import (
	"testing"
	"time"
)

func TestAClockJumpsWhenItMovesOtherwiseThanTimePasses(t *testing.T) {
	begin := time.Now()
	for _, c := range []struct {
		what                string
		shows, before, took time.Duration // from the last look on
		by                  time.Duration
	}{
		{"time passes", time.Minute, time.Minute, 0, 0},
		{"the answer takes long", time.Minute, time.Minute, 30 * time.Second, 0},
		{"the answer takes long and was read at its end", 90 * time.Second, time.Minute, 30 * time.Second, 0},
		{"the clock is set right by a little", time.Minute + 4*time.Second, time.Minute, 0, 0},
		{"it is put forward", time.Hour + time.Minute, time.Minute, 0, time.Hour},
		{"it is put back", -time.Hour, time.Minute, 0, -time.Hour - time.Minute},
		{"it stands still", 0, time.Minute, 0, -time.Minute},
	} {
		h := hand{begin.Round(0), begin}
		if by := h.moved(begin.Add(c.shows), begin.Add(c.before), begin.Add(c.before+c.took)); by != c.by {
			t.Errorf("%s: it jumped by %v, not %v", c.what, by, c.by)
		}
		if by := h.moved(begin.Add(c.shows+time.Second), begin.Add(c.before+c.took+time.Second), begin.Add(c.before+c.took+time.Second)); by.Abs() > c.took {
			t.Errorf("%s: a second later it jumped by %v again", c.what, by)
		}
	}
	var first hand
	if by := first.moved(begin, begin, begin); by != 0 {
		t.Errorf("at the first look it jumped by %v", by)
	}
}
