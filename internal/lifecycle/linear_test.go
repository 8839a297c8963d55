//go:build testhooks

package lifecycle_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/store"
)

// ask is what a hand asked, of what, and with what besides.
type ask struct{ verb, of, with string }

// told is what it was told.
type told struct {
	state  string
	with   string
	number int64
}

// witness writes down what many hands do at once.
type witness struct {
	*world
	t       *testing.T
	random  func(hand int) *rand.Rand
	replica *ca.CA // another process on the same database
	begun   time.Time
	mu      sync.Mutex
	seen    []porcupine.Operation
}

// witnesses has so many hands act, so often, on serials, idempotency keys, jobs and CRLs at once, and tells how many
// operations there were. Each kind must be as if one operation had come after the other.
func witnesses(t *testing.T, db *store.DB, random func(hand int) *rand.Rand, hands, each int) int {
	t.Helper()
	w := &witness{world: start(t, db), t: t, random: random, begun: time.Now()}
	linter, err := lint.New()
	check(t, err)
	w.replica, err = ca.New(ca.Config{DB: db, Master: w.master, Lint: linter, Dummy: pki.NewDummy(), BaseURL: "http://pki.example.com", Points: w.points})
	check(t, err)
	ctx, stop := context.WithCancel(w.ctx)
	var loops, all sync.WaitGroup
	for _, c := range []*ca.CA{w.ca, w.replica} {
		loops.Go(func() { w.well(c.Run(ctx)) })
	}
	engine, err := job.New(job.Config{DB: db, Log: slog.New(slog.DiscardHandler), Points: w.points, Worker: "none", Kinds: []job.Kind{{Name: claimed}}, Workers: 1})
	check(t, err)
	serials := make(chan *leafward.Version, hands*each)
	for hand := range hands {
		all.Go(func() { w.act(engine, hand, each, serials) })
	}
	all.Wait()
	stop()
	loops.Wait()
	kinds := map[string][]porcupine.Operation{}
	for _, o := range w.seen {
		kind := models()[o.Input.(ask).verb].kind
		kinds[kind] = append(kinds[kind], o)
	}
	for kind, history := range kinds {
		if !porcupine.CheckOperations(porcupine.Model{Partition: apart, Init: func() any { return told{} }, Step: step}, history) {
			t.Errorf("the %d operations on %s are not as if one had come after the other", len(history), kind)
		}
	}
	return len(w.seen)
}

// claimed is the kind of the jobs that hands claim.
const claimed leafward.JobKind = "claimed"

// act is one hand at work.
func (w *witness) act(engine *job.Engine, hand, each int, serials chan *leafward.Version) {
	r := w.random(hand)
	asked := lifecycle.Asked{CSR: csr(w.t, newKey(w.t), "once.example.com")}
	for n := range each {
		w.well(w.db.Write(w.ctx, func(tx *store.Tx) error {
			_, err := job.Enqueue(tx, &leafward.Job{Kind: claimed, Subject: fmt.Sprintf("%d/%d", hand, n), MaxAttempts: 1000})
			return err
		}))
		w.claim(engine, hand, r)
		w.once(hand, fmt.Sprintf("k%d", n/2), fmt.Sprint(r.IntN(2)), asked)
		w.list(hand, r)
		if n%4 == 0 {
			serials <- w.issue(hand)
		}
		v := <-serials
		w.serial(hand, v, r)
		serials <- v
	}
}

// do does one thing and writes down when it began and ended.
func (w *witness) do(hand int, in ask, f func() (of string, out told)) {
	call := time.Since(w.begun)
	of, out := f()
	ended := time.Since(w.begun)
	if in.of == "" {
		in.of = of
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, porcupine.Operation{ClientId: hand, Input: in, Output: out, Call: int64(call), Return: int64(ended)})
}

// well says that something that must go well did not.
func (w *witness) well(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

// issue has a new certificate signed.
func (w *witness) issue(hand int) (v *leafward.Version) {
	w.do(hand, ask{verb: "issue"}, func() (string, told) {
		name := store.NewID("h") + ".example.com"
		made, err := w.Create(w.ctx, of(name), lifecycle.Asked{CSR: csr(w.t, newKey(w.t), name)}, lifecycle.Once{})
		w.well(err)
		if v = made.Version; v == nil {
			w.t.Errorf("%s was not signed", name)
			v = &leafward.Version{Certificate: made.ID}
		}
		return v.Serial, told{}
	})
	return v
}

// serial holds, releases or asks for a certificate that others may have in hand too.
func (w *witness) serial(hand int, v *leafward.Version, r *rand.Rand) {
	switch r.IntN(5) {
	case 0:
		w.do(hand, ask{"hold", v.Serial, ""}, func() (string, told) {
			_, err := w.Revoke(w.ctx, v.Certificate, lifecycle.Revocation{Reason: leafward.CertificateHold}, lifecycle.Once{})
			w.well(err)
			return "", told{}
		})
	case 1:
		w.do(hand, ask{"release", v.Serial, ""}, func() (string, told) {
			_, err := w.Release(w.ctx, v.Certificate, lifecycle.Once{})
			return "", told{state: answered(w.t, err)}
		})
	default:
		c := []*ca.CA{w.ca, w.replica}[r.IntN(2)]
		w.do(hand, ask{"ask", v.Serial, ""}, func() (string, told) {
			other := *w.world
			other.ca = c
			return "", told{state: fmt.Sprint(other.status(w.t, v).Status)}
		})
	}
}

// answered says whether what was asked for was done or is a conflict.
func answered(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return "done"
	}
	if leafward.KindOf(err) != leafward.Conflict && !errors.Is(err, job.ErrLost) {
		t.Error(err)
	}
	return "conflict"
}

