package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// place is the ids under which an authority and its key are stored.
type place struct{ authority, key string }

func newPlace() place { return place{store.NewID("ca"), store.NewID("kp")} }

// placeOf is where an authority that was made elsewhere has its place: where it is known as somebody else's, from a chain,
// or a new one.
func (c *CA) placeOf(ctx context.Context, own *x509.Certificate) (at place, err error) {
	at = newPlace()
	spki, err := pki.SPKISHA256(own.PublicKey)
	if err != nil {
		return at, err
	}
	return at, c.db.View(ctx, func(v *store.View) error {
		a, found, err := v.AuthorityOf(hex.EncodeToString(own.SubjectKeyId), own.RawSubject)
		if err != nil || !found || a.Custody != leafward.CustodyExternal {
			return err
		}
		key, err := v.KeyPair(a.Key)
		if err == nil && key.SPKI == spki {
			at = place{a.ID, a.Key}
		}
		return err
	})
}

// claim takes the authority's place: one that was somebody else's becomes ours, and what stands below it stays there. Any
// other key that is known here is refused, since an authority has a key of its own.
func (f *founded) claim(tx *store.Tx) error {
	key, found, err := tx.KeyPairOf(f.key.SPKI)
	if err != nil || !found {
		return err
	}
	a, _, err := tx.FindAuthority(key.Holder)
	if err != nil {
		return err
	}
	if a.ID != f.authority.ID || a.Custody != leafward.CustodyExternal || !key.CompromisedAt.IsZero() {
		return leafward.Errorf(leafward.Conflict, "use the issuer that has it, or have a certificate made for another key", "the key of the authority %s is known here already", f.authority.Name)
	}
	f.known, f.key.Row, f.authority.Row = true, key.Row, a.Row
	if f.authority.Parent == "" {
		f.authority.Parent = a.Parent
	}
	all, err := tx.CACertificates(a.ID)
	for _, one := range all {
		if one.SHA256 != f.certificate.SHA256 {
			continue
		}
		f.filed, f.certificate.Row, f.authority.Certificate = true, one.Row, one.ID
		if f.certificate.Signer == "" {
			f.certificate.Signer = one.Signer
		}
	}
	return err
}

