package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"math/big"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
)

const (
	answerLife  = 12 * time.Hour // from thisUpdate to nextUpdate
	answerReuse = time.Hour      // how long a signed answer is given again
	lookAgain   = time.Second    // between two looks for authorities that were not known
)

// Answer is an OCSP response in DER.
type Answer struct {
	DER        []byte
	Code       ocsp.Code
	NextUpdate time.Time     // zero when Code is not Successful
	MaxAge     time.Duration // how long others may keep it: nothing for answers with a nonce, about unknown serials, and errors
}

// answer is a signed response that may be given again while what it says holds.
type answer struct {
	about      serialKey
	mark       store.Mark // when it was found that this authority answers
	fact       fact
	responder  string
	thisUpdate time.Time
	nextUpdate time.Time
	der        []byte
}

// fact is what the table of serials says.
type fact struct {
	status ocsp.Status
	at     int64 // of the revocation, Unix seconds
	reason string
}

// factOf is what a serial is to others. One that is reserved is unknown: its certificate does not exist yet.
func factOf(s leafward.Serial, found bool) fact {
	switch {
	case !found || s.State == leafward.SerialReserved:
		return fact{status: ocsp.Unknown}
	case !s.RevokedAt.IsZero():
		return fact{status: ocsp.Revoked, at: s.RevokedAt.Unix(), reason: s.Reason}
	case s.State == leafward.SerialAbandoned:
		return fact{status: ocsp.Revoked, at: s.CreatedAt.Unix(), reason: leafward.Unspecified}
	}
	return fact{status: ocsp.Good}
}

// Respond answers an OCSP request (RFC 6960) that came for the authority of an authority or issuer id. Which authority
// answers is decided by the issuer's name and key in the request. The error says that the id is unknown or not of this
// server; everything else that goes wrong is told in the answer.
func (c *CA) Respond(ctx context.Context, id string, request []byte) (Answer, error) {
	key := id + "\x00" + string(request)
	if a, ok := c.again(key); ok {
		return a, nil
	}
	caller := ctx
	ctx, stop := context.WithTimeout(system(ctx), patience)
	defer stop()
	parsed, wrong := ocsp.ParseRequest(request)
	if wrong != nil {
		parsed = ocsp.Request{}
	}
	by, err := c.answerer(ctx, id, parsed)
	switch kind := leafward.KindOf(err); {
	case kind == leafward.NotFound || kind == leafward.UnsupportedType:
		return Answer{}, err
	case errors.Is(wrong, ocsp.ErrHash):
		return failure(ocsp.Unauthorized), nil
	case wrong != nil:
		return failure(ocsp.MalformedRequest), nil
	case err == nil && by.authority == "":
		return failure(ocsp.Unauthorized), nil
	case err == nil:
		var a Answer
		if a, err = c.answer(ctx, question{request: parsed, key: key, by: by}); err == nil {
			return a, nil
		}
	}
	if errors.Is(err, errEnded) {
		return failure(ocsp.Unauthorized), nil
	}
	return c.tryLater(caller, err), nil
}

// tryLater is the answer when something went wrong here; never is it good.
func (c *CA) tryLater(caller context.Context, err error) Answer {
	if caller.Err() == nil {
		c.log.ErrorContext(caller, "an OCSP request was answered tryLater", "error", err)
	}
	return failure(ocsp.TryLater)
}

// RespondSerial is Respond for a bare serial number of the authority, in hex with or without leading zeros.
func (c *CA) RespondSerial(ctx context.Context, id, serial string) (Answer, error) {
	number, err := pki.ParseSerialHex(serial)
	if err != nil {
		var p leafward.Problems
		p.Add("serial", err.Error(), "write the serial number in hex")
		return Answer{}, p.Err()
	}
	reading, stop := context.WithTimeout(system(ctx), patience)
	defer stop()
	a, err := c.open(reading, id)
	switch kind := leafward.KindOf(err); {
	case kind == leafward.NotFound || kind == leafward.UnsupportedType:
		return Answer{}, err
	case err != nil:
		return c.tryLater(ctx, err), nil
	}
	request, err := requestFor(a.cert, number)
	if err != nil {
		return Answer{}, err
	}
	return c.Respond(ctx, id, request)
}

func requestFor(issuer *x509.Certificate, serial *big.Int) ([]byte, error) {
	id, err := ocsp.NewCertID(crypto.SHA1, issuer, serial)
	if err != nil {
		return nil, err
	}
	return ocsp.EncodeRequest([]ocsp.CertID{id}, nil)
}

func failure(code ocsp.Code) Answer { return Answer{DER: ocsp.ErrorResponse(code), Code: code} }

// question is a request, and who answers it.
type question struct {
	request ocsp.Request
	key     string // of what is kept: where it came, and the request's octets
	by      answerer
}

// again gives the answer that was signed for the same question, while everything that it says and rests on was looked at
// not long ago.
func (c *CA) again(key string) (Answer, bool) {
	a, ok := c.answers.get(key)
	if !ok {
		return Answer{}, false
	}
	r, ok := c.facts.known(a.about)
	if !ok || r.fact != a.fact {
		return Answer{}, false
	}
	if _, holds := c.db.Holds(a.mark); !holds {
		return Answer{}, false
	}
	now, holds := c.db.Holds(r.mark)
	if !holds || !a.good(now, c.responders.at(a.about.authority, now)) {
		return Answer{}, false
	}
	return a.kept(now), true
}

