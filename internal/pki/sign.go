package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// algorithm is how keys of one kind sign here.
type algorithm struct {
	x509       x509.SignatureAlgorithm
	identifier []byte // DER AlgorithmIdentifier
	hash       crypto.Hash
}

// signatureAlgorithm is the one algorithm by which keys of a kind sign: SHA-256 with RSA (PKCS #1 v1.5), ECDSA with
// the hash of the curve's strength, Ed25519. The identifiers are those of RFC 4055 §5, RFC 5758 §3.2 and RFC 8410 §3.
func signatureAlgorithm(kind KeyKind) (algorithm, error) {
	switch {
	case kind.Algorithm == RSA:
		return algorithm{x509.SHA256WithRSA, []byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"), crypto.SHA256}, nil
	case kind == KeyKind{ECDSA, 256}:
		return algorithm{x509.ECDSAWithSHA256, []byte("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"), crypto.SHA256}, nil
	case kind == KeyKind{ECDSA, 384}:
		return algorithm{x509.ECDSAWithSHA384, []byte("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"), crypto.SHA384}, nil
	case kind.Algorithm == Ed25519:
		return algorithm{x509.PureEd25519, []byte("\x30\x05\x06\x03\x2b\x65\x70"), crypto.Hash(0)}, nil
	}
	return algorithm{}, fmt.Errorf("a key of kind %s does not sign here", quote(kind.String()))
}

// sign signs exactly these bytes, verifies the signature against the signer's public key, and assembles the SIGNED
// structure of X.509: the bytes, the algorithm, the signature.
func sign(tbs []byte, signer crypto.Signer) ([]byte, error) {
	signed, how, err := signatureOf(tbs, signer)
	if err != nil {
		return nil, err
	}
	return assemble(tbs, how, signed)
}

// signatureOf is one of exactly these bytes, which the signer's public key verifies.
func signatureOf(tbs []byte, signer crypto.Signer) ([]byte, algorithm, error) {
	kind, err := KindOf(signer.Public())
	if err != nil {
		return nil, algorithm{}, err
	}
	how, err := signatureAlgorithm(kind)
	if err != nil {
		return nil, algorithm{}, err
	}
	message := tbs
	if how.hash != 0 {
		hash := how.hash.New()
		hash.Write(tbs)
		message = hash.Sum(nil)
	}
	signed, err := signer.Sign(rand.Reader, message, how.hash)
	if err != nil {
		return nil, algorithm{}, fmt.Errorf("signing: %w", err)
	}
	holder := &x509.Certificate{PublicKey: signer.Public()}
	if err := holder.CheckSignature(how.x509, tbs, signed); err != nil {
		return nil, algorithm{}, errors.New("the signer gave a signature that its own public key does not verify")
	}
	return signed, how, nil
}

func assemble(tbs []byte, how algorithm, signature []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(signature)+64))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(how.identifier)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}
