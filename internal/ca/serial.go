package ca

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// MarkIssued makes a reserved serial an issued one, in the transaction that stores its certificate: from its commit on
// the answer is good. It is a Conflict when the reservation was closed meanwhile: the certificate must not be used.
func MarkIssued(tx *store.Tx, authority, serial string) error {
	if tx.IssueSerial(authority, serial) || tx.Err() != nil {
		return tx.Err()
	}
	s, err := known(tx, authority, serial)
	if err != nil {
		return err
	}
	return leafward.Errorf(leafward.Conflict, "ask for the certificate again", "serial %s of %s is %s, not reserved", serial, authority, s.State)
}

// Revoke revokes a serial from a moment on, the transaction's when it is zero or in the future; OCSP answers so from the
// commit on. changed is false when there was nothing to do: what is revoked stays so with its reason and moment, except
// that a hold becomes any other reason, and any reason keyCompromise. A serial whose certificate was not stored yet is
// closed.
func Revoke(tx *store.Tx, authority, serial, reason string, at time.Time) (changed bool, err error) {
	if _, ok := leafward.RevocationReasons()[reason]; !ok {
		var p leafward.Problems
		p.Add("reason", fmt.Sprintf("%.60q is not a revocation reason", reason), "use one of "+strings.Join(reasons(), ", "))
		return false, p.Err()
	}
	s, err := known(tx, authority, serial)
	if err != nil {
		return false, err
	}
	if at.IsZero() || at.After(tx.Now) {
		at = tx.Now
	}
	if !s.RevokedAt.IsZero() {
		if reason == s.Reason || reason != leafward.KeyCompromise && !s.Held {
			return false, nil
		}
		if s.RevokedAt.Before(at) {
			at = s.RevokedAt
		}
	}
	if s.State == leafward.SerialReserved {
		s.State, s.TBS = leafward.SerialAbandoned, nil
	}
	s.RevokedAt, s.Reason, s.Held = at, reason, reason == leafward.CertificateHold
	tx.PutRevocation(&s)
	return true, tx.Err()
}

func reasons() []string {
	var names []string
	for name := range leafward.RevocationReasons() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Release lifts a certificateHold; no other revocation can be taken back.
func Release(tx *store.Tx, authority, serial string) error {
	s, err := known(tx, authority, serial)
	if err != nil {
		return err
	}
	switch {
	case s.RevokedAt.IsZero():
		return leafward.Errorf(leafward.Conflict, "nothing has to be done", "the certificate with serial %s is not revoked", serial)
	case !s.Held || s.State == leafward.SerialAbandoned:
		return leafward.Errorf(leafward.Conflict, "ask for a new certificate", "the certificate with serial %s is revoked for ever (%s); only certificateHold can be lifted", serial, s.Reason)
	}
	s.RevokedAt, s.Reason, s.Held = time.Time{}, "", false
	tx.PutRevocation(&s)
	return tx.Err()
}

func known(tx *store.Tx, authority, serial string) (leafward.Serial, error) {
	s, found, err := tx.Serial(authority, serial)
	if err == nil && !found {
		err = leafward.Missing("serial", serial)
	}
	return s, err
}

// abandon closes a reservation as revoked: it may have been signed, and nobody stored it.
func abandon(tx *store.Tx, authority, serial string) error {
	s, err := known(tx, authority, serial)
	if err != nil || s.State != leafward.SerialReserved {
		return err
	}
	s.State, s.TBS, s.RevokedAt, s.Reason = leafward.SerialAbandoned, nil, tx.Now, leafward.Unspecified
	tx.PutRevocation(&s)
	return tx.Err()
}

// CloseAbandoned closes the reservations that are too old to be resumed and tells how many there were. It is called
// every minute or so.
func (c *CA) CloseAbandoned(ctx context.Context) (n int, err error) {
	const most = 200 // in one transaction
	for more := true; more; {
		var closed int
		err := c.db.Write(system(ctx), func(tx *store.Tx) error {
			old, err := tx.ReservedBefore(tx.Now.Add(-Resume), most)
			if err != nil {
				return err
			}
			closed = len(old)
			for _, s := range old {
				if err := abandon(tx, s.Authority, s.Serial); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n, more = n+closed, closed == most
	}
	if n > 0 {
		c.log.WarnContext(ctx, "closed serials whose certificates were never stored", "count", n)
	}
	return n, nil
}
