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

// Dummy holds throw-away keys, one of each algorithm that authorities sign with. What they sign is a draft: complete
// enough to be linted, and trusted by nobody. One Dummy serves a whole process, from any goroutine.
type Dummy struct {
	p256, p384, ed25519, rsa func() (crypto.Signer, error)
}

// NewDummy makes a Dummy. Each key is generated when it is first needed.
func NewDummy() *Dummy {
	generate := func(kind KeyKind) func() (crypto.Signer, error) {
		return sync.OnceValues(func() (crypto.Signer, error) { return GenerateKey(kind) })
	}
	return &Dummy{
		p256:    generate(KeyKind{ECDSA, 256}),
		p384:    generate(KeyKind{ECDSA, 384}),
		ed25519: generate(KeyKind{Ed25519, 256}),
		rsa:     sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, dummyRSABits) }),
	}
}

func (d *Dummy) signer(kind KeyKind) (crypto.Signer, error) {
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
	return nil, fmt.Errorf("no authority signs with a key of kind %s", quote(kind.String()))
}

// Draft is a certificate before its authority signs it.
type Draft struct {
	TBS         []byte // the DER TBSCertificate, which SignTBS signs
	Certificate []byte // the same, signed by a throw-away key: to be linted and dropped
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
	signer, err := d.signer(issuer.Kind)
	if err != nil {
		return Draft{}, err
	}
	template, err := t.certificate(issuer, pub)
	if err != nil {
		return Draft{}, err
	}
	parent := &x509.Certificate{RawSubject: issuer.Subject, SubjectKeyId: issuer.SKI}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
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