// once sends a request whose key others use too, for the same or for something else.
func (w *witness) once(hand int, key, body string, asked lifecycle.Asked) {
	w.do(hand, ask{"create", key, body}, func() (string, told) {
		once := lifecycle.Once{Operation: "createCertificate", Key: key, Body: []byte(body), Replayed: new(bool)}
		made, err := w.Create(w.ctx, of("once.example.com", func(c *leafward.Certificate) { c.Name = key }), asked, once)
		out := told{state: answered(w.t, err), with: made.ID}
		if *once.Replayed {
			out.state = "replayed"
		}
		return "", out
	})
}

// claim takes a job and gives it back, completes it, or completes it late, when it may be another's.
func (w *witness) claim(engine *job.Engine, hand int, r *rand.Rand) {
	worker := fmt.Sprintf("hand-%d", hand)
	var j leafward.Job
	w.do(hand, ask{verb: "claim"}, func() (string, told) {
		w.well(w.db.Write(w.ctx, func(tx *store.Tx) error {
			all, err := tx.Claim(store.Claim{Worker: worker, Holds: map[leafward.JobKind]time.Duration{claimed: time.Hour}, Lanes: func(string) int { return 0 }, Limit: 1})
			j = leafward.Job{}
			if len(all) == 1 {
				j = all[0]
			}
			return err
		}))
		return j.ID, told{with: worker, number: j.Epoch}
	})
	if j.ID == "" {
		return
	}
	verbs := []string{"complete"}
	if r.IntN(2) == 0 {
		verbs = []string{"give back", "complete"}
	}
	for _, verb := range verbs {
		w.do(hand, ask{verb, j.ID, worker}, func() (string, told) {
			err := w.db.Write(w.ctx, func(tx *store.Tx) error {
				now, err := tx.Job(j.ID)
				if err != nil {
					return err
				}
				if err := job.Held(&now, worker, j.Epoch); err != nil {
					return err
				}
				if verb == "complete" {
					return engine.Complete(tx, &now, nil)
				}
				return engine.Snooze(tx, &now, 0, "")
			})
			return "", told{state: answered(w.t, err), number: j.Epoch}
		})
	}
}

// list reads the CRL at one of two replicas, or what is stored.
func (w *witness) list(hand int, r *rand.Rand) {
	by := r.IntN(3)
	w.do(hand, ask{verb: "list", of: "crl"}, func() (string, told) {
		var made leafward.CRL
		var err error
		switch by {
		case 0:
			made, err = w.ca.CRL(w.ctx, "iss-local")
		case 1:
			made, err = w.replica.CRL(w.ctx, "iss-local")
		default:
			err = w.db.View(w.ctx, func(v *store.View) error {
				row, err := v.Issuer("iss-local")
				if err == nil {
					made, _, err = v.CRL(row.Authority, 0)
				}
				return err
			})
		}
		w.well(err)
		return "", told{number: made.Number, with: fmt.Sprintf("%x", sha256.Sum256(made.DER))}
	})
}

// apart parts a history by what was asked of: each is alone with its like.
func apart(history []porcupine.Operation) (parts [][]porcupine.Operation) {
	of := map[string][]porcupine.Operation{}
	for _, o := range history {
		of[o.Input.(ask).of] = append(of[o.Input.(ask).of], o)
	}
	delete(of, "") // there was nothing to claim
	for _, part := range of {
		parts = append(parts, part)
	}
	return parts
}

// verb is what one operation does to the state of what it is asked of.
type verb struct {
	kind string
	step func(now told, in ask, out told) (legal bool, next told)
}

func step(state, input, output any) (bool, any) {
	in := input.(ask)
	return models()[in.verb].step(state.(told), in, output.(told))
}

// models are the states one by one: of a serial, an idempotency key, a job, and the CRL.
func models() map[string]verb {
	return map[string]verb{
		"issue": {"serials", func(now told, _ ask, _ told) (bool, told) { return now == told{}, told{state: "good"} }},
		"hold":  {"serials", func(now told, _ ask, _ told) (bool, told) { return now.state != "", told{state: "revoked"} }},
		"release": {"serials", func(now told, _ ask, out told) (bool, told) {
			return out.state == "done" == (now.state == "revoked"), told{state: "good"}
		}},
		"ask": {"serials", func(now told, _ ask, out told) (bool, told) { return now.state == out.state, now }},
		"create": {"idempotency keys", func(now told, in ask, out told) (bool, told) {
			switch {
			case now == told{}:
				return out.state == "done", told{state: in.with, with: out.with}
			case now.state != in.with:
				return out.state == "conflict", now
			}
			return out.state == "replayed" && out.with == now.with, now
		}},
		"claim": {"jobs", func(now told, _ ask, out told) (bool, told) {
			return now.state == "" && out.number == now.number+1, told{state: "running", with: out.with, number: out.number}
		}},
		"give back": {"jobs", func(now told, in ask, out told) (bool, told) {
			if held := now == (told{"running", in.with, out.number}); held != (out.state == "done") || !held {
				return !held && out.state != "done", now
			}
			return true, told{number: now.number}
		}},
		"complete": {"jobs", func(now told, in ask, out told) (bool, told) {
			if held := now == (told{"running", in.with, out.number}); held != (out.state == "done") || !held {
				return !held && out.state != "done", now
			}
			return true, told{state: "completed", number: now.number}
		}},
		"list": {"CRLs", func(now told, _ ask, out told) (bool, told) {
			return out.number > now.number || out.number == now.number && out.with == now.with, out
		}},
	}
}
