package app

import (
	"context"
	"os"
	"runtime/debug"
	gometrics "runtime/metrics"
	"time"
)

const (
	heapLook     = time.Second
	usualPercent = 100      // the collector's, as Go has it
	heapBusy     = 16 << 20 // octets allocated between two looks from which the server is at work
	heapGarbage  = 32 << 20 // octets that may lie about until the collector runs, while the server is at work
)

// watchHeap lets the collector wait while the server is at work and keeps little: it would run after every few megabytes else,
// and take a tenth of the processor. Who sets GOGC decides alone.
func (a *App) watchHeap(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	tick := time.NewTicker(heapLook)
	defer tick.Stop()
	samples := []gometrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	gometrics.Read(samples)
	for percent := usualPercent; ; {
		before := samples[0].Value.Uint64()
		gometrics.Read(samples)
		if wanted := gcPercent(samples[0].Value.Uint64()-before, samples[1].Value.Uint64()); wanted != percent {
			percent = wanted
			debug.SetGCPercent(percent) // which stops the world for a moment
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// gcPercent is how much garbage the collector waits for, in percent of what is kept, after so many octets were allocated
// between two looks.
func gcPercent(allocated, kept uint64) int {
	if allocated < heapBusy {
		return usualPercent
	}
	return max(usualPercent, usualPercent*heapGarbage/int(max(kept, 4<<20))/10*10)
}
