package lifecycle_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// revoke revokes a certificate as said.
func (w *world) revoke(t *testing.T, id string, r lifecycle.Revocation) lifecycle.Shown {
	t.Helper()
	shown, err := w.Revoke(w.ctx, id, r, lifecycle.Once{})
	check(t, err)
	return shown
}

// renewed renews a certificate whose key the server makes and waits for the new version.
func (w *world) renewed(t *testing.T, shown lifecycle.Shown) lifecycle.Shown {
	t.Helper()
	_, err := w.Renew(w.ctx, shown.ID, lifecycle.Once{})
	check(t, err)
	return w.settled(t, w.version(t, shown).ID)
}

// settled waits until nothing is open for a certificate.
func (w *world) settled(t *testing.T, id string) lifecycle.Shown {
	t.Helper()
	return w.until(t, id, func(s lifecycle.Shown) bool { return s.OpenJob == "" })
}

func TestARevocationCoversEveryVersionThatHasNotEnded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a")
		first := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		second := w.renewed(t, first)
		if w.status(t, first.Version).Status != ocsp.Good {
			t.Fatal("a renewal alone revokes nothing")
		}
		_, err := w.Renew(w.ctx, first.ID, lifecycle.Once{})
		check(t, err)
		shown := w.revoke(t, first.ID, lifecycle.Revocation{Reason: "superseded"})
		if shown.Status != leafward.StatusRevoked || shown.Reason != "superseded" || !shown.RenewAt.IsZero() || shown.OpenJob != "" {
			t.Errorf("it is %s, renewed at %v", shown.Status, shown.RenewAt)
		}
		for _, v := range []*leafward.Version{first.Version, second.Version} {
			if s := w.status(t, v); s.Status != ocsp.Revoked || s.Reason != pki.Superseded {
				t.Errorf("OCSP says %v %v of %s", s.Status, s.Reason, v.ID)
			}
		}
		if open := w.open(t, first.ID, leafward.OrderJob); len(open) > 0 {
			t.Errorf("still open: %v", w.jobs(t, first.ID))
		}
		_, err = w.Renew(w.ctx, first.ID, lifecycle.Once{})
		refused(t, err, leafward.Conflict)
		_, err = w.Deploy(w.ctx, first.ID, "", "", lifecycle.Once{})
		refused(t, err, leafward.Conflict)
		_, err = w.Update(w.ctx, first.ID, "", of(""), at("a"))
		refused(t, err, leafward.Conflict)
		check(t, w.orders.Sweep(w.ctx))
		if again := w.settled(t, first.ID); again.Version.ID != shown.Version.ID || count(w.events(t, first.ID), leafward.CertificateRevoked) != 1 {
			t.Errorf("something happened to a revoked certificate: %v", w.events(t, first.ID))
		}
	})
}

func TestAnArchivedCertificateIsNotRenewedAndItsVersionStaysGood(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
	check(t, w.Archive(w.ctx, shown.ID, ""))
	_, err := w.Renew(w.ctx, shown.ID, lifecycle.Once{})
	refused(t, err, leafward.Conflict)
	now, err := w.Get(w.ctx, shown.ID)
	check(t, err)
	if now.Status != leafward.StatusArchived || !now.RenewAt.IsZero() || w.status(t, shown.Version).Status != ocsp.Good {
		t.Errorf("it is %s", now.Status)
	}
	again := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{}) // the name is free
	if again.ID == shown.ID {
		t.Error("the archived certificate came back")
	}
}

func TestOneVersionIsRevokedAndTheCertificateGoesOn(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	first := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
	second := w.renewed(t, first)
	shown := w.revoke(t, first.ID, lifecycle.Revocation{Reason: "superseded", Version: first.Version.ID})
	if shown.Status != leafward.StatusActive || w.status(t, first.Version).Status != ocsp.Revoked || w.status(t, second.Version).Status != ocsp.Good {
		t.Errorf("it is %s", shown.Status)
	}
	before := shown.RenewAt
	shown = w.revoke(t, first.ID, lifecycle.Revocation{Reason: "superseded", Version: second.Version.ID})
	if _, closed := shown.Closed(); closed || !shown.RenewAt.Before(before) {
		t.Errorf("a version in use is revoked, and the renewal is planned at %v", shown.RenewAt)
	}
	check(t, w.orders.Sweep(w.ctx))
	if third := w.version(t, shown); w.status(t, third.Version).Status != ocsp.Good {
		t.Error("nothing took its place")
	}
	_, err := w.Revoke(w.ctx, first.ID, lifecycle.Revocation{Version: "cv-none"}, lifecycle.Once{})
	about(t, err, "version_id")
	_, err = w.Revoke(w.ctx, first.ID, lifecycle.Revocation{Reason: "boredom"}, lifecycle.Once{})
	about(t, err, "reason")
}

