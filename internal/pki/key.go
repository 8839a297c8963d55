package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The algorithms of keys, as a KeyKind names them.
const (
	RSA     = "RSA"
	ECDSA   = "ECDSA"
	Ed25519 = "Ed25519"
)

const (
	minRSABits   = 2048
	maxRSABits   = 4096
	maxRSAParsed = 8192     // bits of an RSA modulus from outside that is looked at
	maxKeyDER    = 8 << 10  // octets; PKCS #8 of RSA 8192 has 4.7 KiB
	maxKeyPEM    = 32 << 10 // octets, with the text that tools write around a key
)

// KeyKind is an algorithm with its size: the sort of key that a profile allows and an authority has. Size counts the
// bits of the RSA modulus or of the curve's field; Ed25519 is always 256.
type KeyKind struct {
	Algorithm string
	Size      int
}

// ParseKeyKind reads the text form ("rsa-3072", "ecdsa-p256", "ed25519"). Whether leafward issues for such a key is
// what Issuable says.
func ParseKeyKind(text string) (KeyKind, error) {
	algorithm, size, _ := strings.Cut(strings.ToLower(text), "-")
	switch {
	case algorithm == "ed25519" && size == "":
		return KeyKind{Ed25519, 256}, nil
	case algorithm == "ecdsa":
		switch size {
		case "p224", "p256", "p384", "p521":
			bits, err := strconv.Atoi(size[1:])
			return KeyKind{ECDSA, bits}, err
		}
	case algorithm == "rsa":
		if bits, err := strconv.Atoi(size); err == nil && bits >= 512 && bits <= maxRSAParsed && strconv.Itoa(bits) == size {
			return KeyKind{RSA, bits}, nil
		}
	}
	return KeyKind{}, fmt.Errorf("unknown kind of key %s: use ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096", quote(text))
}

// String is the text form that ParseKeyKind reads, and "" for the zero value.
func (k KeyKind) String() string {
	switch k.Algorithm {
	case RSA:
		return "rsa-" + strconv.Itoa(k.Size)
	case ECDSA:
		return "ecdsa-p" + strconv.Itoa(k.Size)
	case Ed25519:
		return "ed25519"
	}
	return ""
}

// MarshalText gives the text form.
func (k KeyKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the text form; empty text is the zero value.
func (k *KeyKind) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = KeyKind{}
		return nil
	}
	kind, err := ParseKeyKind(string(text))
	if err == nil {
		*k = kind
	}
	return err
}

// Issuable is nil for the kinds that leafward generates and certifies: RSA from 2048 to 4096 bits in whole octets,
// ECDSA on P-256 and P-384, Ed25519.
func (k KeyKind) Issuable() error {
	switch k.Algorithm {
	case RSA:
		if k.Size < minRSABits || k.Size > maxRSABits || k.Size%8 != 0 {
			return fmt.Errorf("an RSA key of %d bits is not issued for: use 2048, 3072 or 4096 bits", k.Size)
		}
	case ECDSA:
		if k.Size != 256 && k.Size != 384 {
			return fmt.Errorf("an ECDSA key on P-%d is not issued for: use P-256 or P-384", k.Size)
		}
	case Ed25519:
		if k.Size != 256 {
			return fmt.Errorf("an Ed25519 key has 256 bits, not %d", k.Size)
		}
	default:
		return fmt.Errorf("%s keys are not issued for: use ECDSA, Ed25519 or RSA", quote(k.Algorithm))
	}
	return nil
}

// KindOf is the kind of a public key. Keys of other algorithms and RSA keys over 8192 bits are refused; kinds that
// leafward reads but does not issue for are not.
func KindOf(pub crypto.PublicKey) (KeyKind, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits > maxRSAParsed {
			return KeyKind{}, fmt.Errorf("the RSA key has %d bits; at most %d are looked at", bits, maxRSAParsed)
		}
		return KeyKind{RSA, pub.N.BitLen()}, nil
	case *ecdsa.PublicKey:
		if pub.Curve == nil {
			return KeyKind{}, errors.New("the ECDSA key names no curve")
		}
		return KeyKind{ECDSA, pub.Params().BitSize}, nil
	case ed25519.PublicKey:
		return KeyKind{Ed25519, 256}, nil
	}
	return KeyKind{}, errors.New("the key is neither RSA nor ECDSA on a NIST curve nor Ed25519")
}

