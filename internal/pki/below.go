package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
)

// CheckBelow says why a draft would not verify below its authorities, which are given from its issuer upwards: their name
// constraints and extended key usages bind whatever stands below them (RFC 5280 §4.2.1.10; for the usages §4.2.1.12 as
// relying parties read it).
func (d *Dummy) CheckBelow(draft Draft, authorities []*x509.Certificate) error {
	var leaf *x509.Certificate
	for _, authority := range authorities {
		allowed := EKUsOf(authority)
		constraints := slices.IndexFunc(authority.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 30}) })
		if len(allowed) == 0 && constraints < 0 {
			continue
		}
		if leaf == nil {
			var err error
			if leaf, err = x509.ParseCertificate(draft.Certificate); err != nil {
				return err
			}
		}
		for _, usage := range EKUsOf(leaf) {
			if len(allowed) > 0 && !slices.Contains(allowed, usage) && !slices.Contains(allowed, AnyUsage) {
				return fmt.Errorf("the authority %s may not have certificates for %s below it", quote(authority.Subject.String()), usage)
			}
		}
		if constraints < 0 {
			continue
		}
		if err := d.checkNames(leaf, authorities[0], authority.Extensions[constraints]); err != nil {
			return fmt.Errorf("the authority %s may not have these names below it: %w", quote(authority.Subject.String()), err)
		}
	}
	return nil
}

// checkNames has crypto/x509 judge the names of a draft, below a stand-in for its issuer that has the throw-away key and
// the constraints.
func (d *Dummy) checkNames(leaf, issuer *x509.Certificate, constraints pkix.Extension) error {
	kind, err := KindOf(issuer.PublicKey)
	if err != nil {
		return err
	}
	signer, err := d.key(kind)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: NewSerial(), RawSubject: leaf.RawIssuer, SubjectKeyId: leaf.AuthorityKeyId, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtraExtensions: []pkix.Extension{constraints},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return err
	}
	standIn, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	signed, err := sign(leaf.RawTBSCertificate, signer)
	if err != nil {
		return err
	}
	if leaf, err = x509.ParseCertificate(signed); err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool([]*x509.Certificate{standIn}), CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
