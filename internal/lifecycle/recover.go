package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/store"
)

// Recovered counts what was done again after the database had been put back from a backup.
type Recovered struct {
	Serials     int `json:"serials"`      // of certificates that were issued meanwhile: known again to OCSP and CRLs
	Revocations int `json:"revocations"`  // and releases of holds
	Keys        int `json:"keys_revoked"` // API keys and keys of agents
	Lost        int `json:"lost"`         // certificates of authorities that are not in the database
	Offline     int `json:"offline"`      // authorities whose keys had gone offline, and go again at the start
}

// Add adds the counts of another part.
func (r *Recovered) Add(part Recovered) {
	r.Serials += part.Serials
	r.Revocations += part.Revocations
	r.Keys += part.Keys
	r.Lost += part.Lost
	r.Offline += part.Offline
}

// Recover does again what the event tells: that a serial was issued, taken in, revoked or released, a CRL published, a key
// revoked, or the key of an authority gone offline or come back. Doing it twice changes nothing more. Certificates that were
// issued meanwhile are known by their serials only; what else was changed is not done again.
func Recover(tx *store.Tx, e *leafward.Event) (done Recovered, err error) {
	switch e.Action {
	case leafward.CertificateIssued, leafward.CertificateImported:
		err = done.issued(tx, e)
	case leafward.CertificateRevoked:
		err = done.revoked(tx, e)
	case leafward.CertificateReleased:
		err = done.released(tx, e)
	case leafward.CRLPublished:
		var told struct {
			Number int64 `json:"number"`
		}
		if err = store.DetailsOf(e, &told); err == nil {
			tx.RaiseCRL(e.ResourceID, told.Number)
		}
	case leafward.AuthorityTakenOffline:
		var told struct {
			Copy  string `json:"copy_sha256"`
			Hours int    `json:"crl_hours"`
		}
		if err = store.DetailsOf(e, &told); err == nil {
			var changed bool
			if changed, err = ca.RecoverOffline(tx, e.ResourceID, told.Copy, told.Hours, e.At); changed {
				done.Offline++
			}
		}
	case leafward.AuthorityBroughtOnline:
		var changed bool
		if changed, err = ca.RecoverOnline(tx, e.ResourceID); changed {
			done.Offline--
		}
	case leafward.KeyRevoked:
		var changed bool
		if changed, err = tx.RevokeCredential(e.ResourceID, e.At); changed {
			done.Keys++
		}
	}
	if err == nil {
		err = tx.Err()
	}
	if err != nil {
		err = fmt.Errorf("event %d, %s: %w", e.Seq, e.Action, err)
	}
	return done, err
}

func (r *Recovered) issued(tx *store.Tx, e *leafward.Event) error {
	var told struct {
		Version   string    `json:"version"` // "" for the server's own
		Serial    string    `json:"serial"`
		Authority string    `json:"authority"` // "" for an issuer elsewhere, and one that is not ours where it was imported
		NotAfter  time.Time `json:"not_after"`
		Names     []string  `json:"names"`
	}
	if err := store.DetailsOf(e, &told); err != nil || told.Authority == "" || leafward.IsForeign(told.Authority) {
		return err
	}
	s := leafward.Serial{Authority: told.Authority, Serial: told.Serial, Subject: told.Version, NotBefore: e.At, NotAfter: told.NotAfter.UTC()}
	if s.Subject == "" {
		s.Subject = leafward.OwnRequest + "-" + e.ID
	}
	if len(told.Names) > 0 {
		s.Name = told.Names[0]
	}
	ours, changed, err := ca.Recognise(tx, s)
	if !ours {
		r.Lost++
	}
	if changed {
		r.Serials++
	}
	return err
}

// closing is what the events of revocations and releases tell.
type closing struct {
	Reason   string              `json:"reason"`
	Versions []string            `json:"versions"`
	Serials  map[string][]string `json:"serials"` // of these, by the authority of ours that signed them
	Keys     []string            `json:"keys"`    // SPKI hashes of those that are compromised
	Closed   *bool               `json:"closed"`  // false: the certificate goes on
}

