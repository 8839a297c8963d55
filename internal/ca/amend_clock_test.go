//go:build testhooks

package ca_test

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/store"
)

func TestACRLGoesOnFromTheLastAndSaysWhatOneMadeWholeSays(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		short := order(t, "r-short")
		short.TTL = time.Hour
		ending, held, other := w.issue(t, short), w.issue(t, order(t, "r-1")), w.issue(t, order(t, "r-2"))
		revoke := func(issued ca.Issued, reason string) {
			t.Helper()
			if changed, err := w.revoke(issued, reason); err != nil || !changed {
				t.Fatal(changed, err)
			}
		}
		revoke(ending, leafward.Superseded)
		revoke(held, leafward.CertificateHold)
		w.publish(t, held.Authority, holds(held.Serial))
		clock.Advance(24*time.Hour + 40*time.Minute)
		revoke(other, leafward.KeyCompromise)
		w.publish(t, held.Authority, holds(other.Serial)) // made whole: the one before is old
		w.revoked(t, held.Authority, 500)                 // nobody tells of them, so that only one made whole has them
		clock.Advance(30 * time.Minute)
		check(t, w.release(held))
		list := w.publish(t, held.Authority, func(l *x509.RevocationList) bool { return !holds(held.Serial)(l) })
		if n := len(list.RevokedCertificateEntries); n != 1 || !holds(other.Serial)(list) {
			t.Errorf("%d entries stand on a list that goes on from one of three: one was released, one has ended", n)
		}
		revoke(held, leafward.CertificateHold)
		list = w.publish(t, held.Authority, holds(held.Serial))
		whole := w.restart(t, "")
		check(t, w.release(held))
		revoke(held, leafward.Superseded)
		again := whole.publish(t, held.Authority, func(l *x509.RevocationList) bool { return l.Number.Cmp(list.Number) > 0 && holds(held.Serial)(l) })
		if n := len(again.RevokedCertificateEntries); n != 502 {
			t.Errorf("%d entries stand on a list that was made whole", n)
		}
		for i, entry := range again.RevokedCertificateEntries[1:] {
			if bytes.Compare(pad(again.RevokedCertificateEntries[i]), pad(entry)) >= 0 {
				t.Fatal("the entries are not in order")
			}
		}
		revoke(held, leafward.KeyCompromise) // the first process does not know the other's list
		list = w.publish(t, held.Authority, func(l *x509.RevocationList) bool { return l.Number.Cmp(again.Number) > 0 })
		if n := len(list.RevokedCertificateEntries); n != 502 {
			t.Errorf("%d entries stand on a list behind another's", n)
		}
	})
}

// pad is the serial number of an entry in as many octets as the longest has.
func pad(entry x509.RevocationListEntry) []byte {
	return entry.SerialNumber.FillBytes(make([]byte, 20))
}

func TestACRLIsMadeWholeAgainWithinTheHour(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		one := w.issue(t, order(t, "r-1"))
		for i, wanted := range []int{1, 0, 501} {
			if i == 1 {
				w.revoked(t, one.Authority, 500)
				check(t, w.release(one))
			} else if _, err := w.revoke(one, leafward.CertificateHold); err != nil {
				t.Fatal(err)
			}
			list := w.publish(t, one.Authority, func(l *x509.RevocationList) bool { return holds(one.Serial)(l) == (i != 1) })
			if n := len(list.RevokedCertificateEntries); n != wanted {
				t.Fatalf("list %d has %d entries, not %d", i+1, n, wanted)
			}
			if i == 1 {
				clock.Advance(time.Hour)
			}
		}
	})
}

func TestACRLThatIsDamagedInTheDatabaseIsMadeWholeAtOnce(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		one, two := w.issue(t, order(t, "r-1")), w.issue(t, order(t, "r-2"))
		if _, err := w.revoke(one, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
		w.publish(t, one.Authority, holds(one.Serial))
		check(t, w.config.DB.Write(w.ctx, func(tx *store.Tx) error {
			tx.Exec("UPDATE crls SET der = $1 WHERE authority = $2", []byte{0x30, 0}, one.Authority)
			return nil
		}))
		if _, err := w.revoke(two, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
		list := w.publish(t, two.Authority, holds(two.Serial))
		if !holds(one.Serial)(list) {
			t.Error("what stood on the damaged list is gone")
		}
	})
}
