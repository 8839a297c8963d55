package job

import (
	"testing"
	"time"
)

func TestAClockHasSettledWhenItHasGoneOnEvenly(t *testing.T) {
	begin := time.Now()
	var e evenness
	for _, c := range []struct {
		what             string
		shows, at, since time.Duration
	}{
		{"at the first look", 0, 0, 0},
		{"time passes", time.Minute, time.Minute, time.Minute},
		{"it is set right by a little", 2*time.Minute + 30*time.Second, 2 * time.Minute, 2 * time.Minute},
		{"it is put back", -time.Hour, 3 * time.Minute, 0},
		{"time passes there", -time.Hour + time.Minute, 4 * time.Minute, time.Minute},
		{"it is put right", 5 * time.Minute, 5 * time.Minute, 0},
		{"time passes here", 25 * time.Minute, 25 * time.Minute, 20 * time.Minute},
		{"it is put forward", time.Hour, 26 * time.Minute, 0},
	} {
		if since := e.stretch(begin.Add(c.shows), begin.Add(c.at)); since != c.since {
			t.Errorf("%s: it goes on evenly for %v, not %v", c.what, since, c.since)
		}
	}
}

func TestAClockThatIsOffTheDatabasesHasNotSettled(t *testing.T) {
	e := &Engine{config: Config{Settle: time.Hour}}
	now := time.Now()
	e.even = evenness{now.Add(-2 * time.Hour), now.Add(-2 * time.Hour)}
	if wait := e.unsettled(now); wait != 0 {
		t.Errorf("after two hours it settles in %v", wait)
	}
	e.skew = -2 * time.Hour
	if wait := e.unsettled(now); wait != time.Hour {
		t.Errorf("off the database's it settles in %v", wait)
	}
	e.skew = 0
	if wait := e.unsettled(now); wait != time.Hour {
		t.Errorf("just after that it settles in %v", wait)
	}
}
