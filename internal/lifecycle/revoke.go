package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/store"
)

// Revocation is what a caller asks of a revocation.
type Revocation struct {
	Reason  string // of leafward.RevocationReasons; "": unspecified
	Version string // only this one; "": every unexpired one, and the certificate is closed
	Replace bool   // a new version with a new key comes first; for keyCompromise it comes after

	batch string // that it is a part of
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
	s.db.Forget() // nothing was written where it was revoked before
	if shown, err = s.show(ctx, id, root); err != nil || r.Reason != leafward.KeyCompromise {
		return shown, err
	}
	err = s.db.View(ctx, func(v *store.View) error {
		shown.Also, err = v.LostWith(id, r.Version)
		return err
	})
	return shown, err
}

func (s *Service) revoke(tx *store.Tx, id string, r Revocation) (root string, err error) {
	c, err := s.mine(tx, id)
	if err != nil {
		return "", err
	}
	if c.Version == "" {
		return "", leafward.Errorf(leafward.Conflict, "archive it instead", "nothing was issued for the certificate %s yet", c.Name)
	}
	ids, err := r.versions(tx, &c)
	if err != nil {
		return "", err
	}
	if r.Replace {
		return s.replace(tx, &c, ids, r)
	}
	if r.Version != "" {
		return "", revokeNow(tx, &c, ids, r.Reason)
	}
	if revoked(&c, r.Reason) {
		return "", nil
	}
	if c.RevokedAt.IsZero() {
		if err := s.stop(tx, &c); err != nil {
			return "", err
		}
	}
	c.Revoke(r.Reason, tx.Now)
	tx.PutCertificate(&c)
	all, err := revokeVersions(tx, &c, ids, r.Reason)
	if err != nil {
		return "", err
	}
	details := all.details(c.ID)
	details["batch"] = r.batch
	tx.Record(leafward.CertificateRevoked, c.ID, c.Team, details)
	all.recordOthers(tx, c.ID)
	return "", tx.Err()
}

// revoked tells whether the certificate is revoked already and the reason says nothing more: only a hold becomes something
// else, and anything a compromise.
func revoked(c *leafward.Certificate, reason string) bool {
	return !c.RevokedAt.IsZero() && (c.Reason == reason || c.Reason != leafward.CertificateHold && reason != leafward.KeyCompromise)
}

// versions are the ids of what is revoked: all that was signed here or at the request of this server.
func (r *Revocation) versions(tx *store.Tx, c *leafward.Certificate) (ids []string, err error) {
	live, err := tx.LiveVersions(c.ID)
	if err != nil {
		return nil, err
	}
	ids = []string{}
	foreign := false
	for _, v := range live {
		asked := r.Version == "" || r.Version == v.ID
		foreign = foreign || asked && v.Foreign()
		if asked && !v.Foreign() {
			ids = append(ids, v.ID)
		}
	}
	if foreign && len(ids) == 0 {
		return nil, leafward.Errorf(leafward.Conflict, "revoke it there; renewing it here gets one from the issuer of the record, and archiving takes it out of the lists", "the certificate %s was signed by another authority, which alone revokes it", c.Name)
	}
	if r.Version != "" && len(ids) == 0 {
		var p leafward.Problems
		p.Add("version_id", fmt.Sprintf("%.130q is not a version of the certificate that has not expired", r.Version), "use one of GET versions, or leave it out")
		return nil, p.Err()
	}
	return ids, nil
}

// replace opens a renewal with new keys whose completion revokes the old versions. Compromised ones are revoked at once,
// and what is open then is given up for the renewal.
func (s *Service) replace(tx *store.Tx, c *leafward.Certificate, ids []string, r Revocation) (string, error) {
	then, err := json.Marshal(after{Revoke: ids, Reason: r.Reason})
	if err != nil {
		return "", err
	}
	st := start{typ: leafward.Renewal, result: string(then), fresh: true}
	if r.Reason != leafward.KeyCompromise {
		return s.renew(tx, c, st)
	}
	if _, closed := c.Closed(); !closed && c.OpenJob != "" {
		if err := s.stop(tx, c); err != nil {
			return "", err
		}
	}
	st.result = ""
	root, err := s.renew(tx, c, st)
	if err != nil {
		return "", err
	}
	return root, revokeNow(tx, c, ids, r.Reason)
}

