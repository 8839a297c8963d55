// Package ocsp reads and writes the Online Certificate Status Protocol: RFC 6960 in the profile of RFC 5019, with
// nonces as RFC 9654 has them. It holds no state and does no I/O.
package ocsp

import (
	"bytes"
	"crypto"
	"crypto/sha1" // the hash of CertIDs and key hashes (RFC 6960 §4.1.1, §4.2.1), not of signatures
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// RequestLimit is the size in octets that a request must stay under.
	RequestLimit = 10_000
	// MaxCerts is how many certificates one request may ask about.
	MaxCerts = 32
	// MaxNonce is the longest nonce in octets (RFC 9654 §2.1); the shortest has one.
	MaxNonce = 128

	maxSerial = 64 // octets; RFC 5280 §4.1.2.2 allows 20
)

// The contents of object identifiers in DER.
const (
	oidSHA1          = "\x2b\x0e\x03\x02\x1a"
	oidSHA256        = "\x60\x86\x48\x01\x65\x03\x04\x02\x01"
	oidBasic         = "\x2b\x06\x01\x05\x05\x07\x30\x01\x01" // id-pkix-ocsp-basic
	oidNonce         = "\x2b\x06\x01\x05\x05\x07\x30\x01\x02"
	oidAcceptable    = "\x2b\x06\x01\x05\x05\x07\x30\x01\x04" // id-pkix-ocsp-response
	oidLocator       = "\x2b\x06\x01\x05\x05\x07\x30\x01\x07" // id-pkix-ocsp-service-locator
	oidPreferredSigs = "\x2b\x06\x01\x05\x05\x07\x30\x01\x08" // id-pkix-ocsp-pref-sig-algs
)

// ErrMalformed is what a request is that a responder answers with MalformedRequest.
var ErrMalformed = errors.New("malformed OCSP request")

// ErrHash is what a well-formed request is that names its issuer by another hash than SHA-1 or SHA-256. No responder
// can know that issuer: Unauthorized is the answer (RFC 5019 §2.2.3).
var ErrHash = errors.New("OCSP request with an unsupported hash algorithm")

// CertID names a certificate by its issuer's name and key and its serial (RFC 6960 §4.1.1). One that was read must not
// be changed: it is written again as it was read.
type CertID struct {
	Hash     crypto.Hash // crypto.SHA1 or crypto.SHA256
	NameHash []byte
	KeyHash  []byte
	Serial   *big.Int

	der []byte // as it was read, so that an answer repeats it octet for octet; empty when made here
}

// NewCertID names the certificate that an issuer gave a serial.
func NewCertID(hash crypto.Hash, issuer *x509.Certificate, serial *big.Int) (CertID, error) {
	name, key, err := IssuerHashes(hash, issuer)
	return CertID{Hash: hash, NameHash: name, KeyHash: key, Serial: serial}, err
}

// IssuerHashes are the hashes by which a CertID names an issuer: of its subject, and of its public key without the
// SubjectPublicKeyInfo around it.
func IssuerHashes(hash crypto.Hash, issuer *x509.Certificate) (name, key []byte, err error) {
	info := cryptobyte.String(issuer.RawSubjectPublicKeyInfo)
	var spki, algorithm cryptobyte.String
	var bits []byte
	if !info.ReadASN1(&spki, asn1.SEQUENCE) || !spki.ReadASN1(&algorithm, asn1.SEQUENCE) || !spki.ReadASN1BitStringAsBytes(&bits) {
		return nil, nil, errors.New("the issuer's certificate holds no public key that can be read")
	}
	switch hash {
	case crypto.SHA1:
		n, k := sha1.Sum(issuer.RawSubject), sha1.Sum(bits)
		return n[:], k[:], nil
	case crypto.SHA256:
		n, k := sha256.Sum256(issuer.RawSubject), sha256.Sum256(bits)
		return n[:], k[:], nil
	}
	return nil, nil, fmt.Errorf("a CertID is made with SHA-1 or SHA-256, not %v", hash)
}

// MatchIssuer says whether the id names this issuer, by name and key.
func MatchIssuer(id CertID, issuer *x509.Certificate) bool {
	name, key, err := IssuerHashes(id.Hash, issuer)
	return err == nil && bytes.Equal(name, id.NameHash) && bytes.Equal(key, id.KeyHash)
}

// Same says whether two ids name the same certificate in the same way.
func (id CertID) Same(other CertID) bool {
	return id.Hash == other.Hash && bytes.Equal(id.NameHash, other.NameHash) && bytes.Equal(id.KeyHash, other.KeyHash) &&
		id.Serial != nil && other.Serial != nil && id.Serial.Cmp(other.Serial) == 0
}

