package ocsp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/leafward/leafward/internal/pki"
)

// Code is an OCSPResponseStatus (RFC 6960 §4.2.1).
type Code int

// The codes of responses. There is no 4.
const (
	Successful       Code = 0
	MalformedRequest Code = 1
	InternalError    Code = 2
	TryLater         Code = 3
	SigRequired      Code = 5
	Unauthorized     Code = 6
)

func (c Code) String() string {
	switch c {
	case Successful:
		return "successful"
	case MalformedRequest:
		return "malformedRequest"
	case InternalError:
		return "internalError"
	case TryLater:
		return "tryLater"
	case SigRequired:
		return "sigRequired"
	case Unauthorized:
		return "unauthorized"
	}
	return fmt.Sprintf("code %d", int(c))
}

// ErrorResponse is the DER of a response that has a code and no more. It is not signed.
func ErrorResponse(code Code) []byte { return []byte{0x30, 3, 0x0a, 1, byte(code)} }

// Status is what a responder says about a certificate.
type Status int

// The statuses; their numbers are the tags of CertStatus.
const (
	Good    Status = 0
	Revoked Status = 1
	Unknown Status = 2
)

func (s Status) String() string {
	switch s {
	case Good:
		return "good"
	case Revoked:
		return "revoked"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("status %d", int(s))
}

// Single is the answer about one certificate. Times are in whole seconds: parts of one are cut off.
type Single struct {
	ID         CertID
	Status     Status
	RevokedAt  time.Time  // when Status is Revoked
	Reason     pki.Reason // when Status is Revoked; not written when unspecified (RFC 5280 §5.3.1)
	ThisUpdate time.Time
	NextUpdate time.Time // zero: newer information is there at any time
}

// ResponseTemplate is what a response says. The responder is named by the SHA-1 hash of its key.
type ResponseTemplate struct {
	Responder  *x509.Certificate // the issuer itself, or a delegate of it, whose certificate then goes with the response
	ProducedAt time.Time
	Singles    []Single
	Nonce      []byte // of the request, nil without one; it goes into the responseExtensions (RFC 9654 §2.1)
}

// Sign encodes and signs the response. The signer holds the responder's key: ECDSA on P-256, P-384 or P-521, RSA (PKCS
// #1 v1.5 with SHA-256) or Ed25519.
func (t ResponseTemplate) Sign(signer crypto.Signer) ([]byte, error) {
	if err := t.check(signer); err != nil {
		return nil, err
	}
	algorithm, err := algorithmOf(signer.Public())
	if err != nil {
		return nil, err
	}
	data, err := t.responseData()
	if err != nil {
		return nil, fmt.Errorf("encoding the OCSP response: %w", err)
	}
	message := data
	if algorithm.hash != 0 {
		h := algorithm.hash.New()
		h.Write(data)
		message = h.Sum(nil)
	}
	signature, err := signer.Sign(rand.Reader, message, algorithm.hash)
	if err != nil {
		return nil, fmt.Errorf("signing the OCSP response: %w", err)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(data)+len(signature)+len(t.Responder.Raw)+128))
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.ENUM, func(b *cryptobyte.Builder) { b.AddUint8(uint8(Successful)) })
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addOID(b, oidBasic)
				b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { t.addBasic(b, data, algorithm, signature) })
			})
		})
	})
	return b.Bytes()
}

// addBasic adds the BasicOCSPResponse.
func (t ResponseTemplate) addBasic(b *cryptobyte.Builder, data []byte, algorithm algorithm, signature []byte) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(data)
		b.AddBytes([]byte(algorithm.identifier))
		b.AddASN1BitString(signature)
		if isDelegate(t.Responder) {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(t.Responder.Raw) })
			})
		}
	})
}

// responseData is the DER of ResponseData, which is what is signed.
func (t ResponseTemplate) responseData() ([]byte, error) {
	_, keyHash, err := IssuerHashes(crypto.SHA1, t.Responder)
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(keyHash) })
		addTime(b, t.ProducedAt)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, s := range t.Singles {
				b.AddASN1(asn1.SEQUENCE, s.append)
			}
		})
		addNonce(b, explicit(1), t.Nonce)
	})
	return b.Bytes()
}

func (s Single) append(b *cryptobyte.Builder) {
	s.ID.append(b)
	switch s.Status {
	case Revoked:
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { // RevokedInfo is tagged implicitly
			addTime(b, s.RevokedAt)
			if s.Reason != pki.Unspecified {
				b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.ENUM, func(b *cryptobyte.Builder) { b.AddUint8(uint8(s.Reason)) })
				})
			}
		})
	default:
		b.AddASN1(asn1.Tag(s.Status).ContextSpecific(), func(*cryptobyte.Builder) {})
	}
	addTime(b, s.ThisUpdate)
	if !s.NextUpdate.IsZero() {
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { addTime(b, s.NextUpdate) })
	}
}

