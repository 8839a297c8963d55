// Package issuer is the contract of those who sign certificates: one method, and optional ones beside it. Each kind of
// issuer is a folder below this one that exports its [Plugin].
package issuer

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

// Issuer signs certificates.
type Issuer interface {
	// Issue has the certificate signed. Asking again with the same Request.ID goes on with what was begun and never has
	// two certificates made for it on purpose. An error of type *Pending says that the answer comes later.
	Issue(ctx context.Context, r Request) (Chain, error)
}

// Request asks for one certificate. Names, key, lifetime and usages were checked against the profile before.
type Request struct {
	ID    string // of the ask: the same at every retry
	First bool   // nobody has asked with this ID before
	Order string // from the last Pending; "" at first
	Name  string // what the certificate is for, for people

	CommonName   string
	Organization string
	Names        pki.Names
	PublicKey    crypto.PublicKey
	CSR          []byte        // DER of a request by this key, for a CA that wants one; what it asks for besides is not looked at
	EKUs         []string      // in order
	TTL          time.Duration // both ends count
	MaxTTL       time.Duration // the longest that is accepted; zero: TTL
	Backdate     time.Duration // how far notBefore lies back, inside TTL

	CutToIssuer bool // a lifetime past the CA's end is cut instead of refused
	ShortLived  bool // without revocation (RFC 9608)
	PublicLike  bool // the rules for publicly trusted certificates hold
}

// Chain is a signed certificate.
type Chain struct {
	Certificates [][]byte // DER: the leaf, then those above it, without a root
	Authority    string   // id of the authority of our own that signed; "" when an upstream CA did
	Serial       string   // minimal lower hex
}

// Pending says that the CA answers later.
type Pending struct {
	Order string        // what to ask again with
	After time.Duration // when
}

func (p *Pending) Error() string {
	return fmt.Sprintf("the CA has not answered yet; it is asked again in %v", p.After)
}

// Immediate is an Issuer that may sign at once, with a key of its own and asking nobody: what it signs can then be recorded
// behind the signature.
type Immediate interface {
	SignsAtOnce() bool
}

// Revoker is an Issuer whose CA must be told of a revocation. Certificates of authorities of our own are revoked in the
// transaction that records it.
type Revoker interface {
	Revoke(ctx context.Context, certificate []byte, reason string) error
}

// Adviser is an Issuer whose CA says when to renew (RFC 9773).
type Adviser interface {
	Advise(ctx context.Context, certificate []byte) (Advice, error)
}

// Advice is the window in which a CA wants a certificate to be renewed.
type Advice struct {
	Start, End  time.Time
	Explanation string        // URL for people, or ""
	Again       time.Duration // when to ask again
}

// Tester is an Issuer that can find out whether it would be able to sign, without signing a certificate that counts.
type Tester interface {
	// Test tells what it tried, in order; a step that fails is the last. The error means that the test was cut short.
	Test(ctx context.Context) ([]leafward.Step, error)
}

// Plugin is one kind of issuer.
type Plugin struct {
	Type   string // as in the REST contract, such as GenericCA
	Title  string
	Doc    string // one sentence
	Config any    // zero value of the Config struct, for its schema

	// Parse names everything that is wrong with a configuration.
	Parse func(config json.RawMessage) error
	// Open makes the issuer of a stored row.
	Open func(ctx context.Context, id string, config json.RawMessage) (Issuer, error)

	// Create stores a new issuer together with what it needs beside its row. When nil, storing the row is all.
	Create func(ctx context.Context, row leafward.Issuer, config json.RawMessage) (leafward.Issuer, error)
	// Change refuses what cannot be changed in a configuration any more. When nil, everything can.
	Change func(old, changed json.RawMessage) error
	// Delete removes an issuer that nothing uses; match is its ETag or "". When nil, removing the row is all.
	Delete func(ctx context.Context, id, match string) error
}