// check finds what an id made here lacks.
func (id CertID) check() error {
	if id.Serial == nil {
		return errors.New("the CertID has no serial")
	}
	if id.Hash != crypto.SHA1 && id.Hash != crypto.SHA256 {
		return fmt.Errorf("a CertID is made with SHA-1 or SHA-256, not %v", id.Hash)
	}
	if len(id.NameHash) != id.Hash.Size() || len(id.KeyHash) != id.Hash.Size() {
		return errors.New("the hashes of the CertID have not the length of their algorithm")
	}
	return nil
}

func (id CertID) append(b *cryptobyte.Builder) {
	if len(id.der) > 0 {
		b.AddBytes(id.der)
		return
	}
	oid := oidSHA1
	if id.Hash == crypto.SHA256 {
		oid = oidSHA256
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addOID(b, oid)
			b.AddASN1NULL()
		})
		b.AddASN1OctetString(id.NameHash)
		b.AddASN1OctetString(id.KeyHash)
		b.AddASN1BigInt(id.Serial)
	})
}

// readCertID reads a CertID from the front of in. The id keeps parts of in.
func readCertID(in *cryptobyte.String) (CertID, error) {
	var element, body, algorithm, oid, serial cryptobyte.String
	id := CertID{Serial: new(big.Int)}
	if !in.ReadASN1Element(&element, asn1.SEQUENCE) {
		return CertID{}, errors.New("a CertID cannot be read")
	}
	id.der = element
	if !element.ReadASN1(&body, asn1.SEQUENCE) ||
		!body.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
		!body.ReadASN1Bytes(&id.NameHash, asn1.OCTET_STRING) || !body.ReadASN1Bytes(&id.KeyHash, asn1.OCTET_STRING) ||
		!body.ReadASN1Element(&serial, asn1.INTEGER) || len(serial) > maxSerial+2 ||
		!serial.ReadASN1Integer(id.Serial) || !body.Empty() {
		return CertID{}, errors.New("a CertID cannot be read")
	}
	switch string(oid) {
	case oidSHA1:
		id.Hash = crypto.SHA1
	case oidSHA256:
		id.Hash = crypto.SHA256
	default:
		return CertID{}, ErrHash
	}
	if !algorithm.Empty() && !bytes.Equal(algorithm, []byte("\x05\x00")) {
		return CertID{}, errors.New("the hash algorithm of a CertID has parameters")
	}
	if len(id.NameHash) != id.Hash.Size() || len(id.KeyHash) != id.Hash.Size() {
		return CertID{}, errors.New("the hashes of a CertID have not the length of their algorithm")
	}
	return id, nil
}

func addOID(b *cryptobyte.Builder, content string) {
	b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(content)) })
}

func explicit(n uint8) asn1.Tag { return asn1.Tag(n).ContextSpecific().Constructed() }

// readExtensions reads an Extensions SEQUENCE, gives the nonce in it, and refuses a second nonce and every critical
// extension that is not understood (RFC 6960 §4.4).
func readExtensions(in cryptobyte.String) (nonce []byte, err error) {
	var list cryptobyte.String
	if !in.ReadASN1(&list, asn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("the extensions cannot be read")
	}
	for !list.Empty() {
		var extension, oid, value cryptobyte.String
		var critical bool
		if !list.ReadASN1(&extension, asn1.SEQUENCE) || !extension.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
			extension.PeekASN1Tag(asn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) ||
			!extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return nil, errors.New("an extension cannot be read")
		}
		switch string(oid) {
		case oidNonce:
			if nonce != nil {
				return nil, errors.New("there are two nonces")
			}
			if nonce, err = readNonce(value); err != nil {
				return nil, err
			}
		case oidAcceptable, oidLocator, oidPreferredSigs: // wishes that every basic response meets or may pass over
		default:
			if critical {
				return nil, errors.New("a critical extension is not understood")
			}
		}
	}
	return nonce, nil
}

// readNonce reads Nonce ::= OCTET STRING (SIZE(1..128)) (RFC 9654 §2.1).
func readNonce(value cryptobyte.String) ([]byte, error) {
	var nonce []byte
	if !value.ReadASN1Bytes(&nonce, asn1.OCTET_STRING) || !value.Empty() {
		return nil, errors.New("the nonce cannot be read")
	}
	if len(nonce) == 0 || len(nonce) > MaxNonce {
		return nil, fmt.Errorf("the nonce has %d octets, not 1 to %d", len(nonce), MaxNonce)
	}
	return nonce, nil
}

// addNonce adds an Extensions SEQUENCE with the nonce under the given tag, and nothing without one.
func addNonce(b *cryptobyte.Builder, tag asn1.Tag, nonce []byte) {
	if len(nonce) == 0 {
		return
	}
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addOID(b, oidNonce)
				b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
			})
		})
	})
}
