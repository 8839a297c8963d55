//go:build !testhooks

package hook

import (
	"testing"
	"time"
)

func TestAReleaseHasNoHooks(t *testing.T) {
	if Enabled || Handler(NewClock(time.Now()), NewPoints()) != nil {
		t.Error("a release can be reached by hooks")
	}
	if NewClock(time.Unix(0, 0)).Offset() != 0 {
		t.Error("a release's clock can be moved")
	}
	points := NewPoints()
	if n := testing.AllocsPerRun(100, func() { _ = points.Hit("anywhere") }); n != 0 {
		t.Errorf("a point costs %v allocations", n)
	}
}