// addTime adds a GeneralizedTime in UTC without fractions of a second (RFC 5280 §4.1.2.5.2).
func addTime(b *cryptobyte.Builder, at time.Time) {
	b.AddASN1GeneralizedTime(at.UTC().Truncate(time.Second))
}

// check finds what would make the response false or unreadable.
func (t ResponseTemplate) check(signer crypto.Signer) error {
	if t.Responder == nil {
		return errors.New("the OCSP response names no responder")
	}
	if key, ok := t.Responder.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(signer.Public()) {
		return errors.New("the signer's key is not the key of the responder's certificate")
	}
	if len(t.Singles) == 0 || len(t.Singles) > MaxCerts {
		return fmt.Errorf("an OCSP response answers about 1 to %d certificates, not %d", MaxCerts, len(t.Singles))
	}
	if len(t.Nonce) > MaxNonce {
		return fmt.Errorf("a nonce has at most %d octets, not %d", MaxNonce, len(t.Nonce))
	}
	for _, s := range t.Singles {
		if err := s.check(t.ProducedAt); err != nil {
			return err
		}
	}
	return nil
}

func (s Single) check(producedAt time.Time) error {
	if err := s.ID.check(); err != nil {
		return err
	}
	switch {
	case s.Status < Good || s.Status > Unknown:
		return fmt.Errorf("%v is none of good, revoked and unknown", s.Status)
	case s.Status == Revoked && (s.Reason.String() == "" || s.Reason == pki.RemoveFromCRL):
		return fmt.Errorf("%d is no reason for a revocation", int(s.Reason))
	case s.Status == Revoked && s.RevokedAt.IsZero():
		return errors.New("the revocation has no time")
	case s.ThisUpdate.IsZero() || s.ThisUpdate.After(producedAt):
		return errors.New("thisUpdate is missing or after producedAt")
	case !s.NextUpdate.IsZero() && !s.NextUpdate.After(s.ThisUpdate):
		return errors.New("nextUpdate is not after thisUpdate")
	}
	return nil
}

// isDelegate says whether the certificate is one that an issuer gave a responder (RFC 6960 §4.2.2.2).
func isDelegate(cert *x509.Certificate) bool {
	for _, usage := range cert.ExtKeyUsage {
		if usage == x509.ExtKeyUsageOCSPSigning {
			return true
		}
	}
	return false
}

// algorithm is how a key signs or signed; identifier is its AlgorithmIdentifier in DER (RFC 4055 §5, RFC 5758 §3.2,
// RFC 8410 §3).
type algorithm struct {
	identifier string
	x509       x509.SignatureAlgorithm
	hash       crypto.Hash
}

func algorithms() []algorithm {
	const ecdsaWith, rsaWith = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03", "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01"
	return []algorithm{
		{ecdsaWith + "\x02", x509.ECDSAWithSHA256, crypto.SHA256},
		{ecdsaWith + "\x03", x509.ECDSAWithSHA384, crypto.SHA384},
		{ecdsaWith + "\x04", x509.ECDSAWithSHA512, crypto.SHA512},
		{rsaWith + "\x0b\x05\x00", x509.SHA256WithRSA, crypto.SHA256},
		{rsaWith + "\x0c\x05\x00", x509.SHA384WithRSA, crypto.SHA384},
		{rsaWith + "\x0d\x05\x00", x509.SHA512WithRSA, crypto.SHA512},
		{"\x30\x05\x06\x03\x2b\x65\x70", x509.PureEd25519, 0},
	}
}

// algorithmOf is how keys of one kind sign here.
func algorithmOf(public crypto.PublicKey) (algorithm, error) {
	want := x509.UnknownSignatureAlgorithm
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Params().BitSize {
		case 256:
			want = x509.ECDSAWithSHA256
		case 384:
			want = x509.ECDSAWithSHA384
		case 521:
			want = x509.ECDSAWithSHA512
		}
	case *rsa.PublicKey:
		want = x509.SHA256WithRSA
	case ed25519.PublicKey:
		want = x509.PureEd25519
	}
	for _, a := range algorithms() {
		if a.x509 == want {
			return a, nil
		}
	}
	return algorithm{}, fmt.Errorf("a key of type %T does not sign OCSP responses", public)
}