func TestAReplacementIsServedBeforeTheOldVersionIsRevoked(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a")
		made, err := w.Create(w.ctx, of("a.example.com"), at("a"), lifecycle.Once{})
		check(t, err)
		w.sign(t, made.ID, "a", "a.example.com")
		first := w.version(t, made)
		w.prove(t, made.ID, "a")
		w.settled(t, made.ID)
		shown := w.revoke(t, made.ID, lifecycle.Revocation{Reason: "superseded", Replace: true})
		if shown.Job == "" || shown.Status != leafward.StatusInProgress || w.status(t, first.Version).Status != ocsp.Good {
			t.Fatalf("it is %s", shown.Status)
		}
		w.sign(t, made.ID, "a", "a.example.com")
		second := w.version(t, shown)
		if w.status(t, first.Version).Status != ocsp.Good {
			t.Error("what is still served is revoked")
		}
		w.prove(t, made.ID, "a")
		last := w.settled(t, made.ID)
		if last.Status != leafward.StatusActive || w.status(t, first.Version).Status != ocsp.Revoked || w.status(t, second.Version).Status != ocsp.Good || first.Version.Key == second.Version.Key {
			t.Errorf("it is %s; %v", last.Status, w.jobs(t, made.ID))
		}
		_, err = w.Revoke(w.ctx, made.ID, lifecycle.Revocation{Reason: leafward.CertificateHold, Replace: true}, lifecycle.Once{})
		about(t, err, "replace")
	})
}

func TestARollbackEndsWhenItsVersionIsRevoked(t *testing.T) {
	for _, reason := range []string{leafward.KeyCompromise, "superseded"} {
		w := start(t, storetest.SQLite(t, nil))
		w.hosts(t, "a")
		first := w.served(t, "a.example.com", "a")
		old := first.Version.ID
		_, err := w.Renew(w.ctx, first.ID, lifecycle.Once{})
		check(t, err)
		w.bringTo(t, first.ID, "a.example.com", "a")
		w.settled(t, first.ID)
		_, err = w.Deploy(w.ctx, first.ID, "", old, lifecycle.Once{})
		check(t, err)
		w.prove(t, first.ID, "a")
		w.revoke(t, first.ID, lifecycle.Revocation{Reason: reason, Replace: true})
		w.bringTo(t, first.ID, "a.example.com", "a")
		last := w.settled(t, first.ID)
		if at := w.place(t, first.ID, "a"); at.Proved != last.Version.ID || at.Pinned || last.Version.ID == old {
			t.Errorf("%s: what is revoked stays deployed: %+v", reason, at)
		}
	}
}

func TestACompromisedKeyIsRevokedFirstAndBlockedOnEveryRoad(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a")
		key := newKey(t)
		shown := w.issued(t, of("", func(c *leafward.Certificate) { c.ReuseKey = true }), lifecycle.Asked{CSR: csr(t, key, "a.example.com")})
		same := w.issued(t, of(""), lifecycle.Asked{CSR: csr(t, key, "b.example.com")})
		now := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise, Replace: true})
		for _, v := range []*leafward.Version{shown.Version, same.Version} {
			if s := w.status(t, v); s.Status != ocsp.Revoked || s.Reason != pki.KeyCompromise {
				t.Errorf("OCSP says %v of %s", s.Status, v.Subject)
			}
		}
		if orders := w.open(t, shown.ID, leafward.OrderJob); now.Status != leafward.StatusInProgress || len(orders) != 1 || orders[0].Status != leafward.JobAwaitingCSR {
			t.Errorf("it is %s: %v", now.Status, w.jobs(t, shown.ID)) // the old CSR is not signed again
		}
		_, err := w.SubmitCSR(w.ctx, shown.ID, "", csr(t, key, "a.example.com"), lifecycle.Once{})
		about(t, err, "csr_pem")
		_, err = w.Create(w.ctx, of(""), lifecycle.Asked{CSR: csr(t, key, "c.example.com")}, lifecycle.Once{})
		about(t, err, "csr_pem")
		placed, err := w.Create(w.ctx, of("d.example.com"), at("a"), lifecycle.Once{})
		check(t, err)
		_, err = w.SubmitCSR(w.ctx, placed.ID, "ag-a", csr(t, key, "d.example.com"), lifecycle.Once{})
		about(t, err, "csr_pem")
		_, err = w.SubmitCSR(w.ctx, shown.ID, "", csr(t, newKey(t), "a.example.com"), lifecycle.Once{})
		check(t, err)
		w.until(t, shown.ID, func(s lifecycle.Shown) bool {
			return s.Version.ID != shown.Version.ID && s.Status == leafward.StatusActive
		})
	})
}

