//go:build testhooks

package ca_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// eachClock runs the test on both engines with a clock that it can move.
func eachClock(t *testing.T, test func(*testing.T, *world, *hook.Clock)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		clock := hook.NewClock(time.Time{})
		test(t, start(t, storetest.SQLite(t, clock), publicURL), clock)
	})
	t.Run("postgres", func(t *testing.T) {
		clock := hook.NewClock(time.Time{})
		test(t, start(t, storetest.Postgres(t, clock), publicURL), clock)
	})
}

func TestACrashBetweenSigningAndStoringLeavesARecord(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		for _, point := range []string{"ca.after-reserve", "ca.after-sign"} {
			o := order(t, "r-"+point)
			check(t, w.config.Points.Set(point, "1*error"))
			if _, err := w.Issue(w.ctx, o); err == nil {
				t.Fatal("the failpoint did not fail")
			}
			first := w.last(t, o.Request)
			if first.State != leafward.SerialReserved || w.status(t, first.Authority, first.Serial).Status != ocsp.Unknown {
				t.Fatalf("%s: the intent is %s", point, first.State)
			}
			again := w.restart(t, publicURL)
			issued := again.issue(t, o)
			if issued.Serial != first.Serial || string(parse(t, issued.Certificate).RawTBSCertificate) != string(first.TBS) {
				t.Fatalf("%s: the retry has serial %s, the intent %s", point, issued.Serial, first.Serial)
			}
		}
	})
}

func TestSigningHoldsUpNobodyElse(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		check(t, w.config.Points.Set("ca.after-sign", "1*block"))
		signed := make(chan error, 1)
		slow := order(t, "r-slow")
		go func() {
			_, err := w.Issue(w.ctx, slow)
			signed <- err
		}()
		for w.config.Points.List()[0].Waiting == 0 {
			select {
			case err := <-signed:
				t.Fatalf("it is not held at its signature: %v", err)
			default:
				runtime.Gosched()
			}
		}
		defer w.config.Points.Clear("ca.after-sign")
		meanwhile := *w
		var stop context.CancelFunc
		meanwhile.ctx, stop = context.WithTimeout(w.ctx, 20*time.Second)
		defer stop()
		if other := meanwhile.issue(t, order(t, "r-other")); w.status(t, other.Authority, other.Serial).Status != ocsp.Good {
			t.Error("another certificate is not there")
		}
		w.config.Points.Clear("ca.after-sign")
		check(t, <-signed)
	})
}

func TestNobodyIsToldGoodBetweenTheCommitOfARevocationAndItsAcknowledgement(t *testing.T) {
	points := hook.NewPoints()
	test := func(db *store.DB) {
		w := start(t, db, publicURL)
		issued := w.issue(t, order(t, "r-1"))
		plain, nonce := w.ask(t, crypto.SHA1, nil, issued.Serial), w.ask(t, crypto.SHA1, []byte("12345678"), issued.Serial)
		w.respond(t, plain)
		check(t, points.Set("store.after-commit", "1*block"))
		defer points.Clear("store.after-commit")
		revoked := make(chan error, 1)
		go func() {
			_, err := w.revoke(issued, leafward.Superseded)
			revoked <- err
		}()
		for points.List()[0].Waiting == 0 {
			select {
			case err := <-revoked:
				t.Fatalf("it is not held after its commit: %v", err)
			default:
				runtime.Gosched()
			}
		}
		for range 3 {
			for _, request := range [][]byte{nonce, plain} {
				if _, response := w.respond(t, request); response.Singles[0].Status != ocsp.Revoked {
					t.Errorf("%s: it is %v", db.Engine(), response.Singles[0].Status)
				}
			}
		}
		points.Clear("store.after-commit")
		check(t, <-revoked)
	}
	test(openWith(t, store.Config{Path: filepath.Join(t.TempDir(), "leafward.db"), Points: points}))
	test(openWith(t, store.Config{URL: pgtest.DSN(t), Points: points}))
}

