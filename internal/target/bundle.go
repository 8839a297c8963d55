package target

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"

	"github.com/leafward/leafward"
)

const (
	maxBundle = 256 << 10 // bytes of PEM
	maxChain  = 10        // certificates
)

// Bundle is a certificate with its chain and its private key. Only NewBundle makes one, so whoever holds a Bundle
// holds a pair that belongs together; the zero value is refused by every target.
type Bundle struct {
	certificates []*x509.Certificate
	key          leafward.Secret
}

// NewBundle reads certificates (PEM, leaf first, each followed by the one that signed it) and the private key of the
// leaf (PEM, PKCS #8, RFC 5958). Nothing but those blocks may be in the input; what a Bundle gives out is encoded
// anew. Validity is not looked at: the clock of this host may be the one that is wrong.
func NewBundle(certificates []byte, key leafward.Secret) (Bundle, error) {
	var b Bundle
	blocks, problem := blocksOf(certificates, "CERTIFICATE", maxChain)
	if problem != "" {
		return b, refuse("certificate", problem)
	}
	for _, der := range blocks {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return b, refuse("certificate", "holds a certificate that cannot be read: "+err.Error())
		}
		b.certificates = append(b.certificates, cert)
	}
	for i, cert := range b.certificates[1:] {
		if !bytes.Equal(b.certificates[i].RawIssuer, cert.RawSubject) || b.certificates[i].CheckSignatureFrom(cert) != nil {
			return Bundle{}, refuse("certificate", "is not in order: each certificate must be followed by the one that signed it")
		}
	}
	keys, problem := blocksOf(key.Reveal(), "PRIVATE KEY", 1)
	if problem != "" {
		return Bundle{}, refuse("private_key", problem)
	}
	private, err := x509.ParsePKCS8PrivateKey(keys[0])
	if err != nil {
		return Bundle{}, refuse("private_key", "is not a PKCS #8 private key")
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return Bundle{}, refuse("private_key", "is not a key that can sign")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(b.certificates[0].PublicKey) {
		return Bundle{}, refuse("private_key", "is not the key of the certificate")
	}
	b.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keys[0]})
	return b, nil
}

// IsZero tells whether this is not a bundle at all.
func (b Bundle) IsZero() bool { return len(b.certificates) == 0 || len(b.key) == 0 }

// Leaf is the certificate itself, as PEM.
func (b Bundle) Leaf() []byte { return encode(b.certificates[:min(1, len(b.certificates))]) }

// Chain is what leads from the leaf to its root, without the leaf, as PEM; empty when nothing came with it.
func (b Bundle) Chain() []byte { return encode(b.certificates[min(1, len(b.certificates)):]) }

// FullChain is the leaf followed by its chain, as PEM: what a TLS server sends.
func (b Bundle) FullChain() []byte { return encode(b.certificates) }

// Key is the private key, as PKCS #8 PEM.
func (b Bundle) Key() leafward.Secret { return slices.Clone(b.key) }

// Names are the leaf's DNS names.
func (b Bundle) Names() []string {
	if b.IsZero() {
		return nil
	}
	return slices.Clone(b.certificates[0].DNSNames)
}

// Fingerprint is the SHA-256 of the leaf in lower hex.
func (b Bundle) Fingerprint() string {
	if b.IsZero() {
		return ""
	}
	return fingerprint(b.certificates[0])
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

func encode(certificates []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// blocksOf reads PEM (RFC 7468, strict: no text around the blocks, no headers, one type).
func blocksOf(text []byte, label string, most int) (out [][]byte, problem string) {
	if len(text) > maxBundle {
		return nil, "is too large"
	}
	rest := bytes.TrimSpace(text)
	for len(rest) > 0 {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN "+label+"-----")) {
			return nil, "must hold PEM blocks " + label + " and nothing else"
		}
		end := bytes.Index(rest, []byte("-----END "+label+"-----"))
		if end < 0 {
			return nil, "holds a PEM block without an end"
		}
		end += len("-----END " + label + "-----")
		block, after := pem.Decode(append(slices.Clip(rest[:end]), '\n'))
		if block == nil || len(block.Headers) > 0 || len(after) > 0 {
			return nil, "holds a PEM block that cannot be read"
		}
		out = append(out, block.Bytes)
		if len(out) > most {
			return nil, "holds too many PEM blocks"
		}
		rest = bytes.TrimSpace(rest[end:])
	}
	if len(out) == 0 {
		return nil, "is empty"
	}
	return out, ""
}

func refuse(field, problem string) error {
	var problems leafward.Problems
	problems.Add(field, problem, "fetch the certificate again, and see that it was issued for this key")
	return problems.Err()
}
