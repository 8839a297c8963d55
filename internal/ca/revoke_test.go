package ca_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestOpenSSLSeesARevocationInTheCRLAndInOCSP(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	root, err := w.Root(w.ctx)
	check(t, err)
	issued := w.issue(t, order(t, "r-1"))
	rootAuthority := strings.TrimPrefix(w.certificate(t, ca.LocalIssuer).CRLDistributionPoints[0], publicURL+ca.PathCRL)
	files := map[string][]byte{"root.pem": root, "issuing.pem": issued.Chain[0], "leaf.pem": issued.Certificate}
	dir := folder(t, files)
	lists := func() {
		var all []byte
		for _, id := range []string{rootAuthority, issued.Authority} {
			list, err := w.CRL(w.ctx, id)
			check(t, err)
			check(t, os.WriteFile(filepath.Join(dir, "one.crl"), list.DER, 0o600))
			out, err := openssl(t, dir, "crl", "-inform", "DER", "-in", "one.crl", "-out", "one.pem")
			if err != nil {
				t.Fatal(out)
			}
			text, err := os.ReadFile(filepath.Join(dir, "one.pem"))
			check(t, err)
			all = append(all, text...)
		}
		check(t, os.WriteFile(filepath.Join(dir, "lists.txt"), all, 0o600))
	}
	verify := []string{"verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "-crl_check_all", "-CRLfile", "lists.txt", "leaf.pem"}
	lists()
	if out, err := openssl(t, dir, verify...); err != nil {
		t.Fatalf("before the revocation: %s", out)
	}
	if out := w.opensslOCSP(t, dir); !strings.Contains(out, "leaf.pem: good") {
		t.Fatal(out)
	}
	if changed, err := w.revoke(issued, leafward.KeyCompromise); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if out := w.opensslOCSP(t, dir); !strings.Contains(out, "leaf.pem: revoked") || !strings.Contains(out, "keyCompromise") {
		t.Fatal(out)
	}
	w.publish(t, issued.Authority, holds(issued.Serial))
	lists()
	if out, err := openssl(t, dir, verify...); err == nil || !strings.Contains(out, "certificate revoked") {
		t.Fatalf("after the revocation: %s", out)
	}
}

// opensslOCSP asks about leaf.pem with a nonce, the answer carried by files, and gives what a verifying client says.
func (w *world) opensslOCSP(t *testing.T, dir string) string {
	t.Helper()
	ask := []string{"ocsp", "-issuer", "issuing.pem", "-cert", "leaf.pem", "-reqout", "ask.der", "-nonce"}
	if out, err := openssl(t, dir, ask...); err != nil {
		t.Fatal(out)
	}
	request, err := os.ReadFile(filepath.Join(dir, "ask.der"))
	check(t, err)
	answer, err := w.Respond(w.ctx, ca.LocalIssuer, request)
	check(t, err)
	if answer.MaxAge != 0 || len(answer.DER) > 2048 {
		t.Errorf("an answer with a nonce of %d octets may be kept %v", len(answer.DER), answer.MaxAge)
	}
	check(t, os.WriteFile(filepath.Join(dir, "answer.der"), answer.DER, 0o600))
	out, err := openssl(t, dir, "ocsp", "-reqin", "ask.der", "-issuer", "issuing.pem", "-cert", "leaf.pem", "-no_nonce", "-respin", "answer.der", "-CAfile", "root.pem", "-verify_other", "issuing.pem")
	if err != nil || !strings.Contains(out, "Response verify OK") || strings.Contains(out, "WARNING") {
		t.Fatal(out)
	}
	return out
}

func TestRevocationsFollowTheRules(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		issued := w.issue(t, order(t, "r-1"))
		step := func(reason string, want bool, reads string) {
			t.Helper()
			changed, err := w.revoke(issued, reason)
			if got := w.status(t, issued.Authority, issued.Serial); err != nil || changed != want || got.Status != ocsp.Revoked || got.Reason.String() != reads {
				t.Fatalf("%s: changed %t, %v for %v; %v", reason, changed, got.Status, got.Reason, err)
			}
		}
		if err := w.release(issued); leafward.KindOf(err) != leafward.Conflict {
			t.Fatalf("what is not revoked was released: %v", err)
		}
		step(leafward.CertificateHold, true, "certificateHold")
		w.publish(t, issued.Authority, holds(issued.Serial))
		check(t, w.release(issued))
		if got := w.status(t, issued.Authority, issued.Serial); got.Status != ocsp.Good {
			t.Fatalf("after the release it is %v", got.Status)
		}
		w.publish(t, issued.Authority, func(l *x509.RevocationList) bool { return !holds(issued.Serial)(l) })
		step(leafward.CertificateHold, true, "certificateHold")
		step(leafward.Superseded, true, "superseded")
		step(leafward.CertificateHold, false, "superseded")
		step(leafward.Unspecified, false, "superseded")
		at := w.status(t, issued.Authority, issued.Serial).RevokedAt
		step(leafward.KeyCompromise, true, "keyCompromise")
		step(leafward.Superseded, false, "keyCompromise")
		if err := w.release(issued); leafward.KindOf(err) != leafward.Conflict {
			t.Fatalf("a revoked one was released: %v", err)
		}
		got := w.status(t, issued.Authority, issued.Serial)
		list := w.publish(t, issued.Authority, holds(issued.Serial))
		entry := list.RevokedCertificateEntries[0]
		if !got.RevokedAt.Equal(at) || !entry.RevocationTime.Equal(at) || entry.ReasonCode != int(pki.KeyCompromise) {
			t.Errorf("revoked at %v, OCSP says %v, the CRL %v for %d", at, got.RevokedAt, entry.RevocationTime, entry.ReasonCode)
		}
		if _, err := w.revoke(issued, "boredom"); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("an odd reason gave %v", err)
		}
		if _, err := w.revoke(ca.Issued{Authority: issued.Authority, Serial: "abc"}, leafward.Superseded); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("an unknown serial gave %v", err)
		}
	})
}

