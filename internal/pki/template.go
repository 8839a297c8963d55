package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"
)

// NoPathLen leaves the path length of an authority's certificate open.
const NoPathLen = -1

const maxURLs = 8 // per extension

// Subject is the distinguished name that leafward writes.
type Subject struct {
	CommonName   string
	Organization string
}

// Template is what a certificate will say besides its issuer and its key. What is zero is left out of the
// certificate, unless the field says otherwise.
type Template struct {
	Serial     *big.Int
	Subject    Subject
	RawSubject []byte // a DER Name that stands in place of Subject: the unchanged name of an authority
	Names      Names

	NotBefore time.Time     // cut to the second
	TTL       time.Duration // in whole seconds; both ends count, so that notAfter = NotBefore + TTL − 1 s

	CA       bool
	PathLen  int           // of a CA; zero means that it issues end-entity certificates only
	KeyUsage x509.KeyUsage // zero means keyCertSign and cRLSign for a CA, digitalSignature otherwise
	EKUs     []string      // in ParseEKU's forms, in order
	SKI      []byte        // zero means SubjectKeyID of the key

	CRLDistributionPoints []string // URLs
	OCSPServers           []string // URLs
	CAIssuers             []string // URLs

	NoRevAvail  bool // RFC 9608: nobody will tell about revocation
	OCSPNoCheck bool // RFC 6960 §4.2.2.2.1, for OCSP responders
}

// Issuer is what a certificate and a CRL say about who signs them.
type Issuer struct {
	Subject []byte // DER Name
	SKI     []byte
	Kind    KeyKind // of the key that signs
}

// IssuerOf reads the Issuer from a certificate of the authority.
func IssuerOf(cert *x509.Certificate) (Issuer, error) {
	kind, err := KindOf(cert.PublicKey)
	if err != nil {
		return Issuer{}, err
	}
	if len(cert.SubjectKeyId) == 0 {
		return Issuer{}, errors.New("the authority's certificate has no subject key identifier, which RFC 5280 §4.2.1.2 demands")
	}
	return Issuer{Subject: cert.RawSubject, SKI: cert.SubjectKeyId, Kind: kind}, nil
}

// SelfIssuer is the Issuer of a certificate that a root makes for itself from this template.
func (t Template) SelfIssuer(pub crypto.PublicKey) (Issuer, error) {
	kind, err := KindOf(pub)
	if err != nil {
		return Issuer{}, err
	}
	ski, err := t.keyID(pub)
	if err != nil {
		return Issuer{}, err
	}
	subject, err := t.subject()
	return Issuer{Subject: subject, SKI: ski, Kind: kind}, err
}

// NotAfter is the last second of the certificate's life.
func (t Template) NotAfter() time.Time {
	return t.notBefore().Add(t.TTL - time.Second)
}

func (t Template) notBefore() time.Time { return t.NotBefore.UTC().Truncate(time.Second) }

func (t Template) keyID(pub crypto.PublicKey) ([]byte, error) {
	if len(t.SKI) > 0 {
		return t.SKI, nil
	}
	return SubjectKeyID(pub)
}

func (t Template) subject() ([]byte, error) {
	if len(t.RawSubject) > 0 {
		return t.RawSubject, nil
	}
	var name pkix.Name
	if t.Subject.Organization != "" {
		if err := CheckCommonName(t.Subject.Organization); err != nil {
			return nil, fmt.Errorf("the organization: %w", err)
		}
		name.Organization = []string{t.Subject.Organization}
	}
	if t.Subject.CommonName != "" {
		if err := CheckCommonName(t.Subject.CommonName); err != nil {
			return nil, fmt.Errorf("the common name: %w", err)
		}
		name.CommonName = t.Subject.CommonName
	}
	return asn1.Marshal(name.ToRDNSequence())
}

// keyUsage is the key usage with its default.
func (t Template) keyUsage() x509.KeyUsage {
	switch {
	case t.KeyUsage != 0:
		return t.KeyUsage
	case t.CA:
		return x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	return x509.KeyUsageDigitalSignature
}

// check is nil for a template that makes sense for a key of a kind.
func (t Template) check(kind KeyKind) error {
	if t.Serial == nil || t.Serial.Sign() <= 0 || t.Serial.BitLen() >= 8*maxSerialOctets {
		return errors.New("the serial number is not a positive one of at most 20 octets")
	}
	if err := t.checkValidity(); err != nil {
		return err
	}
	signing := x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch usage := t.keyUsage(); {
	case t.CA && usage&x509.KeyUsageCertSign == 0:
		return errors.New("an authority's certificate needs the key usage keyCertSign")
	case !t.CA && usage&signing != 0:
		return errors.New("only an authority's certificate has the key usages keyCertSign and cRLSign")
	case usage&x509.KeyUsageKeyEncipherment != 0 && kind.Algorithm != RSA:
		return errors.New("only RSA keys have the key usage keyEncipherment")
	case t.CA && t.PathLen < NoPathLen, !t.CA && t.PathLen != 0:
		return errors.New("the path length does not fit the certificate")
	case t.CA && t.Names.Len() > 0:
		return errors.New("an authority's certificate has no subject alternative names")
	case t.Names.Len() > MaxNames:
		return fmt.Errorf("there are %d names; a certificate holds at most %d", t.Names.Len(), MaxNames)
	case t.NoRevAvail && (t.CA || len(t.CRLDistributionPoints)+len(t.OCSPServers) > 0):
		return errors.New("noRevAvail stands only in an end-entity certificate without CRL and OCSP addresses (RFC 9608 §2)")
	case len(t.EKUs) > maxEKUs:
		return fmt.Errorf("there are %d extended key usages; at most %d are allowed", len(t.EKUs), maxEKUs)
	}
	for _, list := range [][]string{t.CRLDistributionPoints, t.OCSPServers, t.CAIssuers} {
		if err := checkURLs(list); err != nil {
			return err
		}
	}
	return nil
}

func (t Template) checkValidity() error {
	first, last := t.notBefore(), t.NotAfter()
	switch {
	case t.TTL < time.Second || t.TTL%time.Second != 0:
		return fmt.Errorf("the lifetime %v is not a positive number of whole seconds", t.TTL)
	case first.Year() < 1950 || last.Year() > 9999:
		return fmt.Errorf("the lifetime from %s to %s cannot be written in a certificate (RFC 5280 §4.1.2.5)",
			first.Format(time.RFC3339), last.Format(time.RFC3339))
	}
	return nil
}

func checkURLs(list []string) error {
	if len(list) > maxURLs {
		return fmt.Errorf("there are %d addresses; at most %d are allowed", len(list), maxURLs)
	}
	for _, text := range list {
		u, err := url.Parse(text)
		printable := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
		if err != nil || !printable || len(text) > maxName || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("the address %s is not an http or https URL", quote(text))
		}
	}
	return nil
}
