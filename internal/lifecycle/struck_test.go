package lifecycle_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// manual has a certificate renewed by hand only.
func (w *world) manual(t *testing.T) func(*leafward.Certificate) {
	t.Helper()
	return w.policy(t, "rp-own", func(p *leafward.RenewalPolicy) { p.AutoRenew = false })
}

// struck are the certificates that are found by a version in use that is revoked.
func (w *world) struck(t *testing.T, status string) (ids []string) {
	t.Helper()
	where := map[string]string{"version_revoked": "true"}
	if status != "" {
		where["status"] = status
	}
	page, err := w.List(w.ctx, leafward.Query{Where: where})
	check(t, err)
	for _, s := range page.Items {
		ids = append(ids, s.ID)
	}
	return ids
}

func TestNoVersionOfACompromisedKeyStaysGoodThatWasIssuedMeanwhile(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		manual := w.manual(t)
		for n := range 12 {
			key := newKey(t)
			a := w.issued(t, of("", manual), lifecycle.Asked{CSR: csr(t, key, fmt.Sprintf("a%d.example.com", n))})
			var running sync.WaitGroup
			for k := range 4 {
				text := csr(t, key, fmt.Sprintf("b%d-%d.example.com", n, k))
				running.Go(func() { _, _ = w.Create(w.ctx, of("", manual), lifecycle.Asked{CSR: text}, lifecycle.Once{}) }) // or it is refused
			}
			for range n % 4 {
				_, err := w.Get(w.ctx, a.ID)
				check(t, err)
			}
			w.revoke(t, a.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise})
			running.Wait()
			w.view(t, func(v *store.View) error {
				all, err := v.VersionsOfKey(a.Version.Key)
				for _, version := range all {
					if version.RevokedAt.IsZero() {
						t.Errorf("%s is good", version.Subject)
					}
				}
				return err
			})
		}
	})
}

func TestACertificateThatIsClosedHasNoVersionToBeReplaced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		manual := w.manual(t)
		revoked, archived := w.issued(t, of("a.example.com", serverKey, manual), lifecycle.Asked{}), w.issued(t, of("b.example.com", serverKey, manual), lifecycle.Asked{})
		for _, c := range []lifecycle.Shown{revoked, archived} {
			w.revoke(t, c.ID, lifecycle.Revocation{Reason: leafward.Superseded, Version: c.Version.ID})
		}
		if found := w.struck(t, ""); len(found) != 2 {
			t.Fatalf("found are %v", found)
		}
		w.revoke(t, revoked.ID, lifecycle.Revocation{Reason: leafward.Superseded})
		check(t, w.Archive(w.ctx, archived.ID, ""))
		for _, status := range []string{"", "Revoked", "Archived"} {
			if found := w.struck(t, status); len(found) > 0 {
				t.Errorf("%q finds %v", status, found)
			}
		}
	})
}

func TestOnlyWhoLosesAVersionNowIsNamed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		manual, key := w.manual(t), newKey(t)
		a := w.issued(t, of("", manual), lifecycle.Asked{CSR: csr(t, key, "a.example.com")})
		b := w.issued(t, of("", manual), lifecycle.Asked{CSR: csr(t, key, "b.example.com")})
		gone := w.issued(t, of("", manual), lifecycle.Asked{CSR: csr(t, key, "c.example.com")})
		check(t, w.Archive(w.ctx, gone.ID, ""))
		if now := w.revoke(t, a.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise, Version: a.Version.ID}); fmt.Sprint(now.Also) != fmt.Sprint([]string{b.ID}) {
			t.Errorf("named are %v", now.Also)
		}
		for _, c := range []lifecycle.Shown{a, b} {
			_, err := w.Renew(w.ctx, c.ID, lifecycle.Once{})
			check(t, err)
			_, err = w.SubmitCSR(w.ctx, c.ID, "", csr(t, newKey(t), c.CommonName), lifecycle.Once{})
			check(t, err)
			w.settled(t, w.version(t, c).ID)
		}
		shown, err := w.Get(w.ctx, a.ID)
		check(t, err)
		if now := w.revoke(t, a.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise, Version: shown.Version.ID}); len(now.Also) > 0 {
			t.Errorf("whose version has another key are named: %v", now.Also)
		}
	})
}

