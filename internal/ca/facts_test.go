package ca_test

import (
	"context"
	"crypto"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// watched is a certificate with whether its revocation was acknowledged, or told by an answer.
type watched struct {
	ca.Issued
	requests [][]byte
	over     atomic.Bool
}

// tell asks once and says what is wrong with the answer.
func (w *world) tell(c *watched, request []byte) error {
	over := c.over.Load()
	answer, err := w.Respond(w.ctx, ca.LocalIssuer, request)
	if err != nil {
		return err
	}
	response, err := ocsp.ParseResponse(answer.DER)
	if err != nil || len(response.Singles) == 0 {
		return fmt.Errorf("the answer is %v: %w", response.Code, err)
	}
	revoked := response.Singles[0].Status == ocsp.Revoked
	if over && !revoked {
		return fmt.Errorf("%s is %v after it was said to be revoked", c.Serial, response.Singles[0].Status)
	}
	if revoked {
		c.over.Store(true)
	}
	return nil
}

func TestNoAnswerTakesARevocationBackWhateverWasKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, publicURL)
		var all []*watched
		for i := range 12 {
			c := &watched{Issued: w.issue(t, order(t, fmt.Sprint("r-", i)))}
			c.requests = [][]byte{w.ask(t, crypto.SHA1, nil, c.Serial), w.ask(t, crypto.SHA256, nil, c.Serial), w.ask(t, crypto.SHA1, []byte("12345678"), c.Serial)}
			all = append(all, c)
		}
		ctx, stop := context.WithCancel(w.ctx)
		var asking sync.WaitGroup
		for n := range 4 {
			asking.Go(func() {
				for i := n; ctx.Err() == nil; i++ {
					c := all[i/7%len(all)]
					if err := w.tell(c, c.requests[i%len(c.requests)]); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for _, c := range all {
			if _, err := w.revoke(c.Issued, leafward.Superseded); err != nil {
				t.Error(err)
			}
			c.over.Store(true)
			for _, request := range c.requests {
				if err := w.tell(c, request); err != nil {
					t.Error(err)
				}
			}
		}
		stop()
		asking.Wait()
	})
}

func TestAHoldThatIsLiftedIsForgottenAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, publicURL)
		issued := w.issue(t, order(t, "r-1"))
		plain := w.ask(t, crypto.SHA1, nil, issued.Serial)
		for range 3 {
			if _, response := w.respond(t, plain); response.Singles[0].Status != ocsp.Good {
				t.Errorf("it is %v", response.Singles[0].Status)
			}
			if _, err := w.revoke(issued, leafward.CertificateHold); err != nil {
				t.Fatal(err)
			}
			if _, response := w.respond(t, plain); response.Singles[0].Status != ocsp.Revoked {
				t.Errorf("on hold it is %v", response.Singles[0].Status)
			}
			check(t, w.release(issued))
		}
	})
}

// openWith opens a store, as one of several servers does.
func openWith(t *testing.T, c store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), c)
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	check(t, db.Migrate(t.Context(), storetest.Seed(db)))
	return db
}

func TestAServerSeesSoonWhatAnotherRevokesAndDoesNotTakeItBack(t *testing.T) {
	c := store.Config{URL: pgtest.DSN(t)}
	here := start(t, openWith(t, c), "")
	there := *here
	there.config.DB = openWith(t, c)
	other := there.restart(t, "")
	for i := range 3 {
		c := &watched{Issued: here.issue(t, order(t, fmt.Sprint("r-", i)))}
		c.requests = [][]byte{here.ask(t, crypto.SHA1, nil, c.Serial), here.ask(t, crypto.SHA256, nil, c.Serial), here.ask(t, crypto.SHA1, []byte("12345678"), c.Serial)}
		for _, request := range c.requests {
			check(t, other.tell(c, request))
		}
		if _, err := here.revoke(c.Issued, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
		for n := 0; !c.over.Load(); n++ {
			check(t, other.tell(c, c.requests[n%3]))
		}
		for _, request := range c.requests {
			check(t, other.tell(c, request))
		}
	}
}
