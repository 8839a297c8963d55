package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
)

// dummyRSABits is the smallest key that crypto/rsa signs with. It protects nothing.
const dummyRSABits = 1024

// Dummy holds throw-away keys, one of each algorithm that authorities sign with. What bears their signature is a draft: complete
// enough to be linted, and trusted by nobody. One Dummy serves a whole process, from any goroutine.
type Dummy struct {
	p256, p384, ed25519, rsa func() (throwAway, error)
}

// throwAway is a key with one signature, over nothing, that stands wherever a draft needs one.
type throwAway struct {
	crypto.Signer
	signature []byte
}

// NewDummy makes a Dummy. Each key is generated when it is first needed.
func NewDummy() *Dummy {
	once := func(generate func() (crypto.Signer, error)) func() (throwAway, error) {
		return sync.OnceValues(func() (throwAway, error) {
			key, err := generate()
			if err != nil {
				return throwAway{}, err
			}
			signature, _, err := signatureOf(nil, key)
			return throwAway{key, signature}, err
		})
	}
	of := func(kind KeyKind) func() (throwAway, error) {
		return once(func() (crypto.Signer, error) { return GenerateKey(kind) })
	}
	return &Dummy{
		p256: of(KeyKind{ECDSA, 256}), p384: of(KeyKind{ECDSA, 384}), ed25519: of(KeyKind{Ed25519, 256}),
		rsa: once(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, dummyRSABits) }),
	}
}

func (d *Dummy) key(kind KeyKind) (throwAway, error) {
	switch {
	case kind.Algorithm == RSA:
		return d.rsa()
	case kind == KeyKind{ECDSA, 256}:
		return d.p256()
	case kind == KeyKind{ECDSA, 384}:
		return d.p384()
	case kind.Algorithm == Ed25519:
		return d.ed25519()
	}
	return throwAway{}, fmt.Errorf("no authority signs with a key of kind %s", quote(kind.String()))
}

// Draft is a certificate before its authority signs it.
type Draft struct {
	TBS         []byte // the DER TBSCertificate, which SignTBS signs
	Certificate []byte // the same with a signature of a throw-away key over something else: to be linted and dropped
}

// BuildTBS encodes a template for an issuer and a subject's public key.
func (d *Dummy) BuildTBS(t Template, issuer Issuer, pub crypto.PublicKey) (Draft, error) {
	kind, err := KindOf(pub)
	if err != nil {
		return Draft{}, err
	}
	if err := t.check(kind); err != nil {
		return Draft{}, err
	}
	if len(issuer.Subject) == 0 || len(issuer.SKI) == 0 {
		return Draft{}, errors.New("the issuer has no name or no key identifier")
	}
	key, err := d.key(issuer.Kind)
	if err != nil {
		return Draft{}, err
	}
	algorithm, err := signatureAlgorithm(issuer.Kind)
	if err != nil {
		return Draft{}, err
	}
	tbs, err := t.encode(issuer, pub)
	if err != nil {
		return Draft{}, fmt.Errorf("encoding the certificate: %w", err)
	}
	der, err := assemble(tbs, algorithm, key.signature)
	if err != nil {
		return Draft{}, fmt.Errorf("encoding the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Draft{}, fmt.Errorf("reading the encoded certificate: %w", err)
	}
	return Draft{TBS: cert.RawTBSCertificate, Certificate: der}, nil
}

// SignTBS signs exactly the given TBSCertificate and assembles the certificate in DER. It gives one only when the
// signature verifies, when the algorithm that the certificate names inside is the signer's, and when the certificate
// reads back with the same TBSCertificate byte for byte.
func SignTBS(tbs []byte, signer crypto.Signer) ([]byte, error) {
	der, err := sign(tbs, signer)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the signed certificate cannot be read: %w", err) // also: inner and outer algorithm differ
	}
	if !bytes.Equal(cert.RawTBSCertificate, tbs) {
		return nil, errors.New("the signed certificate does not hold what was to be signed")
	}
	return der, nil
}
