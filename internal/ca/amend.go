package ca

import (
	"fmt"
	"math/big"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// crlWhole is for how long CRLs go on one from the other before one is made again of all that is revoked.
const crlWhole = time.Hour

// made is how this process made the CRL that an authority published last.
type made struct {
	number int64
	ends   time.Time // what expired before does not stand on it
	whole  time.Time // when one was last made of all that is revoked
}

// goesOn tells whether the next list may be the last one with what changed since: this process made that one, and not too many
// so.
func (u *unpublished) goesOn(last made) bool {
	age := u.now.Sub(last.whole)
	u.amends = last.number == u.last.Number && !u.ends.Before(last.ends) && age >= 0 && age < crlWhole
	if u.amends {
		u.whole, u.before = last.whole, last.ends
	}
	return u.amends
}

// all reads everything that stands on the next list.
func (u *unpublished) all(v *store.View) error {
	u.whole = u.now
	codes := leafward.RevocationReasons()
	return v.Revoked(u.authority.ID, 0, u.ends, func(serial, reason string, at time.Time) error {
		entry, err := revoked(codes, serial, reason, at)
		u.entries = append(u.entries, entry)
		return err
	})
}

// changed reads what stands on the next list otherwise than on the last.
func (u *unpublished) changed(v *store.View) error {
	codes := leafward.RevocationReasons()
	return v.Relisted(u.authority.ID, 0, u.before, u.ends, func(serial, reason string, at time.Time, listed bool) error {
		entry, err := revoked(codes, serial, reason, at)
		if listed {
			u.entries = append(u.entries, entry)
		} else {
			u.gone = append(u.gone, entry)
		}
		return err
	})
}

// revoked is the entry of a serial number, by the codes of the reasons.
func revoked(codes map[string]int, serial, reason string, at time.Time) (entry pki.Revoked, err error) {
	number, ok := new(big.Int).SetString(serial, 16)
	if !ok {
		return entry, fmt.Errorf("the stored serial %q is not hex", serial)
	}
	return pki.Revoked{Serial: number, At: at, Reason: pki.Reason(codes[reason])}, nil
}