// eachSerial calls each for the serials that the event names.
func (c *closing) eachSerial(each func(authority, serial string) error) error {
	for _, authority := range slices.Sorted(maps.Keys(c.Serials)) {
		for _, serial := range c.Serials[authority] {
			if err := each(authority, serial); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Recovered) revoked(tx *store.Tx, e *leafward.Event) error {
	var told closing
	if err := store.DetailsOf(e, &told); err != nil {
		return err
	}
	if err := r.revokedVersions(tx, &told, e.At); err != nil {
		return err
	}
	err := told.eachSerial(func(authority, serial string) error {
		return r.listed(tx, leafward.Serial{Authority: authority, Serial: serial, Reason: told.Reason, RevokedAt: e.At}, e.ResourceID)
	})
	if err != nil {
		return err
	}
	for _, spki := range told.Keys {
		if err := r.compromised(tx, spki, e); err != nil {
			return err
		}
	}
	c, found, err := tx.CertificateOfAny(e.ResourceID)
	switch {
	case err != nil || !found:
		return err
	case told.Closed != nil && !*told.Closed:
		return hasten(tx, c.ID)
	case !revoked(&c, told.Reason):
		c.Revoke(told.Reason, e.At)
		tx.PutCertificate(&c)
	}
	return nil
}

// revokedVersions revokes the versions that the event names by what they are called here.
func (r *Recovered) revokedVersions(tx *store.Tx, told *closing, at time.Time) error {
	for _, id := range told.Versions {
		v, found, err := tx.VersionOfAny(id)
		if err != nil {
			return err
		}
		if found {
			if err := r.revoke(tx, &v, told.Reason, at); err != nil {
				return err
			}
			continue
		}
		s, known, err := tx.LastSerial(id)
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		changed, err := ca.Revoke(tx, s.Authority, s.Serial, told.Reason, at)
		if err != nil {
			return err
		}
		r.count(changed)
	}
	return nil
}

// compromised closes a key by what certificates say of it, with every version of it that is open, whoever recorded that: the
// server that was put back may have signed more of it. A key that came after the backup is known from then on.
func (r *Recovered) compromised(tx *store.Tx, spki string, e *leafward.Event) error {
	k, found, err := tx.KeyPairOf(spki)
	if err != nil {
		return err
	}
	if !found {
		k = leafward.Key{SPKI: spki, Custody: leafward.UnknownKey, Retrieval: "never", CompromisedAt: e.At}
		tx.AddKeyPair(&k)
		return tx.Err()
	}
	return r.closeKey(tx, k.ID, e.At)
}

// closeKey closes a key and revokes whatever is open of it; what goes on without is renewed at once.
func (r *Recovered) closeKey(tx *store.Tx, key string, at time.Time) error {
	if _, err := tx.CompromiseKey(key); err != nil {
		return err
	}
	same, err := tx.VersionsOfKey(key)
	if err != nil {
		return err
	}
	for _, v := range same {
		changed, err := revokeVersion(tx, &v, leafward.KeyCompromise, at)
		if err != nil {
			return err
		}
		if r.count(changed); changed {
			if err := hasten(tx, v.Certificate); err != nil {
				return err
			}
		}
	}
	return nil
}

// revoke revokes a version that the database has; a compromised key is not certified again, and nothing of it stays open.
func (r *Recovered) revoke(tx *store.Tx, v *leafward.Version, reason string, at time.Time) error {
	before := v.Reason
	if _, err := revokeVersion(tx, v, reason, at); err != nil {
		return err
	}
	r.count(v.Reason != before)
	if reason == leafward.KeyCompromise {
		return r.closeKey(tx, v.Key, at)
	}
	return nil
}

func (r *Recovered) count(changed bool) {
	if changed {
		r.Revocations++
	}
}

func (r *Recovered) released(tx *store.Tx, e *leafward.Event) error {
	var told closing
	if err := store.DetailsOf(e, &told); err != nil {
		return err
	}
	for _, id := range told.Versions {
		v, found, err := tx.VersionOfAny(id)
		if err != nil {
			return err
		}
		if found && v.Reason == leafward.CertificateHold {
			if err := releaseVersion(tx, &v); err != nil {
				return err
			}
			r.count(true)
		}
		s, known, err := tx.LastSerial(id)
		if err != nil {
			return err
		}
		if !found && known {
			if err := r.release(tx, &s); err != nil {
				return err
			}
		}
	}
	err := told.eachSerial(func(authority, serial string) error {
		s, known, err := tx.Serial(authority, serial)
		if err != nil || !known {
			return err
		}
		return r.release(tx, &s)
	})
	if err != nil {
		return err
	}
	c, found, err := tx.CertificateOfAny(e.ResourceID)
	if err != nil || !found || c.Reason != leafward.CertificateHold {
		return err
	}
	policy, found, err := tx.PolicyNamed(c.Policy)
	if err != nil || !found {
		return err
	}
	c.Release(&policy)
	tx.PutCertificate(&c)
	return nil
}

// release lifts the hold of a serial, and of nothing else.
func (r *Recovered) release(tx *store.Tx, s *leafward.Serial) error {
	if !s.Held || s.State == leafward.SerialAbandoned {
		return nil
	}
	r.count(true)
	return ca.Release(tx, s.Authority, s.Serial)
}

// recoverRows is how many entries of a CRL are taken over in one transaction.
const recoverRows = 500

// RecoverCRL takes over a CRL that one of our authorities has published: what it tells stays revoked, and the next list has a
// greater number. A list with a lower number than the database knows may be of another history, so it is heard too, but for
// holds, which may have been lifted since. The context must carry an actor of all teams.
func RecoverCRL(ctx context.Context, db *store.DB, raw []byte) (p ca.Published, done Recovered, err error) {
	err = db.View(ctx, func(v *store.View) error {
		p, err = ca.ReadPublished(v, raw)
		return err
	})
	if err != nil {
		return p, done, err
	}
	older := p.Number < p.Last
	if older {
		p.Tells = slices.DeleteFunc(p.Tells, func(s leafward.Serial) bool { return s.Reason == leafward.CertificateHold })
	}
	for rest := p.Tells; len(rest) > 0; {
		n := min(len(rest), recoverRows)
		var part Recovered
		err := db.Write(ctx, func(tx *store.Tx) error {
			part = Recovered{}
			for _, s := range rest[:n] {
				if err := part.listed(tx, s, ""); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return p, done, err
		}
		done.Add(part)
		rest = rest[n:]
	}
	if older {
		return p, done, nil
	}
	return p, done, db.Write(ctx, func(tx *store.Tx) error {
		tx.PutCRL(&p.CRL, p.Last)
		return nil
	})
}

// listed revokes what stands on a published CRL, or in an event by its serial. A certificate that goes on is renewed at once,
// but for that which the event is of, where it tells what becomes of it.
func (r *Recovered) listed(tx *store.Tx, s leafward.Serial, of string) error {
	reason, at := s.Reason, s.RevokedAt
	s.Reason, s.RevokedAt = "", time.Time{}
	ours, added, err := ca.Recognise(tx, s)
	if err != nil {
		return err
	}
	if !ours {
		r.Lost++
		return nil
	}
	if added {
		r.Serials++
	}
	v, found, err := tx.VersionOfSerial(s.Authority, s.Serial)
	if err != nil {
		return err
	}
	if found {
		if err := r.revoke(tx, &v, reason, at); err != nil || v.Certificate == of {
			return err
		}
		return hasten(tx, v.Certificate)
	}
	changed, err := ca.Revoke(tx, s.Authority, s.Serial, reason, at)
	r.count(changed)
	return err
}
