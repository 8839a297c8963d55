package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

const (
	responderLife     = 14 * 24 * time.Hour // renewed at half
	responderBackdate = 5 * time.Minute
	responderRetry    = time.Minute // after a renewal that failed
)

// errEnded says that nobody answers for an authority: its own certificate is over, or the last that it signed, or its last
// responder, and it makes no other because it is retired or its key is offline. RFC 6960 §2.3 calls that unauthorized.
var errEnded = errors.New("the authority has no responder any more")

// responder is a delegate that signs OCSP responses for one authority. Its key lies sealed in the database, so that all
// replicas share it and a start needs no write.
type responder struct {
	serial  string
	cert    *x509.Certificate
	signer  crypto.Signer
	renewed time.Time // not before then is another one tried
}

// valid tells whether its answers verify at a moment.
func (r *responder) valid(now time.Time) bool {
	return r != nil && !now.Before(r.cert.NotBefore) && now.Before(r.cert.NotAfter)
}

// fresh tells whether it is in the first half of its life.
func (r *responder) fresh(now time.Time) bool {
	return r.valid(now) && now.Before(r.cert.NotBefore.Add(r.cert.NotAfter.Sub(r.cert.NotBefore)/2))
}

// responders are the delegates that were used, one slot for each authority.
type responders struct {
	mu    sync.Mutex
	slots map[string]*slot
}

type slot struct {
	mu      sync.Mutex
	current *responder
}

func (r *responders) slot(authority string) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		r.slots = map[string]*slot{}
	}
	if r.slots[authority] == nil {
		r.slots[authority] = &slot{}
	}
	return r.slots[authority]
}

// at is the delegate in memory, nil when it is to be looked for.
func (r *responders) at(authority string, now time.Time) *responder {
	s := r.slot(authority)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.serves(now) {
		return s.current
	}
	return nil
}

// serves tells whether no other is to be looked for.
func (r *responder) serves(now time.Time) bool {
	return r.fresh(now) || r.valid(now) && now.Before(r.renewed)
}

// responder gives the authority's delegate: the one in memory, the one in the database, or a new one. One that cannot
// be renewed serves to its end.
func (c *CA) responder(ctx context.Context, id string, now time.Time) (*responder, error) {
	s := c.responders.slot(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.serves(now) {
		return s.current, nil
	}
	next, err := c.nextResponder(context.WithoutCancel(ctx), id, now) // it serves everybody, not only who asked
	if err != nil && s.current.valid(now) {
		c.log.ErrorContext(ctx, "the OCSP responder cannot be renewed; the old one stays", "authority", id, "error", err)
		s.current.renewed = now.Add(responderRetry)
		return s.current, nil
	}
	if err != nil {
		return nil, err
	}
	s.current = next
	return next, nil
}

// PrepareResponders makes what is needed to answer for every authority of ours before anybody asks, so that a full disk
// or a lost database later keeps no answer away.
func (c *CA) PrepareResponders(ctx context.Context) error {
	ctx = system(ctx)
	var rows []leafward.Authority
	var now time.Time
	err := c.db.View(ctx, func(v *store.View) (err error) {
		now = v.Now
		rows, err = v.Authorities()
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, row := range rows {
		if row.Custody != leafward.CustodyLocal || row.Certificate == "" {
			continue
		}
		if _, err := c.responder(ctx, row.ID, now); err != nil && !errors.Is(err, errEnded) {
			failed = append(failed, fmt.Errorf("the OCSP responder of %s: %w", row.Name, err))
		}
	}
	return errors.Join(failed...)
}

func (c *CA) nextResponder(ctx context.Context, id string, now time.Time) (*responder, error) {
	var stored store.Responder
	var a *authority
	err := c.db.View(ctx, func(v *store.View) error {
		row, err := v.Authority(id)
		if err != nil {
			return err
		}
		if a, err = c.load(v, row); err != nil {
			return err
		}
		stored, _, err = v.Responder(id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if now.After(a.cert.NotAfter) {
		return nil, errEnded
	}
	last := a.State == leafward.AuthorityRetired || a.Away() != nil // no other is made
	if len(stored.DER) > 0 {
		old, err := c.openResponder(stored)
		if err == nil && (old.fresh(now) || old.valid(now) && (last || !old.cert.NotAfter.Before(a.cert.NotAfter))) {
			old.renewed = now.Add(responderRetry)
			return old, nil
		}
	}
	if last {
		return nil, errEnded
	}
	made, err := c.makeResponder(ctx, a)
	if err != nil && len(stored.DER) > 0 {
		if old, broken := c.openResponder(stored); broken == nil && old.valid(now) {
			old.renewed = now.Add(responderRetry)
			return old, nil
		}
	}
	return made, err
}

func (c *CA) openResponder(r store.Responder) (*responder, error) {
	cert, err := pki.ParseCertificate(r.DER)
	if err != nil {
		return nil, err
	}
	signer, err := c.ring.Open(keys.Ref{Where: keys.Sealed, Sealed: r.Sealed, Context: responderContext(r.Authority, r.Serial)})
	return &responder{serial: r.Serial, cert: cert, signer: signer}, err
}

func responderContext(authority, serial string) keys.Context {
	return keys.Context{Table: "responders", Column: "sealed", Row: authority + " " + serial}
}

// makeResponder has the authority certify a new key: P-256, for OCSP alone, its own revocation not to be asked for
// (RFC 6960 §4.2.2.2.1).
func (c *CA) makeResponder(ctx context.Context, a *authority) (*responder, error) {
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	if err != nil {
		return nil, err
	}
	issued, err := c.Issue(ctx, Order{
		Authority: a.ID, Request: store.NewID("ocsp"), Name: "OCSP responder of " + a.Name, Subject: pki.Subject{CommonName: "OCSP responder"},
		PublicKey: key.Public(), EKUs: []string{pki.OCSPSigning}, TTL: responderLife, Backdate: responderBackdate, CutToIssuer: true, ocspNoCheck: true,
	})
	if err != nil {
		return nil, fmt.Errorf("certifying an OCSP responder: %w", err)
	}
	sealed, err := c.master.SealKey(responderContext(a.ID, issued.Serial), key)
	if err != nil {
		return nil, err
	}
	row := store.Responder{Authority: a.ID, Serial: issued.Serial, Sealed: sealed, DER: issued.Certificate, NotBefore: issued.NotBefore, NotAfter: issued.NotAfter}
	err = c.db.Write(ctx, func(tx *store.Tx) error {
		tx.PutResponder(&row)
		return MarkIssued(tx, a.ID, issued.Serial)
	})
	if err != nil {
		return nil, err
	}
	cert, err := pki.ParseCertificate(issued.Certificate)
	return &responder{serial: issued.Serial, cert: cert, signer: key}, err
}