// GenerateKey makes a new private key of an issuable kind.
func GenerateKey(kind KeyKind) (crypto.Signer, error) {
	if err := kind.Issuable(); err != nil {
		return nil, err
	}
	switch kind.Algorithm {
	case RSA:
		return rsa.GenerateKey(rand.Reader, kind.Size)
	case ECDSA:
		curve := elliptic.P256()
		if kind.Size == 384 {
			curve = elliptic.P384()
		}
		return ecdsa.GenerateKey(curve, rand.Reader)
	default:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
}

// MarshalPrivateKey encodes a private key as PKCS #8 DER (RFC 5958).
func MarshalPrivateKey(key crypto.Signer) ([]byte, error) { return x509.MarshalPKCS8PrivateKey(key) }

// EncodePrivateKey encodes a private key as PKCS #8 in one PEM block.
func EncodePrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := MarshalPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encodePEM(pemPrivateKey, der), nil
}

// ParsePrivateKey reads a private key from PKCS #8 DER.
func ParsePrivateKey(der []byte) (crypto.Signer, error) { return parsePrivateKey(pemPrivateKey, der) }

// ParsePrivateKeyPEM reads the one private key in a PEM text: PKCS #8, PKCS #1 or SEC 1, not encrypted. A block of
// EC parameters, as OpenSSL writes it before a key, is passed over.
func ParsePrivateKeyPEM(text []byte) (crypto.Signer, error) {
	blocks, err := decodePEM(text, maxKeyPEM, 2)
	if err != nil {
		return nil, fmt.Errorf("the private key: %w", err)
	}
	if len(blocks) == 2 && blocks[0].Type == pemECParameters {
		blocks = blocks[1:]
	}
	if len(blocks) != 1 {
		return nil, fmt.Errorf("the private key: one PEM block was expected, there are %d", len(blocks))
	}
	block := blocks[0]
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("the private key is encrypted: decrypt it first, for example with openssl pkey")
	}
	return parsePrivateKey(block.Type, block.Bytes)
}

// ParseKeyFile reads the private key of a PEM text in which its certificates may stand behind it.
func ParseKeyFile(text []byte) (crypto.Signer, error) {
	key, _, _ := bytes.Cut(text, []byte("-----BEGIN "+pemCertificate+"-----"))
	return ParsePrivateKeyPEM(key)
}

func parsePrivateKey(pemType string, der []byte) (crypto.Signer, error) {
	if len(der) > maxKeyDER {
		return nil, fmt.Errorf("the private key has %d octets; at most %d are read", len(der), maxKeyDER)
	}
	if bits := rsaModulusBits(der); bits > maxRSAParsed {
		return nil, fmt.Errorf("the RSA private key has %d bits; at most %d are read", bits, maxRSAParsed)
	}
	var key any
	var err error
	switch pemType {
	case pemPrivateKey:
		key, err = x509.ParsePKCS8PrivateKey(der)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	default:
		return nil, fmt.Errorf("the PEM block is a %s, not a private key", quote(pemType))
	}
	if err != nil {
		return nil, fmt.Errorf("the private key cannot be read: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign: use ECDSA, Ed25519 or RSA")
	}
	return signer, nil
}

// rsaModulusBits is the length of the modulus in a PKCS #1 private key (RFC 8017 §A.1.2) or in one inside PKCS #8,
// and 0 for anything else. It stands before the real parser because checking a huge key takes minutes.
func rsaModulusBits(der []byte) int {
	outer := cryptobyte.String(der)
	var body, inner cryptobyte.String
	if !outer.ReadASN1(&body, cbasn1.SEQUENCE) || !body.SkipASN1(cbasn1.INTEGER) {
		return 0
	}
	if body.PeekASN1Tag(cbasn1.SEQUENCE) {
		if !body.SkipASN1(cbasn1.SEQUENCE) || !body.ReadASN1(&inner, cbasn1.OCTET_STRING) ||
			!inner.ReadASN1(&body, cbasn1.SEQUENCE) || !body.SkipASN1(cbasn1.INTEGER) {
			return 0
		}
	}
	var modulus cryptobyte.String
	if !body.ReadASN1(&modulus, cbasn1.INTEGER) {
		return 0
	}
	return 8 * len(bytes.TrimLeft(modulus, "\x00"))
}

// SPKISHA256 is the SHA-256 of a public key's SubjectPublicKeyInfo in lower hex: the name of a key everywhere.
func SPKISHA256(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	return Fingerprint(der), nil
}

// SubjectKeyID is the key identifier of a public key by RFC 7093 §2 method 1: the leftmost 160 bits of the SHA-256 of
// the subjectPublicKey bits.
func SubjectKeyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm asn1.RawValue
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(info.PublicKey.Bytes)
	return sum[:20], nil
}

// Fingerprint is the SHA-256 of a DER encoding in lower hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
