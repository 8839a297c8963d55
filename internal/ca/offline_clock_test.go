//go:build testhooks

package ca_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

const oneDay = 24 * time.Hour

func TestNothingReplacesTheListOfAnOfflineAuthority(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		root := w.rootID(t)
		w.away(t, root)
		last := w.list(t, root)
		clock.Advance(300 * oneDay)
		issued := w.issue(t, order(t, "later"))
		if changed, err := w.revoke(issued, leafward.Superseded); err != nil || !changed {
			t.Fatal(changed, err)
		}
		w.publish(t, issued.Authority, holds(issued.Serial))
		if list := w.list(t, root); list.Number.Cmp(last.Number) != 0 {
			t.Errorf("number %v took the place of %v", list.Number, last.Number)
		}
	})
}

// Afterwards nobody vouches for an answer, so that none is given: unauthorized, not good.
func TestOCSPForAnOfflineAuthorityEndsWithItsLastResponder(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		root := w.rootID(t)
		check(t, w.PrepareResponders(w.ctx))
		w.away(t, root)
		serial := pki.SerialHex(w.certificate(t, ca.LocalIssuer).SerialNumber)
		clock.Advance(13 * oneDay)
		if got := w.status(t, root, serial).Status; got != ocsp.Good {
			t.Errorf("while the responder is valid it is %v", got)
		}
		clock.Advance(2 * oneDay)
		answer, err := w.RespondSerial(w.ctx, root, serial)
		if err != nil || answer.Code != ocsp.Unauthorized {
			t.Errorf("afterwards it is %v, %v", answer.Code, err)
		}
		check(t, w.PrepareResponders(w.ctx))
	})
}

func TestASuccessorUnderAnOfflineRootIsAnnouncedWaitsAndIsMadeWhenTheKeyIsBack(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		root := w.rootID(t)
		text := w.away(t, root)
		old := w.authority(t, w.issuingID(t))
		clock.Advance(old.NotAfter.Sub(clock.Now()) - 300*oneDay)
		if needs := w.needs(t, old.ID); len(needs) != 0 {
			t.Errorf("120 days ahead it needs %v", needs)
		}
		for _, left := range []int{269, 179} {
			clock.Set(old.NotAfter.AddDate(0, 0, -left))
			check(t, w.Succeed(w.ctx))
			if needs := w.needs(t, old.ID); len(needs) != 1 || needs[0].Code != "successor" || needs[0].Broken || !strings.Contains(needs[0].Fix, "leafward ca online 'leafward root") {
				t.Errorf("with %d days left it needs %+v", left, needs)
			}
			if now := w.authority(t, old.ID); now.State != leafward.AuthorityActive || now.Successor != "" {
				t.Fatalf("it is %s and succeeded by %q", now.State, now.Successor)
			}
		}
		clock.Advance(100 * oneDay)
		if needs := w.needs(t, old.ID); len(needs) != 1 || !needs[0].Broken {
			t.Errorf("when certificates outlive it, it needs %+v", needs)
		}
		check(t, w.back(t, root, text))
		now := w.authority(t, old.ID)
		if now.State != leafward.AuthorityRetiring || now.Successor == "" || len(w.needs(t, old.ID)) != 0 {
			t.Fatalf("it is %s and succeeded by %q", now.State, now.Successor)
		}
		w.upTo(t, w.issue(t, order(t, "heir")), clock.Now())
	})
}

// needs are those of one authority.
func (w *world) needs(t *testing.T, id string) []leafward.Need {
	t.Helper()
	s, err := w.Standing(w.ctx, id)
	check(t, err)
	return s.Needs
}

func TestTheEndOfTheListOfAnOfflineAuthorityIsAnnounced(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		root := w.rootID(t)
		w.away(t, root)
		for _, c := range []struct {
			after        int
			many, broken int
		}{{330, 0, 0}, {6, 1, 0}, {30, 1, 1}} {
			clock.Advance(time.Duration(c.after) * oneDay)
			needs := w.needs(t, root)
			broken := 0
			for _, n := range needs {
				if n.Broken {
					broken++
				}
				if said := "its CRL ends on"; strings.HasPrefix(n.Message, said) == n.Broken {
					t.Errorf("after %d days more it says %q", c.after, n.Message)
				}
			}
			if len(needs) != c.many || broken != c.broken {
				t.Errorf("after %d days more it needs %+v", c.after, needs)
			}
		}
	})
}

func TestARevocationThatAnOfflineAuthorityMustTellIsToldByOCSPAndAnnounced(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		root := w.rootID(t)
		check(t, w.PrepareResponders(w.ctx))
		issuing := w.certificate(t, ca.LocalIssuer)
		text := w.away(t, root)
		serial := pki.SerialHex(issuing.SerialNumber)
		if _, err := w.revoke(ca.Issued{Authority: root, Serial: serial}, "cessationOfOperation"); err != nil {
			t.Fatal(err)
		}
		if w.status(t, root, serial).Status != ocsp.Revoked || holds(serial)(w.list(t, root)) {
			t.Error("OCSP does not tell it, or the CRL does")
		}
		if needs := w.needs(t, root); len(needs) != 1 || needs[0].Code != "revocations" || !needs[0].Broken {
			t.Errorf("it needs %+v", needs)
		}
		check(t, w.back(t, root, text))
		if !holds(serial)(w.list(t, root)) || len(w.needs(t, root)) != 0 {
			t.Error("the CRL does not tell it when the key is back")
		}
	})
}

func TestNewAddressesWaitForTheKeyOfTheRoot(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		root := w.rootID(t)
		text := w.away(t, root)
		w = w.restart(t, "http://elsewhere.example.com")
		issuing := w.issuingID(t)
		if needs := w.needs(t, issuing); len(needs) != 1 || needs[0].Code != "certificate" {
			t.Errorf("it needs %+v", needs)
		}
		check(t, w.back(t, root, text))
		if got := w.certificate(t, issuing).CRLDistributionPoints; len(got) != 1 || !strings.HasPrefix(got[0], "http://elsewhere.example.com/") {
			t.Errorf("its certificate names %v", got)
		}
	})
}

// What was taken away while the answer was lost is away, and asking again says so.
func TestACrashWhileAKeyLeavesLosesNothing(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		root := w.rootID(t)
		sha, text := w.copyKey(t, root)
		check(t, w.config.Points.Set("ca.after-leave", "1*error"))
		if err := w.TakeOffline(w.ctx, root, sha, 30); err == nil {
			t.Fatal("the failpoint did not fail")
		}
		check(t, w.TakeOffline(w.ctx, root, sha, 30))
		check(t, w.back(t, root, text))
	})
}

// Another replica that has the key open lets go of it as it looks for revocations.
func TestEveryReplicaLetsGoOfAKeyThatWentOffline(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		other := w.restart(t, publicURL)
		root := w.rootID(t)
		if !other.Holds(w.authority(t, root).Key) {
			t.Fatal("the other has not opened it")
		}
		w.away(t, root)
		issued := w.issue(t, order(t, "r"))
		if _, err := w.revoke(issued, leafward.Superseded); err != nil {
			t.Fatal(err)
		}
		other.publish(t, issued.Authority, holds(issued.Serial))
		if other.Holds(w.authority(t, root).Key) || w.Holds(w.authority(t, root).Key) {
			t.Error("the key is still open")
		}
	})
}