// revokeNow revokes versions of a certificate that stays open, and records that when anything changed.
func revokeNow(tx *store.Tx, c *leafward.Certificate, ids []string, reason string) error {
	all, err := revokeVersions(tx, c, ids, reason)
	if err != nil {
		return err
	}
	if all.changed {
		details := all.details(c.ID)
		details["closed"] = false
		tx.Record(leafward.CertificateRevoked, c.ID, c.Team, details)
	}
	all.recordOthers(tx, c.ID)
	return tx.Err()
}

// struck is everything that one revocation revoked. Its events tell it so that a database which lost a version, or has others
// of the same key, closes all of them again: by serial and by key, not only by what a row is called here.
type struck struct {
	reason   string
	changed  bool
	versions map[string][]leafward.Version // by certificate, each once
	keys     []string                      // SPKI hashes of those that are compromised
}

func (s *struck) add(v *leafward.Version) {
	if !slices.ContainsFunc(s.versions[v.Certificate], func(known leafward.Version) bool { return known.ID == v.ID }) {
		s.versions[v.Certificate] = append(s.versions[v.Certificate], *v)
	}
}

// details are what the event of one certificate tells.
func (s *struck) details(certificate string) leafward.Details {
	ids := []string{}
	for _, v := range s.versions[certificate] {
		ids = append(ids, v.ID)
	}
	d := leafward.Details{"versions": ids, "serials": serialsOf(s.versions[certificate])}
	if s.reason != "" {
		d["reason"] = s.reason
	}
	if len(s.keys) > 0 {
		d["keys"] = s.keys
	}
	return d
}

// recordOthers records what was closed of other certificates, since it holds a key of this one.
func (s *struck) recordOthers(tx *store.Tx, of string) {
	for _, id := range slices.Sorted(maps.Keys(s.versions)) {
		if id != of {
			details := s.details(id)
			details["closed"], details["key_of"] = false, of
			tx.Record(leafward.CertificateRevoked, id, s.versions[id][0].Team, details)
		}
	}
}

// serialsOf are the serials of versions that our own authorities signed, by authority.
func serialsOf(versions []leafward.Version) map[string]any {
	all := map[string]any{}
	for _, v := range versions {
		if v.Authority != "" && !v.Foreign() {
			some, _ := all[v.Authority].([]string)
			all[v.Authority] = append(some, v.Serial)
		}
	}
	return all
}

