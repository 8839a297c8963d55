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
	last, err := v.CRLHead(p.Signer.ID, 0)
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
//
// An authority whose key is in the database although it had gone offline signs its last list, and the key goes again.
func (c *CA) Republish(ctx context.Context) error {
	ctx = system(ctx)
	c.made.Clear() // none goes on from a list of before
	var ids, leaving []string
	err := c.db.View(ctx, func(v *store.View) error {
		rows, err := v.Authorities()
		for _, row := range rows {
			if row.Custody == leafward.CustodyLocal && row.Certificate != "" && row.State != leafward.AuthorityRetired && row.NotAfter.After(v.Now) {
				ids = append(ids, row.ID)
			}
			if row.Away() == nil || !row.NotAfter.After(v.Now) {
				continue
			}
			key, err := v.KeyPair(row.Key)
			if err != nil {
				return err
			}
			if len(key.Sealed) > 0 {
				leaving = append(leaving, row.ID)
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
	for _, id := range leaving {
		if err := c.leaveAgain(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("taking the key of %s offline again: %w", id, err))
		}
	}
	return errors.Join(append(errs, err)...)
}

// leaveAgain removes the key of an authority that had gone offline, and came back with a database that was put back.
func (c *CA) leaveAgain(ctx context.Context, id string) error {
	may := func(v *store.View, row *leafward.Authority) error {
		row.CRLHours = max(1, int(min(time.Duration(row.CRLHours)*time.Hour, row.NotAfter.Sub(v.Now))/time.Hour))
		return nil
	}
	return c.leave(ctx, id, may, func(tx *store.Tx, row *leafward.Authority, list *leafward.CRL) {
		c.log.WarnContext(ctx, "the key of an authority that had gone offline came back with an older database, and was removed again", "authority", row.Name)
		tx.Record(leafward.AuthorityTakenOffline, row.ID, "", leafward.Details{
			"name": row.Name, "copy_sha256": row.Copy, "crl_hours": row.CRLHours, "crl_next_update": list.NextUpdate.Format(time.RFC3339), "again": true,
		})
	})
}

// RecoverOffline notes that the key of an authority had gone offline. The key stays until the server starts: it has a list
// to sign, and it may have come back since.
func RecoverOffline(tx *store.Tx, id, sha string, hours int, at time.Time) (changed bool, err error) {
	row, found, err := tx.FindAuthority(id)
	if err != nil || !found || row.Custody != leafward.CustodyLocal {
		return false, err
	}
	row.Custody, row.Copy, row.CRLHours, row.OfflineAt = leafward.CustodyOffline, sha, hours, at
	tx.PutAuthority(&row)
	return true, tx.Err()
}

// RecoverOnline notes that the key of an authority had come back, if the database has it: otherwise it stays offline, and is
// brought back once more.
func RecoverOnline(tx *store.Tx, id string) (changed bool, err error) {
	row, found, err := tx.FindAuthority(id)
	if err != nil || !found || row.Custody != leafward.CustodyOffline {
		return false, err
	}
	key, err := tx.KeyPair(row.Key)
	if err != nil || len(key.Sealed) == 0 {
		return false, err
	}
	row.Custody, row.CRLHours, row.OfflineAt, row.Copy = leafward.CustodyLocal, crlHours, time.Time{}, ""
	tx.PutAuthority(&row)
	return true, tx.Err()
}
