package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/store"
)

// Revocation is what a caller asks of a revocation.
type Revocation struct {
	Reason  string // of leafward.RevocationReasons; "": unspecified
	Version string // only this one; "": every unexpired one, and the certificate is closed
	Replace bool   // a new version with a new key comes first; for keyCompromise it comes after
}

func (r *Revocation) check() error {
	var p leafward.Problems
	if r.Reason == "" {
		r.Reason = leafward.Unspecified
	}
	if _, ok := leafward.RevocationReasons()[r.Reason]; !ok {
		p.Add("reason", fmt.Sprintf("%.40q is not a reason", r.Reason), "use one of "+strings.Join(slices.Sorted(maps.Keys(leafward.RevocationReasons())), ", "))
	}
	p.Check(!r.Replace || r.Reason != leafward.CertificateHold, "replace", "does not go with certificateHold, which is lifted again", "use another reason, or leave replace out")
	return p.Err()
}

// Revoke revokes a certificate. It is in OCSP when the call returns, and in the CRL within two seconds.
func (s *Service) Revoke(ctx context.Context, id string, r Revocation, once Once) (shown Shown, err error) {
	if err := r.check(); err != nil {
		return shown, err
	}
	root := ""
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		root = ""
		replayed, err := once.begin(tx, func(string) error { return nil })
		if err != nil || replayed {
			return err
		}
		if root, err = s.revoke(tx, id, r); err != nil {
			return err
		}
		once.end(tx, id)
		return nil
	})
	if err != nil {
		return shown, err
	}
	return s.show(ctx, id, root)
}

func (s *Service) revoke(tx *store.Tx, id string, r Revocation) (root string, err error) {
	c, err := s.mine(tx, id)
	if err != nil {
		return "", err
	}
	live, err := tx.LiveVersions(id)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, v := range live {
		if r.Version == "" || r.Version == v.ID {
			ids = append(ids, v.ID)
		}
	}
	if r.Version != "" && len(ids) == 0 {
		return "", leafward.Missing("version", r.Version)
	}
	if c.Version == "" {
		return "", leafward.Errorf(leafward.Conflict, "archive it instead", "nothing was issued for the certificate %s yet", c.Name)
	}
	if r.Replace {
		return s.replace(tx, &c, ids, r)
	}
	if err := revokeVersions(tx, &c, ids, r.Reason); err != nil {
		return "", err
	}
	if r.Version != "" || !c.RevokedAt.IsZero() && c.Reason == r.Reason {
		return "", nil
	}
	if !c.RevokedAt.IsZero() && r.Reason != leafward.KeyCompromise {
		return "", nil // revoked already: only keyCompromise says more
	}
	if err := s.stop(tx, &c); err != nil {
		return "", err
	}
	c.Revoke(r.Reason, tx.Now)
	tx.PutCertificate(&c)
	tx.Record(leafward.CertificateRevoked, c.ID, c.Team, leafward.Details{"reason": r.Reason, "versions": ids})
	return "", nil
}

// replace opens a renewal with new keys whose completion revokes the old versions; compromised ones are revoked at once.
func (s *Service) replace(tx *store.Tx, c *leafward.Certificate, ids []string, r Revocation) (string, error) {
	then, err := json.Marshal(after{Revoke: ids, Reason: r.Reason})
	if err != nil {
		return "", err
	}
	st := start{typ: leafward.Renewal, result: string(then)}
	if r.Reason == leafward.KeyCompromise {
		if err := revokeVersions(tx, c, ids, r.Reason); err != nil {
			return "", err
		}
		st.result = ""
	}
	return s.renew(tx, c, st)
}

// revokeVersions revokes what was signed, and closes the keys when they are compromised: their every other version too.
func revokeVersions(tx *store.Tx, c *leafward.Certificate, ids []string, reason string) error {
	for _, id := range ids {
		v, err := tx.Version(id)
		if err != nil {
			return err
		}
		if err := revokeVersion(tx, &v, reason); err != nil {
			return err
		}
		if reason != leafward.KeyCompromise {
			continue
		}
		if err := tx.CompromiseKey(v.Key); err != nil {
			return err
		}
		same, err := tx.VersionsOfKey(v.Key)
		if err != nil {
			return err
		}
		for _, other := range same {
			if err := revokeVersion(tx, &other, reason); err != nil {
				return err
			}
		}
	}
	if len(ids) > 0 && c.OpenJob == "" && c.RevokedAt.IsZero() {
		tx.RecordOn(leafward.CertificateRevoked, "certificate", c.ID, c.Team, leafward.Details{"reason": reason, "versions": ids, "closed": false})
	}
	return tx.Err()
}

func revokeVersion(tx *store.Tx, v *leafward.Version, reason string) error {
	changed, err := ca.Revoke(tx, v.Authority, v.Serial, reason, tx.Now)
	if err != nil || !changed {
		return err
	}
	v.RevokedAt, v.Reason = tx.Now, reason
	tx.PutVersion(v)
	return nil
}

// Release lifts a certificateHold; no other reason can be lifted.
func (s *Service) Release(ctx context.Context, id string) (shown Shown, err error) {
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		c, err := s.mine(tx, id)
		if err != nil {
			return err
		}
		if c.RevokedAt.IsZero() || c.Reason != leafward.CertificateHold {
			return leafward.Errorf(leafward.Conflict, "renew or make a new certificate", "the certificate %s is not on hold", c.Name)
		}
		live, err := tx.LiveVersions(id)
		if err != nil {
			return err
		}
		for _, v := range live {
			if v.Reason != leafward.CertificateHold {
				continue
			}
			if err := ca.Release(tx, v.Authority, v.Serial); err != nil {
				return err
			}
			v.RevokedAt, v.Reason = c.ArchivedAt, "" // archived rows cannot get here: the zero time
			tx.PutVersion(&v)
		}
		policy, err := tx.RenewalPolicy(c.Policy)
		if err != nil {
			return err
		}
		c.Release(&policy)
		tx.PutCertificate(&c)
		tx.Record(leafward.CertificateReleased, c.ID, c.Team, nil)
		return nil
	})
	if err != nil {
		return shown, err
	}
	return s.show(ctx, id, "")
}