// revokeVersions revokes what was signed, and closes the keys when they are compromised: their every other version goes
// too. A certificate that stays open is renewed at once when a version in use was revoked.
func revokeVersions(tx *store.Tx, c *leafward.Certificate, ids []string, reason string) (all struck, err error) {
	all = struck{reason: reason, versions: map[string][]leafward.Version{c.ID: nil}}
	for _, id := range ids {
		v, err := tx.Version(id)
		if err != nil {
			return all, err
		}
		done, err := revokeVersion(tx, &v, reason, tx.Now)
		if err != nil {
			return all, err
		}
		all.changed = all.changed || done
		all.add(&v)
		if reason != leafward.KeyCompromise {
			continue
		}
		if err := all.compromise(tx, v.Key, tx.Now); err != nil {
			return all, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(all.versions)) {
		if err := hasten(tx, id); err != nil {
			return all, err
		}
	}
	return all, tx.Err()
}

// compromise closes a key and what is open of it.
func (s *struck) compromise(tx *store.Tx, key string, at time.Time) error {
	spki, err := tx.CompromiseKey(key)
	if err != nil {
		return err
	}
	if spki != "" && !slices.Contains(s.keys, spki) {
		s.keys = append(s.keys, spki)
	}
	same, err := tx.VersionsOfKey(key)
	if err != nil {
		return err
	}
	for _, other := range same {
		done, err := revokeVersion(tx, &other, leafward.KeyCompromise, at)
		if err != nil {
			return err
		}
		if done {
			s.changed = true
			s.add(&other)
		}
	}
	return nil
}

// hasten makes a certificate Expiring, and due, when a version in use is revoked: a newest one of its slots, or one that is served.
func hasten(tx *store.Tx, id string) error {
	c, found, err := tx.CertificateOfAny(id)
	if err != nil || !found {
		return err
	}
	policy, found, err := tx.PolicyNamed(c.Policy)
	if err != nil || !found {
		return err
	}
	_, used, err := served(&tx.View, &c)
	if err != nil {
		return err
	}
	before := c
	if c.Hasten(used, &policy, tx.Now); !before.RenewAt.Equal(c.RenewAt) || !before.StruckAt.Equal(c.StruckAt) {
		tx.PutCertificate(&c)
	}
	return tx.Err()
}

// revokeVersion revokes what was signed, from a moment on, unless somebody else's authority signed it: then nothing said here
// would be true. Nothing is changed either where it was revoked before and the reason says nothing more.
func revokeVersion(tx *store.Tx, v *leafward.Version, reason string, at time.Time) (changed bool, err error) {
	if v.Foreign() {
		return false, nil
	}
	if v.Authority != "" {
		changed, err := ca.Revoke(tx, v.Authority, v.Serial, reason, at)
		if err != nil || !changed {
			return false, err
		}
	}
	if v.RevokedAt.IsZero() {
		v.RevokedAt = at
	}
	changed = v.Authority != "" || v.Reason != reason
	v.Reason = reason
	tx.PutVersion(v)
	return changed, tx.Err()
}

// Release lifts a certificateHold from a certificate and from versions that are held alone; no other reason can be lifted.
func (s *Service) Release(ctx context.Context, id string, once Once) (shown Shown, err error) {
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		replayed, err := once.begin(tx, func(string) error { return nil })
		if err != nil || replayed {
			return err
		}
		c, err := s.mine(tx, id)
		if err != nil {
			return err
		}
		if !c.ArchivedAt.IsZero() {
			return leafward.Errorf(leafward.Conflict, "make a new certificate", "the certificate %s is archived", c.Name)
		}
		live, err := tx.LiveVersions(id)
		if err != nil {
			return err
		}
		lifted := struck{versions: map[string][]leafward.Version{}}
		for _, v := range live {
			if v.Reason != leafward.CertificateHold {
				continue
			}
			if err := releaseVersion(tx, &v); err != nil {
				return err
			}
			lifted.add(&v)
		}
		held := !c.RevokedAt.IsZero() && c.Reason == leafward.CertificateHold
		if !held && len(lifted.versions) == 0 {
			return leafward.Errorf(leafward.Conflict, "renew or make a new certificate", "the certificate %s is not on hold", c.Name)
		}
		policy, err := tx.RenewalPolicy(c.Policy)
		if err != nil {
			return err
		}
		if held {
			c.Release(&policy)
		}
		tx.PutCertificate(&c)
		tx.Record(leafward.CertificateReleased, c.ID, c.Team, lifted.details(c.ID))
		once.end(tx, id)
		return hasten(tx, id) // a version in use may be revoked for another reason
	})
	if err != nil {
		return shown, err
	}
	s.db.Forget()
	return s.show(ctx, id, "")
}

// releaseVersion lifts the hold of what was signed.
func releaseVersion(tx *store.Tx, v *leafward.Version) error {
	if v.Authority != "" {
		if err := ca.Release(tx, v.Authority, v.Serial); err != nil {
			return err
		}
	}
	v.RevokedAt, v.Reason = time.Time{}, ""
	tx.PutVersion(v)
	return tx.Err()
}