func (w *world) last(t *testing.T, request string) (s leafward.Serial) {
	t.Helper()
	check(t, w.config.DB.View(w.ctx, func(v *store.View) (err error) { s, _, err = v.LastSerial(request); return err }))
	return s
}

func TestAnOldReservationIsClosedAsRevoked(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		asked, forgotten := order(t, "r-asked"), order(t, "r-forgotten")
		first, err := w.Issue(w.ctx, asked)
		check(t, err)
		lost, err := w.Issue(w.ctx, forgotten)
		check(t, err)
		if n, err := w.CloseAbandoned(w.ctx); n != 0 || err != nil {
			t.Fatalf("closed %d at once; %v", n, err)
		}
		clock.Advance(ca.Resume + time.Second)
		second := w.issue(t, asked)
		if second.Serial == first.Serial {
			t.Fatal("an old reservation was signed again")
		}
		if n, err := w.CloseAbandoned(w.ctx); n != 1 || err != nil {
			t.Fatalf("closed %d; %v", n, err)
		}
		list := w.publish(t, first.Authority, holds(lost.Serial))
		for _, closed := range []ca.Issued{first, lost} {
			if err := w.mark(closed); leafward.KindOf(err) != leafward.Conflict {
				t.Errorf("a closed one was stored: %v", err)
			}
			if got := w.status(t, closed.Authority, closed.Serial); got.Status != ocsp.Revoked || !holds(closed.Serial)(list) {
				t.Errorf("a closed one is %v", got.Status)
			}
		}
	})
}

func TestAnExpiredRevocationStaysForOneMoreCRL(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		o := order(t, "r-1")
		o.TTL = time.Hour
		issued := w.issue(t, o)
		if _, err := w.revoke(issued, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
		number := w.publish(t, issued.Authority, holds(issued.Serial)).Number
		newer := func(list *x509.RevocationList) bool { return list.Number.Cmp(number) > 0 }
		clock.Advance(10 * 24 * time.Hour) // the server was away
		list := w.publish(t, issued.Authority, newer)
		if !holds(issued.Serial)(list) {
			t.Fatal("no CRL that was made after the expiry tells of it")
		}
		number = list.Number
		clock.Advance(12*time.Hour + time.Second)
		if list = w.publish(t, issued.Authority, newer); holds(issued.Serial)(list) {
			t.Fatal("it stays for ever")
		}
	})
}

func TestCRLsAreRenewedAtHalfTheirLifeAndWhenTheClockGoesBack(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		first := w.list(t, ca.LocalIssuer)
		newer := func(list *x509.RevocationList) bool { return list.Number.Cmp(first.Number) > 0 }
		for _, step := range []time.Duration{12*time.Hour + time.Second, -24 * time.Hour, 400 * 24 * time.Hour} {
			clock.Advance(step)
			list := w.publish(t, ca.LocalIssuer, newer)
			if now := time.Now().Add(clock.Offset()); list.ThisUpdate.After(now) || list.NextUpdate.Before(now.Add(23*time.Hour)) {
				t.Fatalf("after %v: the list of %v to %v, now is %v", step, list.ThisUpdate, list.NextUpdate, now)
			}
			first = list
		}
	})
}

func TestEveryAuthorityCanAnswerBeforeAnybodyAsks(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		issued := w.issue(t, order(t, "r-1"))
		check(t, w.PrepareResponders(w.ctx))
		check(t, w.config.Points.Set("ca.after-reserve", "error"))
		for _, process := range []*world{w, w.restart(t, "")} {
			_, response := process.respond(t, w.ask(t, crypto.SHA256, nil, issued.Serial))
			if response.Code != ocsp.Successful {
				t.Errorf("where nothing can be written any more it says %v", response.Code)
			}
			if err := process.PrepareResponders(w.ctx); err != nil {
				t.Errorf("what is there is made again: %v", err)
			}
		}
	})
}

