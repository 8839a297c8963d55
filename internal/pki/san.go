package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// generalName is one name of a subjectAltName extension as it stands there.
type generalName struct {
	kind nameType
	raw  []byte
}

// parseGeneralNames splits the value of a subjectAltName extension (RFC 5280 §4.2.1.6).
func parseGeneralNames(value []byte) ([]generalName, error) {
	malformed := fmt.Errorf("the subjectAltName extension is not well-formed")
	outer := cryptobyte.String(value)
	var list cryptobyte.String
	if !outer.ReadASN1(&list, cbasn1.SEQUENCE) || !outer.Empty() {
		return nil, malformed
	}
	var names []generalName
	for !list.Empty() {
		var raw cryptobyte.String
		var tag cbasn1.Tag
		if !list.ReadAnyASN1(&raw, &tag) || tag&0xc0 != 0x80 {
			return nil, malformed
		}
		name := generalName{nameType(tag & 0x1f), raw}
		if _, isText := name.text(); isText && tag&0x20 != 0 {
			return nil, malformed
		}
		names = append(names, name)
	}
	return names, nil
}

// text is the name as people write it, and false for types that leafward does not issue.
func (g generalName) text() (string, bool) {
	switch g.kind {
	case dnsName, emailName, uriName:
		return string(g.raw), true
	case ipName:
		ip, ok := netip.AddrFromSlice(g.raw)
		return ip.Unmap().String(), ok
	}
	return "", false
}

// typeName is the name of the type in RFC 5280.
func (g generalName) typeName() string {
	switch g.kind {
	case 0:
		return "otherName"
	case emailName:
		return "rfc822Name"
	case dnsName:
		return "dNSName"
	case 3:
		return "x400Address"
	case 4:
		return "directoryName"
	case 5:
		return "ediPartyName"
	case uriName:
		return "uniformResourceIdentifier"
	case ipName:
		return "iPAddress"
	case 8:
		return "registeredID"
	}
	return fmt.Sprintf("type %d", g.kind)
}

// NamesOf reads the names of a certificate from anywhere, as they stand in it: neither checked nor canonical. Types
// that leafward does not issue are left out; OtherNames lists them.
func NamesOf(cert *x509.Certificate) Names {
	names := Names{DNS: cert.DNSNames, Email: cert.EmailAddresses}
	for _, octets := range cert.IPAddresses {
		if ip, ok := netip.AddrFromSlice(octets); ok {
			names.IP = append(names.IP, ip.Unmap())
		}
	}
	for _, name := range rawNames(cert) {
		if name.kind == uriName {
			names.URI = append(names.URI, string(name.raw))
		}
	}
	return names
}

// OtherNames lists the types (otherName, directoryName …) of those subject alternative names of a certificate that
// leafward does not issue.
func OtherNames(cert *x509.Certificate) []string {
	var types []string
	for _, name := range rawNames(cert) {
		if _, ok := name.text(); !ok {
			types = append(types, name.typeName())
		}
	}
	return types
}

func rawNames(cert *x509.Certificate) []generalName {
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(oidSubjectAltName()) {
			names, _ := parseGeneralNames(extension.Value) // crypto/x509 read it before
			return names
		}
	}
	return nil
}

// extension encodes the names as a subjectAltName extension, critical when the subject is empty (RFC 5280 §4.2.1.6).
func (n Names) extension(critical bool) (pkix.Extension, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		add := func(kind nameType, octets []byte) {
			b.AddASN1(cbasn1.Tag(kind).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(octets) })
		}
		for _, name := range n.DNS {
			add(dnsName, []byte(name))
		}
		for _, ip := range n.IP {
			add(ipName, ip.AsSlice())
		}
		for _, name := range n.Email {
			add(emailName, []byte(name))
		}
		for _, name := range n.URI {
			add(uriName, []byte(name))
		}
	})
	value, err := b.Bytes()
	return pkix.Extension{Id: oidSubjectAltName(), Critical: critical, Value: value}, err
}

func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }
