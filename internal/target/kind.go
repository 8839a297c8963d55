package target

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
)

// Kind says what a file holds.
type Kind string

// The kinds of file that targets write.
const (
	Certificate Kind = "certificate" // a leaf, its chain may follow
	Chain       Kind = "chain"       // certificates of authorities
	Key         Kind = "private key"
	Combined    Kind = "certificate and private key" // both in one file
)

// private tells whether the content must be hidden from others.
func (k Kind) private() bool { return k == Key || k == Combined }

// contents is what a file's PEM blocks are.
type contents struct {
	certificates []*x509.Certificate
	keys, other  int
}

// contentsOf reads a file of any origin: text between the blocks, which openssl writes, is passed over.
func contentsOf(content []byte) contents {
	var c contents
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return c
		}
		switch block.Type {
		case "CERTIFICATE":
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
				c.certificates = append(c.certificates, cert)
				continue
			}
			c.other++
		case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			c.keys++
		case "EC PARAMETERS", "DH PARAMETERS":
		default:
			c.other++
		}
	}
}

// is tells whether the content is of a kind.
func (c contents) is(kind Kind) bool {
	certs, keys := len(c.certificates) > 0, c.keys > 0
	switch kind {
	case Certificate, Chain:
		return certs && !keys && c.other == 0
	case Key:
		return keys && !certs && c.other == 0
	case Combined:
		return certs && keys && c.other == 0
	}
	return false
}

// trusts tells whether the certificates are such as a machine trusts rather than shows: a bundle of many, or one of an
// authority.
func (c contents) trusts() bool {
	return len(c.certificates) > maxChain || len(c.certificates) > 0 && c.certificates[0].IsCA
}

// FingerprintIn is the SHA-256, in lower hex, of the first certificate in a PEM file; "" when there is none.
func FingerprintIn(content []byte) string {
	c := contentsOf(bytes.TrimSpace(content))
	if len(c.certificates) == 0 {
		return ""
	}
	return fingerprint(c.certificates[0])
}