func TestTheResponderIsRenewedAtHalfItsLife(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		issued := w.issue(t, order(t, "r-1"))
		plain := w.ask(t, crypto.SHA1, nil, issued.Serial)
		responder := func() *x509.Certificate {
			_, response := w.respond(t, plain)
			check(t, response.Verify(w.certificate(t, ca.LocalIssuer), time.Now().Add(clock.Offset())))
			return response.Certs[0]
		}
		first := responder()
		clock.Advance(6 * 24 * time.Hour)
		if !responder().Equal(first) {
			t.Error("it was renewed before half its life")
		}
		clock.Advance(2 * 24 * time.Hour)
		check(t, w.config.Points.Set("ca.after-reserve", "1*error"))
		if !responder().Equal(first) {
			t.Error("when it could not be renewed, the old one did not answer")
		}
		clock.Advance(2 * time.Minute)
		second := responder()
		if second.Equal(first) {
			t.Error("it was not renewed after half its life")
		}
		clock.Advance(-30 * 24 * time.Hour) // as if it had been wrong before; the authority is younger than that
		answer, err := w.Respond(w.ctx, ca.LocalIssuer, plain)
		if err != nil || answer.Code != ocsp.TryLater {
			t.Errorf("before the authority's own time it says %v; %v", answer.Code, err)
		}
		clock.Advance(40 * 24 * time.Hour)
		if responder().Equal(second) {
			t.Error("an expired one answers")
		}
	})
}

func TestNoCertificateBeginsInTheFuture(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		clock.Advance(24 * time.Hour)
		o := order(t, "r-1")
		first, err := w.Issue(w.ctx, o)
		check(t, err)
		clock.Advance(-3 * time.Hour)
		second, err := w.Issue(w.ctx, o)
		check(t, err)
		if now := time.Now().Add(clock.Offset()); second.Serial == first.Serial || second.NotBefore.After(now) {
			t.Errorf("it begins on %v, now is %v", second.NotBefore, now)
		}
	})
}

func TestNothingIsSignedBeforeItsAuthorityBegins(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		clock.Advance(-24 * time.Hour)
		_, err := w.Issue(w.ctx, order(t, "r-1"))
		if leafward.KindOf(err) != leafward.Later || !strings.Contains(err.Error(), "the clock shows") {
			t.Errorf("a day before its authority begins it is refused as %v", err)
		}
		clock.Advance(24 * time.Hour)
		_, err = w.Issue(w.ctx, order(t, "r-1"))
		check(t, err)
	})
}

func TestDatesAreRightAtOddMoments(t *testing.T) {
	for _, moment := range []string{"2028-02-29T12:00:00Z", "2038-01-19T03:14:07Z", "2049-12-31T23:58:00Z", "2050-01-01T00:03:00Z", "2027-03-28T01:30:00Z"} {
		t.Run(moment, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, moment)
			check(t, err)
			w := start(t, storetest.SQLite(t, hook.NewClock(at)), publicURL)
			issued := w.issue(t, order(t, "r-1"))
			root, err := w.Root(w.ctx)
			check(t, err)
			leaf := parse(t, issued.Certificate)
			if life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; life != 90*24*time.Hour {
				t.Errorf("it lives %v", life)
			}
			_, err = pki.VerifyChain(leaf, []*x509.Certificate{parse(t, issued.Chain[0])}, []*x509.Certificate{parse(t, root)}, at.Add(time.Minute))
			check(t, err)
			dir := folder(t, map[string][]byte{"root.pem": root, "issuing.pem": issued.Chain[0], "leaf.pem": issued.Certificate})
			out, err := openssl(t, dir, "verify", "-x509_strict", "-attime", fmt.Sprint(at.Add(time.Minute).Unix()), "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem")
			if err != nil {
				t.Error(out)
			}
		})
	}
}

// upTo verifies a certificate at a moment up to the root, with its chain.
func (w *world) upTo(t *testing.T, issued ca.Issued, at time.Time) {
	t.Helper()
	der, err := w.Root(w.ctx)
	check(t, err)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(parse(t, der))
	for _, above := range issued.Chain {
		between.AddCert(parse(t, above))
	}
	_, err = parse(t, issued.Certificate).Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at})
	check(t, err)
}

