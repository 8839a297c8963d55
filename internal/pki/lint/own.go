package lint

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward/internal/pki"
)

// subject is what an own lint looks at.
type subject struct {
	cert    *x509.Certificate
	issuer  *x509.Certificate // nil for a certificate that signs itself
	options Options
}

// ownLint is a rule that zlint does not have.
type ownLint struct {
	name  string
	check func(subject) error
}

func leafLints() []ownLint {
	return append(commonLints(),
		ownLint{"leaf_usage", leafUsage},
		ownLint{"leaf_extensions", leafExtensions},
		ownLint{"leaf_issuer", leafIssuer},
		ownLint{"name_types", nameTypes},
		ownLint{"names", names},
		ownLint{"extended_key_usage", extendedKeyUsage},
		ownLint{"no_rev_avail", noRevAvail},
		ownLint{"ocsp_nocheck", ocspNoCheck},
	)
}

func authorityLints() []ownLint {
	return append(commonLints(),
		ownLint{"authority_usage", authorityUsage},
		ownLint{"authority_extensions", authorityExtensions},
	)
}

func commonLints() []ownLint {
	return []ownLint{
		{"serial_number", serialNumber},
		{"validity", validity},
		{"validity_in_issuer", validityInIssuer},
		{"not_before", notBefore},
		{"authority_key_id", authorityKeyID},
		{"issuer_name", issuerName},
		{"public_key", publicKey},
		{"subject_text", subjectText},
	}
}

const (
	extSubjectKeyID     = "2.5.29.14"
	extKeyUsage         = "2.5.29.15"
	extSubjectAltName   = "2.5.29.17"
	extBasicConstraints = "2.5.29.19"
	extNameConstraints  = "2.5.29.30"
	extCRLDistribution  = "2.5.29.31"
	extAuthorityKeyID   = "2.5.29.35"
	extExtKeyUsage      = "2.5.29.37"
	extFreshestCRL      = "2.5.29.46"
	extNoRevAvail       = "2.5.29.56"
	extInfoAccess       = "1.3.6.1.5.5.7.1.1"
	extOCSPNoCheck      = "1.3.6.1.5.5.7.48.1.5"
)

// value is the value of an extension and whether it is critical; nil when the certificate has none.
func (s subject) value(oid string) (value []byte, critical bool) {
	for _, extension := range s.cert.Extensions {
		if extension.Id.String() == oid {
			return extension.Value, extension.Critical
		}
	}
	return nil, false
}

func (s subject) has(oid string) bool {
	value, _ := s.value(oid)
	return value != nil
}

// serialNumber: 9 to 20 octets, so that at least 64 bits can be random (RFC 5280 §4.1.2.2, BR §7.1).
func serialNumber(s subject) error {
	octets := s.cert.SerialNumber.BitLen()/8 + 1
	if s.cert.SerialNumber.Sign() <= 0 || octets < 9 || octets > 20 {
		return fmt.Errorf("it has %d octets; a positive one of 9 to 20 is needed", octets)
	}
	return nil
}

// validity: both ends count (RFC 5280 §4.1.2.5).
func validity(s subject) error {
	lifetime := s.cert.NotAfter.Sub(s.cert.NotBefore) + time.Second
	if lifetime <= 0 || lifetime > s.options.MaxTTL {
		return fmt.Errorf("the lifetime is %v; at most %v is allowed", lifetime, s.options.MaxTTL)
	}
	return nil
}

