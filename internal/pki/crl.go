package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Reason is a CRLReason (RFC 5280 §5.3.1).
type Reason int

// The reasons for a revocation. There is no 7.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	RemoveFromCRL        Reason = 8 // of delta CRLs, which leafward does not make
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

func reasonNames() [11]string {
	return [...]string{
		"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation",
		"certificateHold", "", "removeFromCRL", "privilegeWithdrawn", "aACompromise",
	}
}

// String is the reason's name in RFC 5280, and "" for a number that is none.
func (r Reason) String() string {
	if names := reasonNames(); r >= 0 && int(r) < len(names) {
		return names[r]
	}
	return ""
}

// ParseReason reads a reason's name, in either case of its letters. removeFromCRL is not a reason to revoke.
func ParseReason(text string) (Reason, error) {
	for i, name := range reasonNames() {
		if reason := Reason(i); name != "" && reason != RemoveFromCRL && equalFold(text, name) {
			return reason, nil
		}
	}
	return 0, fmt.Errorf("unknown revocation reason %s: use unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, cessationOfOperation, certificateHold, privilegeWithdrawn or aACompromise", quote(text))
}

func equalFold(a, b string) bool { return len(a) == len(b) && bytes.EqualFold([]byte(a), []byte(b)) }

// Revoked is one entry of a CRL.
type Revoked struct {
	Serial *big.Int
	At     time.Time // cut to the second
	Reason Reason
}

// RevocationList is what a CRL says besides its issuer. Entries come in any order.
type RevocationList struct {
	Number     *big.Int // greater than every number before it, at most 20 octets
	ThisUpdate time.Time
	NextUpdate time.Time
	Entries    []Revoked

	// Shard is the URL of the CRL when it holds a part of the authority's certificates only: the one that those
	// certificates name as their distribution point. The CRL then says so in a critical extension (RFC 5280 §5.2.5).
	Shard string
}

// BuildCRL encodes and signs a version 2 CRL (RFC 5280 §5). The issuer is any certificate of the authority whose key
// signs; it must allow cRLSign.
func BuildCRL(list RevocationList, issuer *x509.Certificate, signer crypto.Signer) ([]byte, error) {
	entries, err := list.entries()
	if err != nil {
		return nil, fmt.Errorf("encoding the CRL: %w", err)
	}
	return list.seal(entries, issuer, signer)
}

// seal makes the list of its encoded entries.
func (l RevocationList) seal(entries []byte, issuer *x509.Certificate, signer crypto.Signer) ([]byte, error) {
	who, err := IssuerOf(issuer)
	if err != nil {
		return nil, err
	}
	if issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return nil, errors.New("the authority's certificate does not allow it to sign CRLs (key usage cRLSign)")
	}
	if key, ok := issuer.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(signer.Public()) {
		return nil, errors.New("the signer's key is not the key of the authority's certificate")
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	algorithm, err := signatureAlgorithm(who.Kind)
	if err != nil {
		return nil, err
	}
	tbs, err := l.tbs(entries, who, algorithm)
	if err != nil {
		return nil, fmt.Errorf("encoding the CRL: %w", err)
	}
	der, err := sign(tbs, signer)
	if err != nil {
		return nil, fmt.Errorf("signing the CRL: %w", err)
	}
	return der, nil
}

func (l RevocationList) check() error {
	switch {
	case l.Number == nil || l.Number.Sign() < 0 || l.Number.BitLen() >= 8*maxSerialOctets:
		return errors.New("the CRL number is not one of at most 20 octets")
	case !l.ThisUpdate.Before(l.NextUpdate):
		return errors.New("the CRL's next update is not after this one")
	case l.ThisUpdate.Year() < 1950 || l.NextUpdate.Year() > 9999:
		return errors.New("the CRL's dates cannot be written (RFC 5280 §5.1.2.4)")
	}
	if l.Shard != "" {
		return checkURLs([]string{l.Shard})
	}
	return nil
}

