//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"
)

func TestEveryOperationOfAllRunsIsDoneOnceAndOnTheRecord(t *testing.T) {
	b := bench{progress: newProgress(io.Discard), runs: 3, clients: 4, time: time.Millisecond}
	var mu sync.Mutex
	seen := map[int]int{}
	l, err := b.repeated(t.Context(), func() time.Duration { return 0 }, "nothing", func(_ context.Context, n int) error {
		mu.Lock()
		defer mu.Unlock()
		seen[n]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(seen) {
		if seen[n] != 1 {
			t.Errorf("operation %d was done %d times", n, seen[n])
		}
	}
	if len(l.waits) == 0 || len(l.waits) >= len(seen) {
		t.Errorf("the run in the middle has %d of %d operations", len(l.waits), len(seen))
	}
	if l.at(0) > l.at(0.5) || l.at(0.5) > l.at(1) {
		t.Errorf("the waits are not in order: %s, %s, %s", l.at(0), l.at(0.5), l.at(1))
	}
}

func TestALoadEndsWithItsFirstFailure(t *testing.T) {
	broken := errors.New("broken")
	_, err := put(t.Context(), func() time.Duration { return 0 }, 4, time.Minute, func(_ context.Context, n int) error {
		if n == 10 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("it ends with %v", err)
	}
}
