//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// measureStart starts servers on empty directories: the median until one is ready, and what the last one holds when it has
// nothing to do.
func measureStart(ctx context.Context, b *bench) ([]row, error) {
	const starts = 5
	var took []time.Duration
	var held int64
	for range starts {
		s, err := b.serve(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, s.ready)
		select {
		case <-time.After(2 * time.Second): // until what only the start needed is given back
		case <-ctx.Done():
		}
		held = max(held, s.memory("VmRSS"))
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	middling := middle(took, itself)
	return []row{
		{what: "start to ready, empty", figure: short(middling), goal: "≤ 500 ms", missed: middling > 500*time.Millisecond},
		{what: "memory when idle", figure: fmt.Sprintf("%.1f MB", float64(held)/1e6), goal: "≤ 40 MB", missed: held > 40e6},
	}, nil
}
