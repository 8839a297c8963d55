package hook

import (
	"testing"
	"time"
)

func TestNilHooksAreTheSystemsTimeAndNoFailpoints(t *testing.T) {
	var clock *Clock
	var points *Points
	if clock.Offset() != 0 || time.Since(clock.Now()).Abs() > time.Minute {
		t.Error("a nil clock does not show the system's time")
	}
	if err := points.Hit("anywhere"); err != nil {
		t.Error(err)
	}
	if err := NewPoints().Hit("anywhere"); err != nil {
		t.Error(err)
	}
	if NewClock(time.Time{}).Offset().Abs() > time.Minute {
		t.Error("a clock without a start does not show the system's time")
	}
}
