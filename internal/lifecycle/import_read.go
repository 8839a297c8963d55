package lifecycle

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// signer is who signed a certificate.
type signer struct {
	authority string // of ours; "" when it is foreign
	issuer    string // that the authority belongs to; "" when it is foreign
	chain     []byte // DER of the authority's own certificate; nil when it is foreign
}

// signers are the authorities of our own.
type signers struct {
	all  []ownAuthority
	held map[[2]string]error // what was found of a chain: who is above whom, by fingerprints
}

type ownAuthority struct {
	leafward.Authority
	certs []*x509.Certificate
}

func newSigners(v *store.View) (*signers, error) {
	s := &signers{held: make(map[[2]string]error)}
	all, err := v.Authorities()
	for _, a := range all {
		if a.Issuer == "" {
			continue
		}
		own := ownAuthority{Authority: a}
		rows, err := v.CACertificates(a.ID)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			cert, err := pki.ParseCertificate(row.DER)
			if err != nil {
				return nil, err
			}
			own.certs = append(own.certs, cert)
		}
		s.all = append(s.all, own)
	}
	return s, err
}

// of is who signed a certificate. A name is easily borrowed: an authority of ours is believed by its signature only.
func (s *signers) of(leaf *x509.Certificate) signer {
	for _, a := range s.all {
		if !bytes.Equal(a.Subject, leaf.RawIssuer) || len(leaf.AuthorityKeyId) > 0 && hex.EncodeToString(leaf.AuthorityKeyId) != a.SKI {
			continue
		}
		for _, cert := range a.certs {
			if leaf.CheckSignatureFrom(cert) == nil {
				return signer{authority: a.ID, issuer: a.Issuer, chain: cert.Raw}
			}
		}
	}
	return signer{}
}

// above tells whether one certificate signed another. Above authorities it is found out once.
func (s *signers) above(cert, by *x509.Certificate) error {
	if !cert.IsCA {
		return cert.CheckSignatureFrom(by)
	}
	pair := [2]string{string(cert.Raw), string(by.Raw)}
	err, known := s.held[pair]
	if !known {
		err = cert.CheckSignatureFrom(by)
		s.held[pair] = err
	}
	return err
}

// read looks at the certificate of a row.
func (c *candidate) read(v *store.View, all *signers) error {
	c.SHA256 = pki.Fingerprint(c.leaf.Raw)
	kind, err := pki.KindOf(c.leaf.PublicKey)
	if err != nil {
		c.refuse("certificate", "leave it out", "is for a key that is not dealt with: %v", err)
		return nil
	}
	if c.spki, err = pki.SPKISHA256(c.leaf.PublicKey); err != nil {
		return err
	}
	c.kind = kind
	if !v.Now.Before(c.leaf.NotAfter) {
		c.refuse("certificate", "leave it out; `leafward cert create` makes a new one", "ended at %s", c.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if others := pki.OtherNames(c.leaf); len(others) > 0 {
		c.refuse("certificate", "leave it out, and have it renewed where it comes from", "has names of kinds that are not issued here: %s", strings.Join(slices.Compact(slices.Sorted(slices.Values(others))), ", "))
	}
	if slices.Contains(c.leaf.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		c.refuse("certificate", "leave it out; the authority that it answers for replaces it", "is that of an OCSP responder")
	}
	below := c.leaf
	for _, by := range c.above {
		if err := all.above(below, by); err != nil {
			c.refuse("certificate", "put each certificate behind the one that it signed", "has a chain that does not hold: %v", err)
			return nil
		}
		below = by
	}
	if n := len(c.above); n > 0 && bytes.Equal(c.above[n-1].RawSubject, c.above[n-1].RawIssuer) {
		c.above = c.above[:n-1] // a root stands in no chain
	}
	c.signer = all.of(c.leaf)
	return nil
}

// identify gives the record the certificate's names, and a name of its own.
func (c *candidate) identify(name string) {
	c.record.CommonName, c.record.SANs = c.leaf.Subject.CommonName, pki.NamesOf(c.leaf).All()
	c.named = name != ""
	if c.record.Name = name; name == "" {
		c.record.Name = c.record.CommonName
	}
}

// chain is what stands above the certificate, in DER.
func (c *candidate) chain() (ders [][]byte) {
	for _, cert := range c.above {
		ders = append(ders, cert.Raw)
	}
	if len(ders) == 0 && c.signer.chain != nil {
		ders = append(ders, c.signer.chain)
	}
	return ders
}

// plainly is a text of a certificate as it can be stored and shown.
func plainly(text string) string {
	const most = 1000
	text = strings.Map(func(r rune) rune {
		if leafward.Unprintable(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// fieldsOf are the fields of an error of an input; nil for none.
func fieldsOf(err error) []leafward.Field {
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		return e.Fields
	}
	return nil
}
