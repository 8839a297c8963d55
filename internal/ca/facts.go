package ca

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
)

// reading is what the table of serials said, and when.
type reading struct {
	fact fact
	mark store.Mark
}

type serialKey struct{ authority, serial string }

// facts are what was read of serials in the last second. Every answer is made of them, so that no two of this process
// contradict each other.
//
// Hazard: of two snapshots of one serial, the one that is heard of later may be the older. So only one is looked at at a time:
// the next begins when the last is remembered.
type facts struct {
	mu      sync.Mutex
	recent  map[serialKey]reading
	older   map[serialKey]reading
	looking map[serialKey]*glance
}

// glance is a look that is under way; what it gave is there when over is closed.
type glance struct {
	over chan struct{}
	reading
	err error
}

// maxRecent is how many serials are remembered before those before them are forgotten.
const maxRecent = 8192

// known gives what was read, whether it still holds or not.
func (f *facts) known(key serialKey) (reading, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.find(key)
}

func (f *facts) find(key serialKey) (r reading, ok bool) {
	if r, ok = f.recent[key]; !ok {
		r, ok = f.older[key]
	}
	return r, ok
}

// of gives what a serial is, and what time it is. Of a look that began after we came everybody who waits has the result.
func (f *facts) of(ctx context.Context, db *store.DB, key serialKey) (r reading, now time.Time, err error) {
	var first *glance // that was under way when we came
	for {
		f.mu.Lock()
		r, ok := f.find(key)
		if ok {
			if now, ok = db.Holds(r.mark); ok {
				f.mu.Unlock()
				return r, now, nil
			}
		}
		others := f.looking[key]
		if others == nil {
			break
		}
		f.mu.Unlock()
		select {
		case <-others.over:
		case <-ctx.Done():
			return r, now, ctx.Err()
		}
		if first != nil && others != first && others.err == nil {
			return others.reading, others.mark.Now, nil
		}
		if first == nil {
			first = others
		}
	}
	g := &glance{over: make(chan struct{}), err: errUnseen}
	if f.looking == nil {
		f.looking = make(map[serialKey]*glance)
	}
	f.looking[key] = g
	f.mu.Unlock()
	defer f.end(key, g)
	g.reading, g.err = look(ctx, db, key)
	return g.reading, g.mark.Now, g.err
}

// errUnseen is the outcome of a look that panicked.
var errUnseen = errors.New("the serial was not looked at")

// end remembers what a look gave, and lets the next one begin.
func (f *facts) end(key serialKey, g *glance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.looking, key)
	if g.err == nil {
		f.keep(key, g.reading)
	}
	close(g.over)
}

// look reads a serial.
func look(ctx context.Context, db *store.DB, key serialKey) (r reading, err error) {
	err = db.View(ctx, func(v *store.View) error {
		s, found, err := v.Serial(key.authority, key.serial)
		r = reading{factOf(s, found), v.Mark()}
		return err
	})
	return r, err
}

// keep remembers a reading; the lock is held. What is unknown may be issued at any moment.
func (f *facts) keep(key serialKey, r reading) {
	if f.recent == nil || len(f.recent) >= maxRecent {
		f.recent, f.older = make(map[serialKey]reading), f.recent
	}
	if r.fact.status != ocsp.Unknown {
		f.recent[key] = r
		return
	}
	delete(f.recent, key)
	delete(f.older, key)
}

// answerers are the authorities that answer, by where a question came and by whom it names.
type answerers struct {
	mu    sync.Mutex
	known map[string]answerer
}

type answerer struct {
	authority string
	mark      store.Mark
}

const maxAnswerers = 1024

// answerer finds the authority that a question is about, "" when it is not about one of ours. Here is the id that the
// question came to; for a request that is wrong, it is only made sure that this is one of ours.
func (c *CA) answerer(ctx context.Context, here string, request ocsp.Request) (a answerer, err error) {
	key := here
	for _, cert := range request.Certs {
		key += "\x00" + string(cert.NameHash) + string(cert.KeyHash)
	}
	c.answerers.mu.Lock()
	known := c.answerers.known[key]
	c.answerers.mu.Unlock()
	if _, holds := c.db.Holds(known.mark); holds {
		return known, nil
	}
	err = c.db.View(ctx, func(v *store.View) error {
		row, err := locate(v, here)
		if err != nil {
			return err
		}
		a = answerer{mark: v.Mark()}
		for i, cert := range request.Certs {
			authority, err := c.directory.find(c, v, row, cert)
			if err != nil || authority == "" || i > 0 && authority != a.authority {
				a.authority = ""
				return err
			}
			a.authority = authority
		}
		return nil
	})
	if err != nil || a.authority == "" {
		return a, err
	}
	c.answerers.mu.Lock()
	defer c.answerers.mu.Unlock()
	if c.answerers.known == nil || len(c.answerers.known) >= maxAnswerers {
		c.answerers.known = make(map[string]answerer)
	}
	c.answerers.known[key] = a
	return a, nil
}

// read reads every serial that a question names. The moment is the earliest at which one was read, now that of the last.
func (c *CA) read(ctx context.Context, authority string, request ocsp.Request) (all []fact, moment, now time.Time, err error) {
	for _, cert := range request.Certs {
		r, at, err := c.facts.of(ctx, c.db, serialKey{authority, pki.SerialHex(cert.Serial)})
		if err != nil {
			return nil, moment, now, err
		}
		if moment.IsZero() || r.mark.Now.Before(moment) {
			moment = r.mark.Now
		}
		all, now = append(all, r.fact), at
	}
	return all, moment, now, nil
}