// answer makes authorities of ours answer for what they signed before they were: the certificate of this one, and those
// of the ones below it.
func (f *founded) answer(tx *store.Tx) error {
	if err := answerFor(tx, &f.certificate, f.authority.Name); err != nil || !f.known {
		return err
	}
	below, err := tx.AuthoritiesBelow(f.authority.ID)
	if err != nil {
		return err
	}
	for _, a := range below {
		all, err := tx.CACertificates(a.ID)
		if err != nil {
			return err
		}
		for i := range all {
			if err := answerFor(tx, &all[i], a.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// answerFor lets the authority that signed a certificate know its serial, if the authority is ours and does not.
func answerFor(tx *store.Tx, cert *leafward.CACertificate, name string) error {
	signer, found, err := tx.FindAuthority(cert.Signer)
	if err != nil || !found || !signer.Ours() {
		return err
	}
	if _, known, err := tx.Serial(signer.ID, cert.Serial); err != nil || known {
		return err
	}
	tx.AddSerial(&leafward.Serial{
		Authority: signer.ID, Serial: cert.Serial, State: leafward.SerialImported, Name: name, Subject: cert.Authority, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	})
	return tx.Err()
}

// ancestry is what stands above a new authority.
type ancestry struct {
	signer, serial string              // the parent of ours that signed it, and the reservation there
	certs          []*x509.Certificate // foreign certificates above an imported one, in order
}

// store marks the parent's serial, or stores the foreign authorities that are not known yet and links them.
func (n ancestry) store(tx *store.Tx, f *founded) error {
	if n.serial != "" {
		return MarkIssued(tx, n.signer, n.serial)
	}
	signer := ""
	for i := len(n.certs) - 1; i >= 0; i-- {
		id, err := foreign(tx, n.certs[i], signer)
		if err != nil {
			return err
		}
		signer = id
	}
	if len(n.certs) > 0 {
		f.authority.Parent, f.certificate.Signer = signer, signer
	}
	return tx.Err()
}

// foreign finds the authority of a certificate, or stores it as somebody else's.
func foreign(tx *store.Tx, cert *x509.Certificate, signer string) (string, error) {
	spki, err := pki.SPKISHA256(cert.PublicKey)
	if err != nil {
		return "", err
	}
	a, found, err := tx.AuthorityOf(hex.EncodeToString(cert.SubjectKeyId), cert.RawSubject)
	if err != nil {
		return "", err
	}
	if found {
		known, err := tx.KeyPair(a.Key)
		if err == nil && known.SPKI != spki {
			err = leafward.Errorf(leafward.Conflict, "see which of the two chains is right", "the authority %s is here already, with the same name and key identifier and another key", a.Name)
		}
		return a.ID, err
	}
	kind, err := pki.KindOf(cert.PublicKey)
	if err != nil {
		return "", err
	}
	a = leafward.Authority{
		Row: leafward.Row{ID: store.NewID("ca")}, Name: label(cert), Subject: cert.RawSubject, SKI: hex.EncodeToString(cert.SubjectKeyId), Algorithm: kind.Algorithm, Size: kind.Size,
		Custody: leafward.CustodyExternal, State: leafward.AuthorityActive, Parent: signer, NotAfter: cert.NotAfter,
	}
	key, found, err := tx.KeyPairOf(spki)
	if err != nil {
		return "", err
	}
	if !found {
		key = leafward.Key{SPKI: spki, Algorithm: kind.Algorithm, Size: kind.Size, Custody: leafward.UnknownKey, Holder: a.ID, Retrieval: "never"}
		tx.AddKeyPair(&key)
	}
	if signer == "" && string(cert.RawIssuer) == string(cert.RawSubject) {
		signer = a.ID
	}
	row := caCertificate(a.ID, signer, "imported", cert)
	a.Key, a.Certificate = key.ID, row.ID
	tx.AddAuthority(&a)
	tx.AddCACertificate(&row)
	return a.ID, tx.Err()
}

// label is what people call the subject of a CA certificate.
func label(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" {
		return cert.Subject.CommonName
	}
	return cert.Subject.String()
}

// adopt takes over an authority that was made elsewhere. Everything wrong with it is told at once.
func (c *CA) adopt(ctx context.Context, issuer string, spec Spec, now time.Time) (*founded, ancestry, error) {
	own := spec.Certificates[0]
	if err := adoptable(spec.Certificates, spec.PrivateKey, now); err != nil {
		return nil, ancestry{}, err
	}
	at, err := c.placeOf(ctx, own)
	if err != nil {
		return nil, ancestry{}, err
	}
	f, err := c.begin(issuer, label(own), spec.PrivateKey, at)
	if err != nil {
		return nil, ancestry{}, err
	}
	signer := ""
	if len(spec.Certificates) == 1 && own.CheckSignatureFrom(own) == nil {
		signer = f.authority.ID
		f.serial = leafward.Serial{Authority: signer, Serial: pki.SerialHex(own.SerialNumber), State: leafward.SerialImported, Name: label(own), Subject: signer, NotBefore: own.NotBefore, NotAfter: own.NotAfter}
	}
	return f, ancestry{certs: spec.Certificates[1:]}, f.certify("imported", signer, own.Raw, now)
}

func adoptable(chain []*x509.Certificate, key crypto.Signer, now time.Time) error {
	const certificate = "certificate_pem"
	own := chain[0]
	var p leafward.Problems
	p.Check(own.IsCA && own.BasicConstraintsValid, certificate, "is not the certificate of an authority (CA:TRUE)", "give the certificate of a CA")
	const usage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	p.Check(own.KeyUsage&usage == usage, certificate, "does not allow signing certificates and CRLs (keyCertSign, cRLSign)", "have the CA above issue it with both")
	p.Check(!now.Before(own.NotBefore) && now.Before(own.NotAfter), certificate, fmt.Sprintf("is valid from %s to %s, not now", own.NotBefore.Format(time.RFC3339), own.NotAfter.Format(time.RFC3339)), "give one that is valid")
	p.Check(!emptyName(own), certificate, "has an empty subject, which no issuer of certificates may have (RFC 5280 §4.1.2.4)", "have the CA above issue it with a name")
	p.Check(!strings.ContainsFunc(own.Subject.String(), leafward.Unprintable), certificate, "has invisible characters in its subject", "have the CA above issue it with a name that can be read")
	p.Check(len(own.SubjectKeyId) > 0, certificate, "has no subject key identifier (RFC 5280 §4.2.1.2)", "have the CA above issue it with one")
	if err := pki.CheckPublicKey(own.PublicKey); err != nil {
		p.Add(certificate, "has a key that is not used here: "+err.Error(), "use ECDSA P-256 or P-384, Ed25519, or RSA from 2048 bits")
	}
	if _, err := pki.VerifyChain(own, chain[1:], chain[len(chain)-1:], now); err != nil && p.Err() == nil {
		p.Add(certificate, "is one that nobody would accept: "+err.Error(), "give a chain that is valid now, up to the root or the last that is known")
	}
	if err := pki.CheckPathLen(chain); err != nil {
		p.Add(certificate, err.Error(), "have the CA above issue it under another path length")
	}
	public, ok := own.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	p.Check(ok && public.Equal(key.Public()), "private_key_pem", "is not the key of the certificate", "give the key that belongs to the first certificate")
	return p.Err()
}

// emptyName tells whether a certificate's subject is a sequence of nothing.
func emptyName(cert *x509.Certificate) bool { return len(cert.RawSubject) <= 2 }
