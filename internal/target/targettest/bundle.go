// Package targettest is the test suite of the target contract, and the certificates that such tests need.
package targettest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
)

// Authority is a root and an issuing authority that live as long as a test.
type Authority struct {
	root, issuing       *x509.Certificate
	rootKey, issuingKey *ecdsa.PrivateKey
}

// NewAuthority makes both.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	var a Authority
	a.rootKey, a.issuingKey = newKey(t), newKey(t)
	a.root = sign(t, "Test Root", nil, nil, a.rootKey, a.rootKey, true)
	a.issuing = sign(t, "Test Issuing", nil, a.root, a.rootKey, a.issuingKey, true)
	return &a
}

// Roots trust the authority.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// PEM issues a certificate: the leaf followed by the issuing authority, and its PKCS #8 key.
func (a *Authority) PEM(t testing.TB, names ...string) (certificates []byte, key leafward.Secret) {
	t.Helper()
	private := newKey(t)
	leaf := sign(t, names[0], names, a.issuing, a.issuingKey, private, false)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, cert := range []*x509.Certificate{leaf, a.issuing} {
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return certificates, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Bundle issues a certificate, ready to deploy.
func (a *Authority) Bundle(t testing.TB, names ...string) target.Bundle {
	t.Helper()
	certificates, key := a.PEM(t, names...)
	b, err := target.NewBundle(certificates, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate for key; without a parent it is self-signed.
func sign(t testing.TB, name string, dns []string, parent *x509.Certificate, signer, key *ecdsa.PrivateKey, ca bool) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: ca,
	}
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
