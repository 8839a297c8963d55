package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds on certificates from outside.
const (
	MaxChain         = 10
	maxCertificate   = 64 << 10 // octets of DER
	maxChainPEM      = 1 << 20  // octets
	maxForeignNames  = 500
	maxForeignFields = 50 // extensions
)

// ParseCertificate reads one certificate in DER within the bounds for certificates from outside: 64 KiB, 500 names,
// 50 extensions, an RSA key of 8192 bits.
func ParseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("the certificate has %d octets; at most %d are read", len(der), maxCertificate)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if n := len(cert.Extensions); n > maxForeignFields {
		return nil, fmt.Errorf("the certificate has %d extensions; at most %d are read", n, maxForeignFields)
	}
	if n := len(rawNames(cert)); n > maxForeignNames {
		return nil, fmt.Errorf("the certificate has %d names; at most %d are read", n, maxForeignNames)
	}
	if cert.PublicKeyAlgorithm == x509.RSA {
		if _, err := KindOf(cert.PublicKey); err != nil {
			return nil, fmt.Errorf("the certificate: %w", err)
		}
	}
	return cert, nil
}

// EncodeChain encodes certificates given in DER as PEM, in their order.
func EncodeChain(certs ...[]byte) []byte {
	var text []byte
	for _, der := range certs {
		text = append(text, encodePEM(pemCertificate, der)...)
	}
	return text
}

// ParseChainPEM reads 1 to 10 certificates from PEM, in the order in which they stand there. Text around the blocks
// is passed over; blocks of another sort, and blocks that cannot be read, are refused.
func ParseChainPEM(text []byte) ([]*x509.Certificate, error) {
	blocks, err := decodePEM(text, maxChainPEM, MaxChain)
	if err != nil {
		return nil, fmt.Errorf("the certificate chain: %w", err)
	}
	var chain []*x509.Certificate
	for i, block := range blocks {
		if block.Type != pemCertificate {
			return nil, fmt.Errorf("the certificate chain: PEM block %d is a %s, not a CERTIFICATE", i+1, quote(block.Type))
		}
		cert, err := ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the certificate chain: PEM block %d: %w", i+1, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// OrderChain sorts the certificates of one chain, given in any order, from the leaf upwards. The same certificate
// twice counts once; one that has no place in the chain is an error.
func OrderChain(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(certs) > MaxChain {
		return nil, fmt.Errorf("there are %d certificates; a chain has at most %d", len(certs), MaxChain)
	}
	var left []*x509.Certificate
	for _, cert := range certs {
		if !slices.ContainsFunc(left, cert.Equal) {
			left = append(left, cert)
		}
	}
	var leaves []*x509.Certificate
	for _, cert := range left {
		if !slices.ContainsFunc(left, func(other *x509.Certificate) bool { return other != cert && issued(cert, other) }) {
			leaves = append(leaves, cert)
		}
	}
	if len(leaves) != 1 {
		return nil, fmt.Errorf("the certificates are not one chain: %d of %d could be its leaf", len(leaves), len(left))
	}
	chain := leaves
	for {
		last := chain[len(chain)-1]
		left = slices.DeleteFunc(left, last.Equal)
		next := slices.IndexFunc(left, func(cert *x509.Certificate) bool { return issued(cert, last) })
		if next < 0 {
			break
		}
		chain = append(chain, left[next])
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the certificate of %s has no place in the chain", quote(left[0].Subject.String()))
	}
	return chain, nil
}

func issued(issuer, cert *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(issuer) == nil
}

// VerifyChain verifies a certificate up to one of the roots at a moment (RFC 5280 §6), for any purpose, and gives the
// shortest chain, leaf first and root last. Host names and revocation are not its business.
func VerifyChain(leaf *x509.Certificate, intermediates, roots []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	if len(roots) == 0 {
		return nil, errors.New("there is no root to verify the certificate against")
	}
	options := x509.VerifyOptions{
		Roots:         pool(roots),
		Intermediates: pool(intermediates),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return nil, fmt.Errorf("the certificate of %s does not verify: %w", quote(leaf.Subject.String()), err)
	}
	return slices.MinFunc(chains, func(a, b []*x509.Certificate) int { return len(a) - len(b) }), nil
}

// CheckPathLen says which authority of an ordered chain of authorities allows fewer of them below it than there are (RFC
// 5280 §4.2.1.9).
func CheckPathLen(chain []*x509.Certificate) error {
	for below, cert := range chain {
		limited := cert.MaxPathLen > 0 || cert.MaxPathLen == 0 && cert.MaxPathLenZero
		if below > 0 && limited && cert.MaxPathLen < below {
			return fmt.Errorf("the authority %s may have %d authorities below it, and has %d", quote(cert.Subject.String()), cert.MaxPathLen, below)
		}
	}
	return nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool
}
