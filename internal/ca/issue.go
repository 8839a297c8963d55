package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/store"
)

const (
	// Resume is how long after its reservation a serial is signed again for the same request; later it is abandoned.
	Resume = 5 * time.Minute

	// shortest is the least lifetime that is left of a certificate cut to its authority's end.
	shortest = 5 * time.Minute
)

// Order asks an authority for a certificate. Who may have which names, keys, lifetimes and usages was decided before.
type Order struct {
	Authority string // id of an authority, or of an issuer: its active authority
	Request   string // who asks, at most once at a time: asking again with the same id resumes what was begun
	First     bool   // nobody has asked with the id before, so that nothing can have been begun
	Name      string // what the certificate is for, for people; "": the first name
	Subject   pki.Subject
	Names     pki.Names
	PublicKey crypto.PublicKey
	KeyUsage  x509.KeyUsage // zero: digitalSignature
	EKUs      []string      // in order
	TTL       time.Duration // both ends count
	MaxTTL    time.Duration // the longest that is allowed; zero: TTL
	Backdate  time.Duration // how far notBefore lies back, inside TTL

	CutToIssuer bool // a lifetime past the authority's end is cut instead of refused
	ShortLived  bool // without revocation: noRevAvail instead of addresses (RFC 9608)
	PublicLike  bool // the rules for publicly trusted certificates hold

	ocspNoCheck bool
	authority   *below // an authority's certificate instead of a leaf's
}

// below is what an authority's certificate says besides.
type below struct {
	subject []byte // DER
	pathLen int
	ski     []byte
}

// Issued is a signed certificate that nobody has heard of yet: it counts once MarkIssued is committed.
type Issued struct {
	Authority   string
	Serial      string   // minimal lower hex
	Certificate []byte   // DER
	Chain       [][]byte // DER of the certificates above it, without the root
	NotBefore   time.Time
	NotAfter    time.Time
}

// Issue prepares, reserves and signs a certificate. The caller stores it and calls MarkIssued in the same transaction.
//
// The same request asked again within Resume after a crash or failure gets the same serial and content, signed anew; a
// different key is refused. After that, or when the authority is no longer the same, the old serial is closed as
// revoked and a new one made.
func (c *CA) Issue(ctx context.Context, o Order) (Issued, error) {
	if o.Request == "" || o.PublicKey == nil {
		return Issued{}, leafward.Errorf(leafward.Internal, "", "an order without a request or key")
	}
	const tries = 3 // another worker may have reserved for the same request meanwhile
	for try := 1; ; try++ {
		t, err := c.prepare(ctx, o)
		if err != nil {
			return Issued{}, err
		}
		err = c.reserve(ctx, t)
		switch {
		case err == nil:
			return c.sign(t)
		case leafward.KindOf(err) != leafward.Conflict || try == tries:
			return Issued{}, err
		}
	}
}

// token is the right to sign one linted TBSCertificate, once.
type token struct {
	authority *authority
	serial    leafward.Serial // the reservation
	stale     string          // hex of a reservation of the same request to be closed, "" without one
	staleBy   string          // its authority
	spki      string
	below     bool // it is for the certificate of an authority
	own       bool // the authority asks itself, for another or a responder
	resumed   bool // the reservation is stored already
	used      atomic.Bool
}

// prepare makes the token: a stored reservation of the same request while it lasts, else a new draft that was linted.
func (c *CA) prepare(ctx context.Context, o Order) (*token, error) {
	t := &token{below: o.authority != nil, own: o.authority != nil || o.ocspNoCheck}
	spki, err := pki.SPKISHA256(o.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("the public key: %w", err)
	}
	t.spki = spki
	var now time.Time
	var last leafward.Serial
	var asked bool
	err = c.db.View(ctx, func(v *store.View) error {
		now = v.Now
		row, err := locate(v, o.Authority)
		if err != nil {
			return err
		}
		if err := row.Away(); err != nil {
			return err
		}
		if row.State != leafward.AuthorityActive && !(o.ocspNoCheck && row.State == leafward.AuthorityRetiring) {
			return leafward.Errorf(leafward.Conflict, "choose another issuer", "the authority %s is %s and signs no certificates", row.Name, row.State)
		}
		if t.authority, err = c.load(v, row); err != nil {
			return err
		}
		if o.First {
			return nil
		}
		if last, asked, err = v.LastSerial(o.Request); err != nil || !asked {
			return err // what is asked for the first time is held against the key when it is reserved
		}
		return usable(v, t)
	})
	if err != nil {
		return nil, err
	}
	if asked && last.State == leafward.SerialIssued {
		return nil, leafward.Errorf(leafward.Conflict, "read the certificate, or ask with a new request", "the request %s got its certificate already: serial %s", o.Request, last.Serial)
	}
	if asked && last.State == leafward.SerialReserved {
		if resumable(last, t.authority.ID, now) {
			t.resumed, t.serial = true, last
			return t, sameKey(last, o.PublicKey)
		}
		t.stale, t.staleBy = last.Serial, last.Authority
	}
	return t, c.draft(t, o, now)
}