func TestAHostThatServesARevokedVersionKeepsItsCertificateExpiring(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a")
		made, err := w.Create(w.ctx, of("a.example.com", w.manual(t)), at("a"), lifecycle.Once{})
		check(t, err)
		w.sign(t, made.ID, "a", "a.example.com")
		w.prove(t, made.ID, "a")
		first := w.settled(t, made.ID)
		w.revoke(t, made.ID, lifecycle.Revocation{Reason: leafward.Superseded, Version: first.Version.ID})
		_, err = w.Renew(w.ctx, made.ID, lifecycle.Once{})
		check(t, err)
		w.sign(t, made.ID, "a", "a.example.com")
		w.until(t, made.ID, func(s lifecycle.Shown) bool {
			return s.Version.ID != first.Version.ID && len(w.open(t, made.ID, leafward.DeployJob)) > 0
		})
		root := w.open(t, made.ID, leafward.RootJob)[0]
		w.write(t, func(tx *store.Tx) error {
			j, err := tx.Job(root.ID)
			if err != nil {
				return err
			}
			return w.engine.Cancel(tx, &j, "somebody")
		})
		if now := w.settled(t, made.ID); now.Status != leafward.StatusExpiring || now.StruckAt.IsZero() {
			t.Errorf("the host serves a revoked version, and it is %s", now.Status)
		}
		_, err = w.Renew(w.ctx, made.ID, lifecycle.Once{})
		check(t, err)
		w.sign(t, made.ID, "a", "a.example.com")
		w.prove(t, made.ID, "a")
		if now := w.settled(t, made.ID); now.Status != leafward.StatusActive || !now.StruckAt.IsZero() {
			t.Errorf("the host serves a good version, and it is %s", now.Status)
		}
	})
}

func TestATargetThatIsGoneServesNothingRevoked(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b")
		made, err := w.Create(w.ctx, of("a.example.com", w.manual(t)), at("a", "b"), lifecycle.Once{})
		check(t, err)
		for _, host := range []string{"a", "b"} {
			w.sign(t, made.ID, host, "a.example.com")
			w.prove(t, made.ID, host)
		}
		w.settled(t, made.ID)
		for _, v := range w.versions(t, made.ID) {
			if v.Slot == "ag-a" {
				w.revoke(t, made.ID, lifecycle.Revocation{Reason: leafward.Superseded, Version: v.ID})
			}
		}
		w.write(t, func(tx *store.Tx) error { // as when its agent is retired
			bound, err := tx.InstallationsAt("tgt-a")
			for _, i := range bound {
				tx.RemoveInstallation(&i)
			}
			return err
		})
		look := func() {
			t.Helper()
			for _, s := range w.orders.Schedules() {
				if s.Name == "struck" {
					check(t, s.Run(w.ctx))
				}
			}
		}
		look()
		if now := w.settled(t, made.ID); now.Status != leafward.StatusActive || !now.StruckAt.IsZero() {
			t.Errorf("nothing revoked is served any more, and it is %s", now.Status)
		}
	})
}

func TestARevocationOfTheFutureIsDueWhenTheClockIsSetBack(t *testing.T) {
	now := time.Now()
	p := &leafward.RenewalPolicy{AutoRenew: true, RetryInterval: 3600}
	c := leafward.Certificate{Version: "cv", NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 3, 0), ExpiresAt: now.AddDate(0, 3, 0)}
	ahead := now.AddDate(3, 0, 0)
	c.Hasten([]leafward.Version{{RevokedAt: ahead, Reason: leafward.Superseded, NotAfter: c.NotAfter}}, p, ahead)
	if c.SetBack(p, now); c.Status(now) != leafward.StatusExpiring || c.RenewAt.After(now) {
		t.Errorf("it is %s and renewed at %v", c.Status(now), c.RenewAt)
	}
}

func TestAFailureBeforeTheRevocationPutsNothingOff(t *testing.T) {
	now := time.Now()
	p := &leafward.RenewalPolicy{AutoRenew: true, RetryInterval: 24 * 3600}
	c := leafward.Certificate{Version: "cv", NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(0, 2, 0), ExpiresAt: now.AddDate(0, 2, 0)}
	for failed, due := range map[time.Duration]bool{-time.Hour: true, time.Minute: false} { // after the revocation
		c.StruckAt, c.FailedAt = now, now.Add(failed)
		if c.Plan(p); c.RenewAt.Equal(c.StruckAt) != due {
			t.Errorf("it failed %v after the revocation, and is renewed at %v", failed, c.RenewAt)
		}
	}
}