func (l RevocationList) tbs(entries []byte, issuer Issuer, algorithm algorithm) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(entries)+len(issuer.Subject)+1024))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1) // version 2
		b.AddBytes(algorithm.identifier)
		b.AddBytes(issuer.Subject)
		addTime(b, l.ThisUpdate)
		addTime(b, l.NextUpdate)
		if len(entries) > 0 { // the list is absent rather than empty: RFC 5280 §5.1.2.6
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(entries) })
		}
		b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { l.addExtensions(b, issuer.SKI) })
		})
	})
	return b.Bytes()
}

// usualEntry is how many octets an entry has, more or less.
const usualEntry = 48

// entries encodes the entries by ascending serial number.
func (l RevocationList) entries() ([]byte, error) {
	sorted, err := l.sorted()
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, usualEntry*len(sorted)))
	for _, entry := range sorted {
		addEntry(b, entry)
	}
	return b.Bytes()
}

// sorted are the entries by ascending serial number, each such as a full CRL may have.
func (l RevocationList) sorted() ([]Revoked, error) {
	sorted := slices.Clone(l.Entries)
	for _, entry := range sorted {
		if entry.Serial == nil || entry.Serial.Sign() <= 0 || entry.Serial.BitLen() >= 8*maxSerialOctets+1 {
			return nil, errors.New("an entry has a serial number that is not a positive one of at most 20 octets")
		}
	}
	slices.SortFunc(sorted, func(a, b Revoked) int { return a.Serial.Cmp(b.Serial) })
	for i, entry := range sorted {
		if i > 0 && entry.Serial.Cmp(sorted[i-1].Serial) == 0 {
			return nil, fmt.Errorf("the serial number %s stands twice in the CRL", SerialHex(entry.Serial))
		}
		if entry.Reason.String() == "" || entry.Reason == RemoveFromCRL {
			return nil, fmt.Errorf("the entry of %s has the reason %d, which a full CRL does not have", SerialHex(entry.Serial), entry.Reason)
		}
	}
	return sorted, nil
}

func addEntry(b *cryptobyte.Builder, entry Revoked) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(entry.Serial)
		addTime(b, entry.At)
		if entry.Reason == Unspecified { // absent rather than 0: RFC 5280 §5.3.1
			return
		}
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes([]byte("\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01")) // reasonCode, not critical, one ENUMERATED octet
			b.AddUint8(uint8(entry.Reason))
		})
	})
}

// addExtensions writes authorityKeyIdentifier, cRLNumber and, for a shard, issuingDistributionPoint.
func (l RevocationList) addExtensions(b *cryptobyte.Builder, ski []byte) {
	addKeyID(b, ski)
	addExtension(b, asn1.ObjectIdentifier{2, 5, 29, 20}, false, func(b *cryptobyte.Builder) { b.AddASN1BigInt(l.Number) })
	if l.Shard == "" {
		return
	}
	addExtension(b, asn1.ObjectIdentifier{2, 5, 29, 28}, true, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { addPointName(b, l.Shard) })
	})
}

// MaxCRL is the size in octets up to which a CRL is read.
const MaxCRL = 256 << 20

// DecodeCRL is the DER of a CRL that is given in DER or PEM.
func DecodeCRL(raw []byte) ([]byte, error) {
	if len(raw) > MaxCRL {
		return nil, fmt.Errorf("it has %d octets; at most %d are read", len(raw), MaxCRL)
	}
	if len(raw) > 0 && raw[0] == 0x30 { // a SEQUENCE
		return raw, nil
	}
	blocks, err := decodePEM(raw, MaxCRL, 1)
	if err != nil {
		return nil, err
	}
	if blocks[0].Type != pemCRL {
		return nil, fmt.Errorf("the PEM block is %.40q, not %q", blocks[0].Type, pemCRL)
	}
	return blocks[0].Bytes, nil
}