// present refuses what an authority was to sign for itself and whose key went offline meanwhile: it does not go while
// anything is reserved. An issuer is switched off before the key of its authority goes.
func present(tx *store.Tx, t *token) error {
	if !t.own {
		return nil
	}
	row, err := tx.Authority(t.authority.ID)
	if err != nil {
		return err
	}
	return row.Away()
}

// usable refuses a key that must not be certified: a compromised one, and for a leaf that of an authority.
func usable(v *store.View, t *token) error {
	key, found, err := v.KeyPairOf(t.spki)
	switch {
	case err != nil || !found:
		return err
	case !key.CompromisedAt.IsZero():
		return leafward.Errorf(leafward.Denied, "make a new key", "the key was reported as compromised on %s", key.CompromisedAt.Format(time.DateOnly))
	}
	_, authority, err := v.FindAuthority(key.Holder)
	if err == nil && authority && !t.below {
		return leafward.Errorf(leafward.Denied, "make a key of its own", "the key is that of the authority %s", key.Holder)
	}
	return err
}

// resumable tells whether a reservation may still be signed. One from the future was made by another clock.
func resumable(s leafward.Serial, authority string, now time.Time) bool {
	age := now.Sub(s.CreatedAt)
	return s.Authority == authority && age < Resume && age > -Resume && !s.NotBefore.After(now) && s.NotAfter.After(now)
}

// sameKey refuses to resume a request with another key.
func sameKey(s leafward.Serial, pub crypto.PublicKey) error {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err == nil && !bytes.Contains(s.TBS, spki) {
		err = leafward.Errorf(leafward.Conflict, "send the key that the request began with, or make a new request", "the request %s is being signed for another key", s.Subject)
	}
	return err
}

// draft builds and lints what is to be signed.
func (c *CA) draft(t *token, o Order, now time.Time) error {
	template, err := c.template(t.authority, o, now)
	if err != nil {
		return err
	}
	issuer, err := pki.IssuerOf(t.authority.cert)
	if err != nil {
		return err
	}
	draft, err := c.dummy.BuildTBS(template, issuer, o.PublicKey)
	if err != nil {
		return refused(err)
	}
	options := lint.Options{Now: now, MaxTTL: cmp.Or(o.MaxTTL, o.TTL), Backdate: o.Backdate, EKUs: o.EKUs, PublicLike: o.PublicLike, InternalNames: true, CommonNameOnly: true}
	check := c.lint.Check
	if o.authority != nil {
		check = c.lint.CheckCA
	}
	if err := check(draft.Certificate, t.authority.cert, options); err != nil {
		return refused(err)
	}
	if o.authority == nil && !o.ocspNoCheck {
		if err := c.checkBelow(t.authority, draft); err != nil {
			return refused(err)
		}
	}
	hash := sha256.Sum256(draft.TBS)
	t.serial = leafward.Serial{
		Authority: t.authority.ID, Serial: pki.SerialHex(template.Serial), State: leafward.SerialReserved, Name: o.label(), Subject: o.Request,
		NotBefore: template.NotBefore, NotAfter: template.NotAfter(), TBS: draft.TBS, TBSHash: hash[:], NoCheck: template.NoRevAvail || template.OCSPNoCheck,
	}
	return nil
}

// checkBelow holds a draft against what binds everything below its authority.
func (c *CA) checkBelow(a *authority, draft pki.Draft) error {
	bound := []*x509.Certificate{a.cert}
	for _, der := range a.above {
		cert, err := pki.ParseCertificate(der)
		if err != nil {
			return err
		}
		bound = append(bound, cert)
	}
	return c.dummy.CheckBelow(draft, bound)
}