func TestAnAuthorityNearItsEndIsSucceededAndAnswersToTheLast(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		const day = 24 * time.Hour
		first := w.issue(t, order(t, "r-first"))
		old := w.authority(t, first.Authority)
		succeed := func(after time.Duration) {
			t.Helper()
			clock.Advance(after)
			check(t, w.Succeed(w.ctx))
		}
		succeed(old.NotAfter.Sub(clock.Now()) - 181*day)
		if now := w.authority(t, old.ID); now.State != leafward.AuthorityActive {
			t.Fatalf("with twice the longest lifetime left it is %s", now.State)
		}
		last := w.issue(t, order(t, "r-last"))
		succeed(2 * day)
		succeed(0)
		heir := w.authority(t, w.authority(t, old.ID).Successor)
		if before := w.authority(t, old.ID); before.State != leafward.AuthorityRetiring || heir.State != leafward.AuthorityActive || heir.Successor != "" || heir.Name != old.Name+" 2" {
			t.Fatalf("the old one is %s, its successor %q is %s", before.State, heir.Name, heir.State)
		}
		next := w.issue(t, order(t, "r-next"))
		if next.Authority != heir.ID || next.NotAfter.After(heir.NotAfter) || last.NotAfter.After(old.NotAfter) {
			t.Errorf("%s signs, which ends on %v", next.Authority, heir.NotAfter)
		}
		for _, issued := range []ca.Issued{last, next} {
			w.upTo(t, issued, clock.Now())
			if w.status(t, issued.Authority, issued.Serial).Status != ocsp.Good {
				t.Error("OCSP does not answer for both")
			}
		}
		_, err := w.revoke(last, leafward.Superseded)
		check(t, err)
		if w.status(t, last.Authority, last.Serial).Status != ocsp.Revoked {
			t.Error("the old authority does not tell what is revoked")
		}
		w.publish(t, old.ID, holds(last.Serial))
		if list := w.list(t, heir.ID); len(list.RevokedCertificateEntries) != 0 {
			t.Error("the successor's CRL tells of what the old authority signed")
		}
		succeed(91 * day) // the last serial is over, and one more CRL has told of it
		if now := w.authority(t, old.ID); now.State != leafward.AuthorityRetired {
			t.Errorf("in the end it is %s", now.State)
		}
		clock.Advance(15 * day)
		check(t, w.PrepareResponders(w.ctx))
		if answer, err := w.RespondSerial(w.ctx, old.ID, last.Serial); err != nil || answer.Code != ocsp.Unauthorized {
			t.Errorf("an authority that is over has another responder certified: %v %v", answer.Code, err)
		}
		if now := w.authority(t, heir.ID); now.State != leafward.AuthorityActive {
			t.Errorf("its successor is %s", now.State)
		}
	})
}

func TestAnAuthorityThatEndsWithTheOneAboveItHasNoSuccessor(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		const day = 24 * time.Hour
		old := w.authority(t, w.issue(t, order(t, "r-first")).Authority)
		clock.Advance(w.authority(t, old.Parent).NotAfter.Sub(clock.Now()) - 100*day)
		check(t, w.Succeed(w.ctx))
		last := w.authority(t, w.authority(t, old.ID).Successor)
		if end := w.authority(t, old.Parent).NotAfter; !last.NotAfter.Equal(end) {
			t.Fatalf("it ends on %v, and the one above it on %v", last.NotAfter, end)
		}
		clock.Advance(60 * day)
		check(t, w.Succeed(w.ctx))
		if now := w.authority(t, last.ID); now.State != leafward.AuthorityActive || now.Successor != "" {
			t.Errorf("it is %s and succeeded by %q", now.State, now.Successor)
		}
		check(t, w.config.DB.View(w.ctx, func(v *store.View) error {
			left, err := v.ReservedBefore(v.Now.Add(time.Hour), 10)
			if len(left) > 0 {
				t.Errorf("%d serials were reserved in vain", len(left))
			}
			return err
		}))
	})
}
