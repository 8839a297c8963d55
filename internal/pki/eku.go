package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The extended key usages that leafward itself asks for or looks at, by their names in RFC 5280 §4.2.1.12.
const (
	ServerAuth  = "serverAuth"
	ClientAuth  = "clientAuth"
	OCSPSigning = "OCSPSigning"
	AnyUsage    = "anyExtendedKeyUsage"
)

const (
	maxOID  = 128 // characters
	maxEKUs = 32
)

// wellKnownEKUs are the names of RFC 5280 §4.2.1.12 with their object identifiers.
func wellKnownEKUs() [7][2]string {
	return [...][2]string{
		{ServerAuth, "1.3.6.1.5.5.7.3.1"},
		{ClientAuth, "1.3.6.1.5.5.7.3.2"},
		{"codeSigning", "1.3.6.1.5.5.7.3.3"},
		{"emailProtection", "1.3.6.1.5.5.7.3.4"},
		{"timeStamping", "1.3.6.1.5.5.7.3.8"},
		{OCSPSigning, "1.3.6.1.5.5.7.3.9"},
		{AnyUsage, "2.5.29.37.0"},
	}
}

// ParseEKU reads an extended key usage, either its name in RFC 5280 or its dotted object identifier, and gives its
// one form: the name where there is one, otherwise the object identifier.
func ParseEKU(text string) (string, error) {
	for _, known := range wellKnownEKUs() {
		if text == known[0] || text == known[1] {
			return known[0], nil
		}
	}
	if len(text) > maxOID {
		return "", fmt.Errorf("the extended key usage %s is too long", quote(text))
	}
	if oid, err := x509.ParseOID(text); err != nil || oid.String() != text {
		return "", fmt.Errorf("unknown extended key usage %s: use serverAuth, clientAuth, codeSigning, emailProtection, timeStamping or an object identifier such as 1.3.6.1.5.5.7.3.17", quote(text))
	}
	return text, nil
}

// EKUsOf lists the extended key usages of a certificate in ParseEKU's form, in the order in which they stand there.
func EKUsOf(cert *x509.Certificate) []string {
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) {
			usages, _ := parseEKUs(extension.Value) // crypto/x509 read it before
			return usages
		}
	}
	return nil
}

func ekuOID(usage string) (x509.OID, error) {
	for _, known := range wellKnownEKUs() {
		if usage == known[0] {
			usage = known[1]
		}
	}
	oid, err := x509.ParseOID(usage)
	if err != nil {
		return oid, fmt.Errorf("unknown extended key usage %s", quote(usage))
	}
	return oid, nil
}

// parseEKUs reads the value of an extKeyUsage extension.
func parseEKUs(value []byte) ([]string, error) {
	malformed := errors.New("the extKeyUsage extension is not well-formed")
	outer := cryptobyte.String(value)
	var list cryptobyte.String
	if !outer.ReadASN1(&list, cbasn1.SEQUENCE) || !outer.Empty() {
		return nil, malformed
	}
	if list.Empty() {
		return nil, errors.New("the extKeyUsage extension is empty; it holds at least one purpose (RFC 5280 §4.2.1.12)")
	}
	var usages []string
	for !list.Empty() {
		var octets cryptobyte.String
		var oid x509.OID
		if !list.ReadASN1(&octets, cbasn1.OBJECT_IDENTIFIER) || oid.UnmarshalBinary(octets) != nil {
			return nil, malformed
		}
		if len(usages) == maxEKUs {
			return nil, fmt.Errorf("the extKeyUsage extension holds more than %d purposes", maxEKUs)
		}
		usage, err := ParseEKU(oid.String())
		if err != nil {
			return nil, err
		}
		usages = append(usages, usage)
	}
	return usages, nil
}

func marshalEKUs(usages []string) ([]byte, error) {
	var b cryptobyte.Builder
	var failed error
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, usage := range usages {
			oid, err := ekuOID(usage)
			if err != nil {
				failed = err
				return
			}
			octets, err := oid.MarshalBinary()
			if err != nil {
				failed = err
				return
			}
			b.AddASN1(cbasn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(octets) })
		}
	})
	value, err := b.Bytes()
	return value, errors.Join(failed, err)
}
