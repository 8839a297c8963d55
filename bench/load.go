//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// load is what came of many clients who each ask again as soon as they are answered.
type load struct {
	took    time.Duration
	waits   []time.Duration // of each answer, sorted
	cpu     time.Duration   // of the server meanwhile
	clients int
}

// put loads a server for a while, some times, and returns the load in the middle. Operation n is done once, by one of the
// clients; the first error ends it.
func (b *bench) put(ctx context.Context, s *server, what string, operation func(ctx context.Context, n int) error) (load, error) {
	if b.profile == "" {
		return b.repeated(ctx, s.cpu, what, operation)
	}
	var l load
	var loading sync.WaitGroup
	var err error
	loading.Go(func() { l, err = b.repeated(ctx, s.cpu, what, operation) })
	wrong := s.profile(ctx, filepath.Join(b.profile, what+"-"+b.engine+".pprof"), b.time*time.Duration(b.runs))
	loading.Wait()
	return l, errors.Join(err, wrong)
}

func (b *bench) repeated(ctx context.Context, used func() time.Duration, what string, operation func(ctx context.Context, n int) error) (load, error) {
	var all []load
	done := 0
	for run := range b.runs {
		b.tell("%s, %d of %d", what, run+1, b.runs)
		l, err := put(ctx, used, b.clients, b.time, func(ctx context.Context, n int) error { return operation(ctx, done+n) })
		if err != nil {
			return l, err
		}
		done += len(l.waits)
		all = append(all, l)
	}
	return middle(all, load.rate), nil
}

// put loads something once; used tells what it has used of the processor.
func put(ctx context.Context, used func() time.Duration, clients int, most time.Duration, operation func(ctx context.Context, n int) error) (load, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var working sync.WaitGroup
	var failed error
	l := load{clients: clients}
	next, begun, spent := 0, time.Now(), used()
	take := func(last time.Duration, err error) (n int, more bool) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed = errors.Join(failed, err)
			cancel()
		} else if last > 0 {
			l.waits = append(l.waits, last)
		}
		if ctx.Err() != nil || next > 0 && time.Since(begun) >= most {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range clients {
		working.Go(func() {
			for n, more := take(0, nil); more; {
				at := time.Now()
				err := operation(ctx, n)
				n, more = take(time.Since(at), err)
			}
		})
	}
	working.Wait()
	l.took, l.cpu = time.Since(begun), used()-spent
	if failed == nil && len(l.waits) == 0 {
		failed = errors.New("nothing was done")
	}
	slices.Sort(l.waits)
	return l, failed
}

func (l load) rate() float64 { return float64(len(l.waits)) / l.took.Seconds() }

// at is the wait that a part of the answers, between 0 and 1, did not exceed.
func (l load) at(part float64) time.Duration { return l.waits[int(part*float64(len(l.waits)-1))] }

// row is the load as a line of the table.
func (l load) row(what string, bare float64) row {
	r := row{
		what: what, figure: fmt.Sprintf("%s, p50 %s, p99 %s", perSecond(l.rate()), short(l.at(0.5)), short(l.at(0.99))),
		cpu: l.cpu / time.Duration(len(l.waits)),
	}
	if bare > 0 {
		r.bare, r.ratio = perSecond(bare), l.rate()/bare
	}
	return r
}

// bare does something without a server for a while, some times, and returns how often a second in the middle one.
func (b *bench) bare(workers int, what string, operation func(n int) error) (rate float64, err error) {
	var rates []float64
	for run := range b.runs {
		b.tell("the bare limit of %s, %d of %d", what, run+1, b.runs)
		rate, err := repeat(workers, b.time, operation)
		if err != nil {
			return 0, err
		}
		rates = append(rates, rate)
	}
	return middle(rates, itself), nil
}

// repeat does something on every core for a while and returns how often a second.
func repeat(workers int, most time.Duration, operation func(n int) error) (rate float64, err error) {
	var mu sync.Mutex
	var working sync.WaitGroup
	done, begun := 0, time.Now()
	for w := range workers {
		working.Go(func() {
			mine := 0
			var wrong error
			for n := w; wrong == nil && time.Since(begun) < most; n += workers {
				if wrong = operation(n); wrong == nil {
					mine++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			done += mine
			err = errors.Join(err, wrong)
		})
	}
	working.Wait()
	return float64(done) / time.Since(begun).Seconds(), err
}