func TestWhoeverLosesAVersionByAnothersKeyIsNamedAndExpiring(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		key, manual := newKey(t), w.policy(t, "rp-own", func(p *leafward.RenewalPolicy) { p.AutoRenew = false })
		shown := w.issued(t, of(""), lifecycle.Asked{CSR: csr(t, key, "a.example.com")})
		same := w.issued(t, of("", manual), lifecycle.Asked{CSR: csr(t, key, "b.example.com")})
		w.issued(t, of("", manual), lifecycle.Asked{CSR: csr(t, newKey(t), "c.example.com")})
		for range 2 { // the answer does not depend on whether anything was left to do
			if now := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise}); !slices.Equal(now.Also, []string{same.ID}) {
				t.Errorf("revoked as well are %v, not %s", now.Also, same.ID)
			}
		}
		struck := leafward.Query{Where: map[string]string{"version_revoked": "true", "status": "Expiring"}}
		page, err := w.List(w.ctx, struck)
		check(t, err)
		if len(page.Items) != 1 || page.Items[0].ID != same.ID || page.Items[0].StruckAt.IsZero() || !page.Items[0].RenewAt.IsZero() {
			t.Errorf("found is %+v, not %s alone", page.Items, same.ID)
		}
		_, err = lifecycle.NewSettings(db, lifecycle.Replan).UpdateRenewalPolicy(w.ctx, "rp-own", "", func(p *leafward.RenewalPolicy) error { p.AutoRenew = true; return nil })
		check(t, err)
		w.until(t, same.ID, func(s lifecycle.Shown) bool { return s.RenewAt.Equal(s.StruckAt) }) // which is past
		_, err = w.Renew(w.ctx, same.ID, lifecycle.Once{})
		check(t, err)
		_, err = w.SubmitCSR(w.ctx, same.ID, "", csr(t, newKey(t), "b.example.com"), lifecycle.Once{})
		check(t, err)
		renewed := w.settled(t, w.version(t, same).ID)
		if renewed.Status != leafward.StatusActive || !renewed.StruckAt.IsZero() || !renewed.RenewAt.After(renewed.Version.NotBefore.Add(24*time.Hour)) {
			t.Errorf("with a new version it is %s since %v and renewed at %v", renewed.Status, renewed.StruckAt, renewed.RenewAt)
		}
	})
}

func TestAHoldIsLiftedAndNothingElseIs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		_, err := w.Release(w.ctx, shown.ID, lifecycle.Once{})
		refused(t, err, leafward.Conflict)
		held := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.CertificateHold})
		if s := w.status(t, shown.Version); held.Status != leafward.StatusRevoked || s.Status != ocsp.Revoked || s.Reason != pki.CertificateHold {
			t.Fatalf("it is %s, OCSP says %v", held.Status, s)
		}
		free, err := w.Release(w.ctx, shown.ID, lifecycle.Once{})
		check(t, err)
		if free.Status != leafward.StatusActive || !free.RenewAt.Equal(shown.RenewAt) || free.Reason != "" || w.status(t, shown.Version).Status != ocsp.Good {
			t.Errorf("it is %s, renewed at %v", free.Status, free.RenewAt)
		}
		w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.CertificateHold})
		gone := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: "superseded"})
		if s := w.status(t, shown.Version); gone.Reason != "superseded" || s.Reason != pki.Superseded {
			t.Errorf("a hold became %s, OCSP says %v", gone.Reason, s)
		}
		_, err = w.Release(w.ctx, shown.ID, lifecycle.Once{})
		refused(t, err, leafward.Conflict)
	})
}

