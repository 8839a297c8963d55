package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Recognise makes a serial known again that was issued and is missing, because the database was put back from a backup. ours
// is false when its authority is missing too. One of which nothing more is told than that it was revoked, without a subject, is
// taken to end with its authority.
func Recognise(tx *store.Tx, s leafward.Serial) (ours, changed bool, err error) {
	known, found, err := tx.Serial(s.Authority, s.Serial)
	if err != nil {
		return false, false, err
	}
	if s.Subject == "" {
		s.Name, s.Subject, s.NotBefore = "known by its revocation", fromList+s.Serial, tx.Now
	}
	s.State, s.TBS, s.TBSHash = leafward.SerialIssued, []byte{}, []byte{}
	if found {
		listed := strings.HasPrefix(known.Subject, fromList) && !strings.HasPrefix(s.Subject, fromList)
		reserved := known.State == leafward.SerialReserved
		if reserved && strings.HasPrefix(s.Subject, fromList) {
			s.Name, s.Subject, s.NotBefore, s.NotAfter = known.Name, known.Subject, known.NotBefore, known.NotAfter
		}
		if listed || reserved {
			tx.ReplaceSerial(&s)
		}
		return true, reserved, tx.Err()
	}
	signer, ours, err := tx.FindAuthority(s.Authority)
	if err != nil || !ours {
		return false, false, err
	}
	if s.NotAfter.IsZero() {
		s.NotAfter = signer.NotAfter
	}
	tx.AddSerial(&s)
	return true, true, tx.Err()
}

// fromList begins the subject of a serial of which nothing is known but that it was revoked, as it stood on a CRL.
const fromList = "crl/"

// Published is a CRL that an authority of ours has published, wherever it was found.
type Published struct {
	leafward.CRL
	Signer leafward.Authority
	Last   int64 // number of the list that the database knows
	Tells  []leafward.Serial
}

// ReadPublished finds the authority of a CRL, in DER or PEM, and what the list tells that the database does not know: serials
// with reason and moment. It is Invalid when no authority of ours has signed it.
func ReadPublished(v *store.View, raw []byte) (p Published, err error) {
	der, err := pki.DecodeCRL(raw)
	if err != nil {
		return p, leafward.Errorf(leafward.Invalid, "give a CRL as an authority of this server published it, in DER or PEM", "the file is not a CRL: %v", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || list.Number == nil || !list.Number.IsInt64() {
		return p, leafward.Errorf(leafward.Invalid, "give a CRL as an authority of this server published it, in DER or PEM", "the file is not a CRL with a number of ours")
	}
	if p.Signer, err = signerOf(v, list); err != nil {
		return p, err
	}
	p.CRL = leafward.CRL{
		Authority: p.Signer.ID, Number: list.Number.Int64(), ThisUpdate: list.ThisUpdate.UTC(), NextUpdate: list.NextUpdate.UTC(),
		Entries: len(list.RevokedCertificateEntries), DER: list.Raw,
	}
	last, _, err := v.CRL(p.Signer.ID, 0)
	if err != nil {
		return p, err
	}
	p.Last, p.RevSeq = last.Number, last.RevSeq
	known := map[string]string{}
	err = v.Revoked(p.Signer.ID, 0, time.Time{}, func(serial, reason string, _ time.Time) error {
		known[serial] = reason
		return nil
	})
	names := map[int]string{}
	for name, code := range leafward.RevocationReasons() {
		names[code] = name
	}
	for _, e := range list.RevokedCertificateEntries {
		serial, reason := pki.SerialHex(e.SerialNumber), names[e.ReasonCode]
		if reason != "" && known[serial] != reason {
			p.Tells = append(p.Tells, leafward.Serial{
				Authority: p.Signer.ID, Serial: serial, Name: "on a published CRL", Subject: fromList + serial, NotBefore: e.RevocationTime.UTC(),
				NotAfter: p.Signer.NotAfter, RevokedAt: e.RevocationTime.UTC(), Reason: reason,
			})
		}
	}
	return p, err
}

// signerOf finds the authority that has signed a list.
func signerOf(v *store.View, list *x509.RevocationList) (leafward.Authority, error) {
	rows, err := v.Authorities()
	if err != nil {
		return leafward.Authority{}, err
	}
	for _, row := range rows {
		if row.Certificate == "" {
			continue
		}
		own, err := v.CACertificate(row.Certificate)
		if err != nil {
			return row, err
		}
		cert, err := pki.ParseCertificate(own.DER)
		if err == nil && list.CheckSignatureFrom(cert) == nil {
			return row, nil
		}
	}
	return leafward.Authority{}, leafward.Errorf(leafward.Invalid, "give the CRLs of this server's authorities only", "no authority of this server has signed the CRL of %s", list.Issuer)
}

// Republish makes a new CRL for every authority that publishes, whether one is due or not: the lists that the database knows
// are not the last that the world has seen.
func (c *CA) Republish(ctx context.Context) error {
	ctx = system(ctx)
	var ids []string
	err := c.db.View(ctx, func(v *store.View) error {
		rows, err := v.Authorities()
		for _, row := range rows {
			if row.Custody == custodyLocal && row.Certificate != "" && row.State != leafward.AuthorityRetired && row.NotAfter.After(v.Now) {
				ids = append(ids, row.ID)
			}
		}
		return err
	})
	var errs []error
	for _, id := range ids {
		if err := c.publish(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("the CRL of %s: %w", id, err))
		}
	}
	return errors.Join(append(errs, err)...)
}