// answer signs the response, or gives the one again that was signed for the same facts.
func (c *CA) answer(ctx context.Context, q question) (Answer, error) {
	certs := q.request.Certs
	facts, moment, now, err := c.read(ctx, q.by.authority, q.request)
	if err != nil {
		return Answer{}, err
	}
	r, err := c.responder(ctx, q.by.authority, now)
	if err != nil {
		return Answer{}, err
	}
	keep := len(facts) == 1 && len(q.request.Nonce) == 0 && facts[0].status != ocsp.Unknown
	if keep {
		if known, ok := c.answers.get(q.key); ok && known.fact == facts[0] && known.good(now, r) {
			known.mark = q.by.mark
			c.answers.put(q.key, known, len(known.der))
			return known.kept(now), nil
		}
	}
	made := answer{
		about: serialKey{q.by.authority, pki.SerialHex(certs[0].Serial)}, mark: q.by.mark,
		fact: facts[0], responder: r.serial, thisUpdate: moment.Truncate(time.Second),
	}
	made.nextUpdate = made.thisUpdate.Add(answerLife)
	if made.nextUpdate.After(r.cert.NotAfter) {
		made.nextUpdate = r.cert.NotAfter
	}
	template := ocsp.ResponseTemplate{Responder: r.cert, ProducedAt: now, Nonce: q.request.Nonce}
	codes := leafward.RevocationReasons()
	for i, f := range facts {
		single := ocsp.Single{ID: certs[i], Status: f.status, ThisUpdate: made.thisUpdate, NextUpdate: made.nextUpdate}
		if f.status == ocsp.Revoked {
			single.RevokedAt, single.Reason = time.Unix(f.at, 0), pki.Reason(codes[f.reason])
		}
		template.Singles = append(template.Singles, single)
	}
	if made.der, err = template.Sign(r.signer); err != nil {
		return Answer{}, err
	}
	if !keep {
		return Answer{DER: made.der, NextUpdate: made.nextUpdate}, nil
	}
	c.answers.put(q.key, made, len(made.der)+len(made.about.serial))
	return made.kept(now), nil
}

// good tells whether the answer may be given again.
func (a *answer) good(now time.Time, r *responder) bool {
	return r != nil && a.responder == r.serial && !now.Before(a.thisUpdate) && now.Before(a.thisUpdate.Add(answerReuse)) && now.Before(a.nextUpdate)
}

// maxAge bounds how long a cache between us and a client may hide a revocation.
const maxAge = 5 * time.Minute

// kept is the answer for a client that may keep it.
func (a answer) kept(now time.Time) Answer {
	return Answer{DER: a.der, NextUpdate: a.nextUpdate, MaxAge: max(0, min(maxAge, a.nextUpdate.Sub(now)))}
}

// directory knows the authorities of our own by the hashes of OCSP requests. An authority never changes its name or
// key, so that what is known stays true.
type directory struct {
	mu     sync.Mutex
	known  map[string]string // hash of the name and of the key → authority
	ids    map[string]bool   // the authorities among those
	looked time.Time
}

// find gives the authority that issued a certificate, "" when none of ours did. The one that was named beside the
// request is looked at first, so that a new one is known at once.
func (d *directory) find(c *CA, v *store.View, here leafward.Authority, cert ocsp.CertID) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.known, d.ids = make(map[string]string), make(map[string]bool)
	}
	if err := d.add(c, v, here); err != nil {
		return "", err
	}
	key := string(cert.NameHash) + string(cert.KeyHash)
	if id, ok := d.known[key]; ok || time.Since(d.looked) < lookAgain {
		return id, nil
	}
	all, err := v.Authorities()
	if err != nil {
		return "", err
	}
	for _, row := range all {
		if err := d.add(c, v, row); err != nil {
			return "", err
		}
	}
	d.looked = time.Now()
	return d.known[key], nil
}

// add remembers the hashes of an authority of ours.
func (d *directory) add(c *CA, v *store.View, row leafward.Authority) error {
	if d.ids[row.ID] || !row.Ours() || row.Certificate == "" {
		return nil
	}
	own, err := v.CACertificate(row.Certificate)
	if err != nil {
		return err
	}
	issuer, err := c.certificate(own)
	if err != nil {
		return err
	}
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		name, public, err := ocsp.IssuerHashes(hash, issuer)
		if err != nil {
			return err
		}
		d.known[string(name)+string(public)] = row.ID
	}
	d.ids[row.ID] = true
	return nil
}

// RespondPath is Respond for a request in the path of a GET, as it came over the wire and not cleaned (RFC 6960
// appendix A.1).
func (c *CA) RespondPath(ctx context.Context, id, escaped string) (Answer, error) {
	request, err := ocsp.FromPath(escaped)
	if err != nil {
		request = nil // malformed, once the id is known to be ours
	}
	return c.Respond(ctx, id, request)
}