func TestAReservedSerialThatIsRevokedIsNeverStored(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	issued, err := w.Issue(w.ctx, order(t, "r-1"))
	check(t, err)
	if _, err := w.revoke(issued, leafward.Superseded); err != nil {
		t.Fatal(err)
	}
	if err := w.mark(issued); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("it was stored: %v", err)
	}
	if got := w.status(t, issued.Authority, issued.Serial); got.Status != ocsp.Revoked {
		t.Errorf("it is %v", got.Status)
	}
}

func TestNumbersOfCRLsOnlyGrow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		last := w.list(t, ca.LocalIssuer).Number
		for i := range 4 {
			issued := w.issue(t, order(t, fmt.Sprint("r-", i)))
			if _, err := w.revoke(issued, leafward.Superseded); err != nil {
				t.Fatal(err)
			}
			number := w.restart(t, "").publish(t, issued.Authority, holds(issued.Serial)).Number
			if number.Cmp(last) <= 0 {
				t.Fatalf("%v follows %v", number, last)
			}
			last = number
		}
		stored, err := w.CRL(w.ctx, ca.LocalIssuer)
		check(t, err)
		check(t, db.Write(w.ctx, func(tx *store.Tx) error {
			older, other := stored, stored
			older.Number--
			other.Number++
			if tx.PutCRL(&older, stored.Number) || tx.PutCRL(&other, stored.Number-1) {
				t.Error("a CRL was replaced by one that does not follow it")
			}
			return tx.Err()
		}))
	})
}