func TestWhatIsRevokedIsRevokedAgainOnlyTowardsACompromise(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
	first := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: "superseded"})
	for _, reason := range []string{"superseded", "cessationOfOperation", leafward.CertificateHold} {
		again := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: reason})
		if again.Reason != "superseded" || !again.RevokedAt.Equal(first.RevokedAt) || w.status(t, shown.Version).Reason != pki.Superseded {
			t.Errorf("%s changed it to %s", reason, again.Reason)
		}
	}
	last := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise})
	if s := w.status(t, shown.Version); last.Reason != leafward.KeyCompromise || s.Reason != pki.KeyCompromise || count(w.events(t, shown.ID), leafward.CertificateRevoked) != 2 {
		t.Errorf("it is revoked for %s, OCSP says %v", last.Reason, s)
	}
	again := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: "superseded"})
	if again.Reason != leafward.KeyCompromise {
		t.Errorf("a compromise became %s", again.Reason)
	}
}

func TestARevocationThatChangesNothingIsNotRecorded(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
	for range 2 {
		w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.CertificateHold, Version: shown.Version.ID})
	}
	if n := count(w.events(t, shown.ID), leafward.CertificateRevoked); n != 1 {
		t.Errorf("%d revocations are recorded of one", n)
	}
}

func TestWhatIsRevokedAfterAHoldIsRevokedSinceTheHold(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
	held := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.CertificateHold})
	revoked := w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise})
	if !revoked.RevokedAt.Equal(held.RevokedAt) || !revoked.Version.RevokedAt.Equal(held.RevokedAt) || revoked.Reason != leafward.KeyCompromise {
		t.Errorf("held since %v, it is revoked since %v, its version since %v", held.RevokedAt, revoked.RevokedAt, revoked.Version.RevokedAt)
	}
}

func TestARevokedVersionStaysDueAfterAHoldAndAfterACancelledRenewal(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	asked := lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")}
	shown := w.issued(t, of("a.example.com"), asked)
	w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.Superseded, Version: shown.Version.ID})
	w.revoke(t, shown.ID, lifecycle.Revocation{Reason: leafward.CertificateHold})
	now, err := w.Release(w.ctx, shown.ID, lifecycle.Once{})
	check(t, err)
	if !now.RenewAt.Before(shown.RenewAt) {
		t.Errorf("released with a version that is revoked, it is renewed at %v", now.RenewAt)
	}
	other := w.issued(t, of("b.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "b.example.com")})
	_, err = w.Renew(w.ctx, other.ID, lifecycle.Once{})
	check(t, err)
	open := w.revoke(t, other.ID, lifecycle.Revocation{Reason: leafward.Superseded, Version: other.Version.ID})
	w.write(t, func(tx *store.Tx) error {
		root, err := tx.Job(open.OpenJob)
		check(t, err)
		return w.engine.Cancel(tx, &root, "somebody")
	})
	if now := w.settled(t, other.ID); !now.RenewAt.Before(other.RenewAt) {
		t.Errorf("revoked while its renewal was open, which was cancelled, it is renewed at %v", now.RenewAt)
	}
}

func TestAServerThatIsToldOfARevocationOnceMoreSaysNothingElseAfterwards(t *testing.T) {
	config := store.Config{URL: pgtest.DSN(t)}
	server := func() *store.DB {
		db, err := store.Open(t.Context(), config)
		check(t, err)
		t.Cleanup(func() { check(t, db.Close()) })
		check(t, db.Migrate(t.Context(), storetest.Seed(db)))
		return db
	}
	here := start(t, server())
	here.hosts(t, "a")
	there := *here
	there.db = server()
	there.boot(t)
	there.stop()
	once := lifecycle.Once{Operation: "revoke", Key: "k-1", Body: []byte("body"), Replayed: new(bool)}
	for name, again := range map[string]lifecycle.Once{"by another": {}, "by a repeated request": once} {
		shown := here.issued(t, of(strings.ReplaceAll(name, " ", "-")+".example.com", serverKey), lifecycle.Asked{})
		if s := there.status(t, shown.Version).Status; s != ocsp.Good {
			t.Fatalf("%s: at first it is %v", name, s)
		}
		_, err := here.Revoke(here.ctx, shown.ID, lifecycle.Revocation{Reason: leafward.Superseded}, again)
		check(t, err)
		_, err = there.Revoke(there.ctx, shown.ID, lifecycle.Revocation{Reason: leafward.Superseded}, again)
		check(t, err)
		if s := there.status(t, shown.Version).Status; s != ocsp.Revoked {
			t.Errorf("%s: after it was said to be revoked it is %v", name, s)
		}
	}
}