func validityInIssuer(s subject) error {
	if s.issuer == nil {
		return nil
	}
	if s.cert.NotBefore.Before(s.issuer.NotBefore) || s.cert.NotAfter.After(s.issuer.NotAfter) {
		return fmt.Errorf("it is valid from %s to %s, its issuer from %s to %s", stamp(s.cert.NotBefore), stamp(s.cert.NotAfter),
			stamp(s.issuer.NotBefore), stamp(s.issuer.NotAfter))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// notBefore: certificates have whole seconds, hence the second of grace backwards.
func notBefore(s subject) error {
	earliest := s.options.Now.Add(-s.options.Backdate - time.Second)
	if s.cert.NotBefore.After(s.options.Now) || s.cert.NotBefore.Before(earliest) {
		return fmt.Errorf("it is %s; now is %s and the profile back-dates by at most %v", stamp(s.cert.NotBefore), stamp(s.options.Now), s.options.Backdate)
	}
	return nil
}

// authorityKeyID: the issuer's subject key identifier alone (RFC 5280 §4.2.1.1).
func authorityKeyID(s subject) error {
	want := s.cert.SubjectKeyId
	if s.issuer != nil {
		want = s.issuer.SubjectKeyId
	}
	if len(want) == 0 || !bytes.Equal(s.cert.AuthorityKeyId, want) {
		return fmt.Errorf("it is %x; the issuer's key has %x", s.cert.AuthorityKeyId, want)
	}
	return nil
}

// issuerName: names chain octet by octet (RFC 5280 §4.1.2.4).
func issuerName(s subject) error {
	want := s.cert.RawSubject
	if s.issuer != nil {
		want = s.issuer.RawSubject
	}
	if !bytes.Equal(s.cert.RawIssuer, want) {
		return errors.New("it is not the name of the issuer's certificate")
	}
	return nil
}

func publicKey(s subject) error { return pki.CheckPublicKey(s.cert.PublicKey) }

// subjectText: what people read must be what it is.
func subjectText(s subject) error {
	for _, attribute := range s.cert.Subject.Names {
		text, ok := attribute.Value.(string)
		if !ok {
			return errors.New("the subject holds something else than text")
		}
		if err := pki.CheckCommonName(text); err != nil {
			return err
		}
	}
	return nil
}

func leafUsage(s subject) error {
	if s.cert.IsCA {
		return errors.New("basicConstraints says CA:TRUE")
	}
	if s.cert.KeyUsage == 0 || s.cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return errors.New("keyUsage is missing or holds keyCertSign or cRLSign")
	}
	return nil
}

func leafIssuer(s subject) error {
	if s.issuer == nil {
		return errors.New("an end-entity certificate needs an issuer")
	}
	if !s.issuer.IsCA {
		return errors.New("the issuer is not an authority")
	}
	return nil
}

func authorityUsage(s subject) error {
	if !s.cert.IsCA || !s.cert.BasicConstraintsValid {
		return errors.New("basicConstraints does not say CA:TRUE")
	}
	if s.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("keyUsage lacks keyCertSign")
	}
	if s.issuer == nil {
		return nil
	}
	if !s.issuer.IsCA || s.issuer.MaxPathLenZero && s.issuer.MaxPathLen == 0 {
		return errors.New("the issuer may not have an authority below it")
	}
	return nil
}

func leafExtensions(s subject) error {
	return onlyExtensions(s.cert, extBasicConstraints, extKeyUsage, extExtKeyUsage, extSubjectAltName, extSubjectKeyID,
		extAuthorityKeyID, extCRLDistribution, extInfoAccess, extNoRevAvail, extOCSPNoCheck)
}

func authorityExtensions(s subject) error {
	return onlyExtensions(s.cert, extBasicConstraints, extKeyUsage, extExtKeyUsage, extSubjectKeyID, extAuthorityKeyID,
		extCRLDistribution, extInfoAccess, extNameConstraints)
}

func onlyExtensions(cert *x509.Certificate, allowed ...string) error {
	for _, extension := range cert.Extensions {
		if oid := extension.Id.String(); !slices.Contains(allowed, oid) {
			return fmt.Errorf("the extension %s is not allowed", oid)
		}
	}
	return nil
}

func nameTypes(s subject) error {
	if others := pki.OtherNames(s.cert); len(others) > 0 {
		return fmt.Errorf("subjectAltName holds %s; only DNS names, IP addresses, e-mail addresses and URIs are allowed", strings.Join(others, ", "))
	}
	return nil
}

// names: every name is one that may be asked for, in its canonical form, and they are no more than may be asked for.
func names(s subject) error {
	all := pki.NamesOf(s.cert).All()
	parsed, err := pki.ParseNames(all)
	if err != nil {
		return err
	}
	if again := parsed.All(); !slices.Equal(all, again) {
		return errors.New("a name stands twice or not in its canonical form")
	}
	return nil
}

func extendedKeyUsage(s subject) error {
	var allowed []string
	for _, text := range s.options.EKUs {
		usage, err := pki.ParseEKU(text)
		if err != nil {
			return err
		}
		allowed = append(allowed, usage)
	}
	for _, usage := range pki.EKUsOf(s.cert) {
		if !slices.Contains(allowed, usage) {
			return fmt.Errorf("%s is not allowed by the profile", usage)
		}
	}
	return nil
}

// noRevAvail: RFC 9608 §2 and §3.
func noRevAvail(s subject) error {
	value, critical := s.value(extNoRevAvail)
	switch {
	case value == nil:
		return nil
	case critical || !bytes.Equal(value, asn1.NullBytes):
		return errors.New("it is critical or not NULL")
	case s.cert.IsCA:
		return errors.New("it stands in an authority's certificate")
	case s.has(extCRLDistribution) || s.has(extFreshestCRL) || len(s.cert.OCSPServer) > 0:
		return errors.New("it stands beside an address of revocation information")
	}
	return nil
}

// ocspNoCheck: RFC 6960 §4.2.2.2.1.
func ocspNoCheck(s subject) error {
	value, critical := s.value(extOCSPNoCheck)
	switch {
	case value == nil:
		return nil
	case critical || !bytes.Equal(value, asn1.NullBytes):
		return errors.New("it is critical or not NULL")
	case !slices.Equal(s.cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}):
		return errors.New("it stands in a certificate that is not an OCSP responder's alone")
	}
	return nil
}