// refused is the answer to an order that no certificate can be made of.
func refused(err error) error {
	return &leafward.Error{Kind: leafward.Invalid, Message: "the certificate would not be right: " + err.Error(), Fix: "ask for other names, another key or another lifetime", Cause: err}
}

// label is what people call the certificate.
func (o Order) label() string {
	all := o.Names.All()
	switch {
	case o.Name != "":
		return o.Name
	case o.Subject.CommonName != "":
		return o.Subject.CommonName
	case len(all) > 0:
		return all[0]
	}
	return o.Request
}

// template is the certificate that the order asks for, at a moment.
func (c *CA) template(a *authority, o Order, now time.Time) (pki.Template, error) {
	t := pki.Template{Serial: pki.NewSerial(), Subject: o.Subject, Names: o.Names, KeyUsage: o.KeyUsage, EKUs: o.EKUs, TTL: o.TTL, OCSPNoCheck: o.ocspNoCheck}
	t.NotBefore = now.Add(-o.Backdate).Truncate(time.Second)
	if a.cert.NotBefore.After(now) {
		return t, leafward.Errorf(leafward.Later, "see that the clock is right", "the authority %s begins on %s, and the clock shows %s", a.Name, a.cert.NotBefore.UTC().Format(time.RFC3339), now.Format(time.RFC3339))
	}
	if t.NotBefore.Before(a.cert.NotBefore) {
		t.NotBefore = a.cert.NotBefore
	}
	if end := t.NotAfter(); end.After(a.cert.NotAfter) {
		left := a.cert.NotAfter.Sub(t.NotBefore) + time.Second
		if !o.CutToIssuer || left-o.Backdate < shortest {
			return t, leafward.Errorf(leafward.Invalid, "ask for a shorter lifetime, or let the profile cut it to the authority's end",
				"the certificate would end on %s, after its authority %s on %s", end.UTC().Format(time.RFC3339), a.Name, a.cert.NotAfter.UTC().Format(time.RFC3339))
		}
		t.TTL = left
	}
	t.CAIssuers = c.urls(PathCA, a.ID)
	switch {
	case o.authority != nil:
		t.CA, t.PathLen, t.RawSubject, t.SKI = true, o.authority.pathLen, o.authority.subject, o.authority.ski
		t.CRLDistributionPoints = c.urls(PathCRL, a.ID)
	case o.ShortLived:
		t.NoRevAvail = true
	case !o.ocspNoCheck:
		t.CRLDistributionPoints, t.OCSPServers = c.urls(PathCRL, a.ID), c.urls(PathOCSP, a.ID)
	}
	return t, nil
}

// reserve stores the intent. A Conflict says that another worker reserved for the same request.
func (c *CA) reserve(ctx context.Context, t *token) error {
	if !t.resumed {
		err := c.db.Write(ctx, func(tx *store.Tx) error {
			if err := usable(&tx.View, t); err != nil {
				return err
			}
			if err := present(tx, t); err != nil {
				return err
			}
			if t.stale != "" {
				if err := abandon(tx, t.staleBy, t.stale); err != nil {
					return err
				}
			}
			row := t.serial
			tx.AddSerial(&row)
			return tx.Err()
		})
		if err != nil {
			return err
		}
	}
	return c.points.Hit("ca.after-reserve")
}

// sign signs the token's TBSCertificate, once, and releases the certificate only if it holds that byte for byte.
func (c *CA) sign(t *token) (Issued, error) {
	if t.used.Swap(true) {
		return Issued{}, errors.New("the token was used already")
	}
	if hash := sha256.Sum256(t.serial.TBS); !bytes.Equal(hash[:], t.serial.TBSHash) {
		return Issued{}, leafward.Errorf(leafward.Internal, "restore the database from a backup", "what was reserved under serial %s is not what was linted", t.serial.Serial)
	}
	signer, err := c.signer(t.authority)
	if err != nil {
		return Issued{}, err
	}
	der, err := pki.SignTBS(t.serial.TBS, signer)
	if err != nil {
		return Issued{}, err
	}
	if err := c.points.Hit("ca.after-sign"); err != nil {
		return Issued{}, err
	}
	return Issued{Authority: t.authority.ID, Serial: t.serial.Serial, Certificate: der, Chain: t.authority.chain(), NotBefore: t.serial.NotBefore, NotAfter: t.serial.NotAfter}, nil
}
