package rest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/lifecycle"
)

// asking is one request to an operation that may be repeated.
type asking struct {
	op   api.Info
	key  string // Idempotency-Key, "" when the request has none
	id   string // of the resource, "" when it is made
	body any
}

// flights are the requests with an Idempotency-Key that this process is answering. What they made is remembered in the
// database, in the transaction that made it; this only keeps a repetition from overtaking the first.
type flights struct {
	mu  sync.Mutex
	now map[string]bool
}

func newFlights() *flights { return &flights{now: make(map[string]bool)} }

// take is false when the same request is being answered already.
func (f *flights) take(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now[key] {
		return false
	}
	f.now[key] = true
	return true
}

func (f *flights) leave(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.now, key)
}

// once calls the handler with what makes a repeated request recognisable. While the first is still being answered, a
// repetition is a Conflict that says to come back.
func (s *server) once(ctx context.Context, a asking, handle func(lifecycle.Once) error) error {
	once := lifecycle.Once{Operation: a.op.ID, Key: a.key, Replayed: new(bool)}
	if a.key == "" {
		return handle(once)
	}
	var p leafward.Problems
	leafward.CheckText(&p, "Idempotency-Key", a.key, leafward.MaxName)
	if err := p.Err(); err != nil {
		return err
	}
	body, err := json.Marshal(a.body)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(a.id + "\n" + string(body)))
	once.Body = sum[:]
	actor, _ := leafward.ActorFrom(ctx)
	flight := actor.ID + "\n" + a.op.ID + "\n" + a.key
	if !s.flights.take(flight) {
		return &leafward.Error{Kind: leafward.Conflict, Message: "the first request with this Idempotency-Key is still being answered", Fix: "send it again in a moment", After: time.Second}
	}
	defer s.flights.leave(flight)
	return handle(once)
}

func replay(once lifecycle.Once) api.Replay { return api.Replay{Replayed: *once.Replayed} }
