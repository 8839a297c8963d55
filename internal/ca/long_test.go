package ca_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// revoked fills an authority with revoked serials.
func (w *world) revoked(t testing.TB, authority string, n int) {
	t.Helper()
	const each = 500
	for done := 0; done < n; done += each {
		check(t, w.config.DB.Write(w.ctx, func(tx *store.Tx) error {
			for range each {
				s := leafward.Serial{Authority: authority, Serial: pki.SerialHex(pki.NewSerial()), State: leafward.SerialImported, NotAfter: tx.Now.Add(time.Hour), RevokedAt: tx.Now, Reason: leafward.Superseded}
				tx.AddSerial(&s)
			}
			return tx.Err()
		}))
	}
}

func TestARevocationJoinsThoseOnALongCRL(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		const many = 5_000
		w.revoked(t, w.issuingID(t), many)
		issued := w.issue(t, order(t, "r-1"))
		if _, err := w.revoke(issued, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
		list := w.publish(t, issued.Authority, func(list *x509.RevocationList) bool { return holds(issued.Serial)(list) })
		if len(list.RevokedCertificateEntries) != many+1 {
			t.Errorf("%d entries", len(list.RevokedCertificateEntries))
		}
	})
}

func BenchmarkCRLOf100000(b *testing.B) {
	w := start(b, storetest.SQLite(b, nil), "")
	w.revoked(b, w.issuingID(b), 100_000)
	issued := w.issue(b, order(b, "r-1"))
	for b.Loop() {
		if _, err := w.revoke(issued, leafward.CertificateHold); err != nil {
			b.Fatal(err)
		}
		w.publish(b, issued.Authority, holds(issued.Serial))
		check(b, w.release(issued))
		w.publish(b, issued.Authority, func(l *x509.RevocationList) bool { return !holds(issued.Serial)(l) })
	}
}