func TestTwoReplicasPublishEveryRevocation(t *testing.T) {
	db := storetest.Postgres(t, nil)
	w := start(t, db, "")
	other := w.restart(t, "")
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(w.ctx)
	go func() { done <- other.Run(ctx) }()
	for i := range 12 {
		issued := w.issue(t, order(t, fmt.Sprint("r-", i)))
		if got := other.status(t, issued.Authority, issued.Serial); got.Status != ocsp.Good {
			t.Fatalf("the other replica says %v", got.Status)
		}
		if _, err := w.revoke(issued, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
		if got := other.status(t, issued.Authority, issued.Serial); got.Status != ocsp.Revoked {
			t.Fatalf("the other replica says %v after the revocation", got.Status)
		}
		w.publish(t, issued.Authority, holds(issued.Serial))
		if !holds(issued.Serial)(other.list(t, issued.Authority)) {
			t.Fatal("the other replica gives an old CRL")
		}
	}
	stop()
	check(t, <-done)
}

func TestEveryFormOfASerialIsFound(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	authority := w.issuingID(t)
	small := new(big.Int).Lsh(big.NewInt(5), 72) // leading zero digit
	twenty, _ := new(big.Int).SetString("7f"+strings.Repeat("ab", 19), 16)
	for _, serial := range []*big.Int{small, twenty} {
		row := leafward.Serial{Authority: authority, Serial: pki.SerialHex(serial), State: leafward.SerialImported, Name: "imported", NotAfter: time.Now().Add(time.Hour)}
		check(t, w.config.DB.Write(w.ctx, func(tx *store.Tx) error { one := row; tx.AddSerial(&one); return tx.Err() }))
		octets := serial.Bytes()
		var colons []string
		for _, b := range octets {
			colons = append(colons, hex.EncodeToString([]byte{b}))
		}
		for _, form := range []string{row.Serial, "0" + row.Serial, "00" + strings.ToUpper(row.Serial), strings.Join(colons, ":"), hex.EncodeToString(octets)} {
			if got := w.status(t, authority, form); got.Status != ocsp.Good {
				t.Errorf("%s is %v", form, got.Status)
			}
		}
	}
	for _, odd := range []string{"", "0", "xyz", strings.Repeat("f", 60), "-1"} {
		if _, err := w.RespondSerial(w.ctx, authority, odd); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("%q: got %v", odd, err)
		}
	}
}

func TestShortLivedCertificatesAreNeverOnACRL(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	short := order(t, "r-1")
	short.ShortLived, short.TTL = true, time.Hour
	quiet, loud := w.issue(t, short), w.issue(t, order(t, "r-2"))
	for _, issued := range []ca.Issued{quiet, loud} {
		if _, err := w.revoke(issued, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
	}
	if list := w.publish(t, loud.Authority, holds(loud.Serial)); holds(quiet.Serial)(list) {
		t.Error("it is on the CRL")
	}
}

func TestCertificatesAreGivenWhileTheDatabaseCannotBeRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		root, err := w.Root(w.ctx)
		check(t, err)
		issuing, err := w.Certificate(w.ctx, ca.LocalIssuer)
		check(t, err)
		check(t, db.Close())
		if again, err := w.Root(w.ctx); err != nil || !bytes.Equal(again, root) {
			t.Errorf("the root: %x %v", again, err)
		}
		if again, err := w.Certificate(w.ctx, ca.LocalIssuer); err != nil || !bytes.Equal(again, issuing) {
			t.Errorf("the issuing authority: %x %v", again, err)
		}
		if other, err := w.Certificate(w.ctx, "ca-other"); err == nil {
			t.Errorf("one that was never asked for: %x", other)
		}
	})
}

// Serials are numbers of their authority: what one of them revokes says nothing of the other's certificate, and both can be
// revoked.
func TestTheSameSerialOfTwoAuthoritiesIsRevokedForEach(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		row, err := w.CreateIssuer(w.ctx, leafward.Issuer{Name: "second", Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}, Enabled: true}, ca.Spec{Key: pki.KeyKind{Algorithm: pki.ECDSA, Size: 256}, Subject: pki.Subject{CommonName: "second"}})
		check(t, err)
		first := w.issue(t, order(t, "r-1"))
		second := ca.Issued{Authority: row.Authority, Serial: first.Serial}
		check(t, db.Write(w.ctx, func(tx *store.Tx) error {
			tx.AddSerial(&leafward.Serial{Authority: second.Authority, Serial: second.Serial, State: leafward.SerialImported, Name: "twin", NotAfter: time.Now().Add(time.Hour)})
			return tx.Err()
		}))
		for n, one := range []ca.Issued{first, second} {
			if changed, err := w.revoke(one, leafward.Superseded); err != nil || !changed {
				t.Fatalf("revocation %d: %t %v", n, changed, err)
			}
			w.publish(t, one.Authority, holds(one.Serial))
			if n == 0 && (w.status(t, second.Authority, second.Serial).Status != ocsp.Good || holds(second.Serial)(w.list(t, second.Authority))) {
				t.Error("the other authority's certificate is revoked with it")
			}
			if got := w.status(t, one.Authority, one.Serial); got.Status != ocsp.Revoked {
				t.Errorf("after revocation %d it is %v", n, got.Status)
			}
		}
	})
}
