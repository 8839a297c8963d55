package lifecycle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestOneRenewalIsOpenAtATime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		shown := w.issued(t, of(""), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")})
		root, err := w.Renew(w.ctx, shown.ID, lifecycle.Once{})
		check(t, err)
		_, err = w.Renew(w.ctx, shown.ID, lifecycle.Once{})
		refused(t, err, leafward.Conflict)
		w.write(t, func(tx *store.Tx) error {
			c, err := tx.Certificate(shown.ID)
			c.RenewAt = tx.Now.Add(-time.Hour)
			tx.PutCertificate(&c)
			return err
		})
		check(t, w.orders.Sweep(w.ctx))
		if open := w.open(t, shown.ID, leafward.RootJob); len(open) != 1 || open[0].ID != root {
			t.Errorf("open: %v", w.jobs(t, shown.ID))
		}
		_, err = w.SubmitCSR(w.ctx, shown.ID, "", csr(t, newKey(t), "a.example.com"), lifecycle.Once{})
		check(t, err)
		next := w.until(t, shown.ID, func(s lifecycle.Shown) bool { return s.OpenJob == "" })
		if next.Version.Predecessor != shown.Version.ID || next.RenewedAt.IsZero() || count(w.events(t, shown.ID), leafward.CertificateRenewed) != 1 {
			t.Errorf("%v, after %s", w.events(t, shown.ID), next.Version.Predecessor)
		}
	})
}

func TestAPendingChangeIsAppliedByTheNextRenewal(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		settings := lifecycle.NewSettings(db, lifecycle.Replan)
		_, err := settings.CreateProfile(w.ctx, func(p *leafward.Profile) error {
			p.ID, p.Name, p.EKUs = "prof-both", "both", []string{"serverAuth", "clientAuth"}
			return nil
		})
		check(t, err)
		shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		now, changes := shown, []func(*leafward.Certificate){
			func(c *leafward.Certificate) { c.SANs = []string{"a.example.com", "b.example.com"} },
			func(c *leafward.Certificate) { c.CommonName = "b.example.com" },
			func(c *leafward.Certificate) { c.Algorithm, c.Size = leafward.Ed25519, 0 },
			func(c *leafward.Certificate) { c.Algorithm, c.Size = leafward.ECDSA, 256 },
			func(c *leafward.Certificate) { c.Size = 384 },
			func(c *leafward.Certificate) { c.TTL = 30 * 24 * 3600 },
			func(c *leafward.Certificate) { c.Profile = "prof-both" },
		}
		for i, change := range changes {
			before := now.Spec
			now, err = w.Update(w.ctx, shown.ID, "", of("", change), lifecycle.Asked{})
			check(t, err)
			if now.Version.ID != shown.Version.ID || now.Spec != before+1 || now.VersionSpec == now.Spec || now.Job != "" {
				t.Fatalf("change %d touches what is in use, or is none: %+v", i, now.Certificate)
			}
		}
		next := w.renewed(t, now)
		cert := leaf(t, next)
		life := cert.NotAfter.Sub(cert.NotBefore) + time.Second
		if next.VersionSpec != next.Spec || !slices.Equal(cert.DNSNames, []string{"a.example.com", "b.example.com"}) || cert.Subject.CommonName != "b.example.com" || next.Version.Size != 384 || life != 30*24*time.Hour || len(cert.ExtKeyUsage) != 2 {
			t.Errorf("the next version: %v, %s %d, %v, %v", cert.DNSNames, next.Version.Algorithm, next.Version.Size, life, cert.ExtKeyUsage)
		}
		same, err := w.Update(w.ctx, shown.ID, "", of("", changes[6]), lifecycle.Asked{})
		check(t, err)
		if same.Revision != next.Revision {
			t.Error("a change that changes nothing is written")
		}
		label, err := w.Update(w.ctx, shown.ID, "", of("", func(c *leafward.Certificate) { c.Environment = "live" }), lifecycle.Asked{})
		check(t, err)
		if label.VersionSpec != label.Spec || label.Environment != "live" {
			t.Error("a label is a pending change")
		}
	})
}

func TestAKeyIsUsedAgainOnlyWhenThatIsSaid(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		for _, reuse := range []bool{false, true} {
			name := map[bool]string{false: "fresh.example.com", true: "same.example.com"}[reuse]
			first := w.issued(t, of("", func(c *leafward.Certificate) { c.ReuseKey = reuse }), lifecycle.Asked{CSR: csr(t, newKey(t), name)})
			_, err := w.Renew(w.ctx, first.ID, lifecycle.Once{})
			check(t, err)
			if !reuse {
				if orders := w.open(t, first.ID, leafward.OrderJob); len(orders) != 1 || orders[0].Status != leafward.JobAwaitingCSR {
					t.Fatalf("it does not wait for a CSR: %v", w.jobs(t, first.ID))
				}
				_, err = w.SubmitCSR(w.ctx, first.ID, "", csr(t, newKey(t), name), lifecycle.Once{})
				check(t, err)
			}
			second := w.until(t, first.ID, func(s lifecycle.Shown) bool { return s.Version.ID != first.Version.ID })
			if (first.Version.Key == second.Version.Key) != reuse || first.Version.Serial == second.Version.Serial {
				t.Errorf("with reuse_key %t the keys are %s and %s", reuse, first.Version.Key, second.Version.Key)
			}
		}
	})
}

// served makes a certificate of the hosts that is issued, deployed and proved there.
func (w *world) served(t *testing.T, name string, hosts ...string) lifecycle.Shown {
	t.Helper()
	made, err := w.Create(w.ctx, of(name), at(hosts...), lifecycle.Once{})
	check(t, err)
	w.bringTo(t, made.ID, name, hosts...)
	return w.settled(t, made.ID)
}

// bringTo does for the open root of a certificate what the agents of its hosts do.
func (w *world) bringTo(t *testing.T, id, name string, hosts ...string) {
	t.Helper()
	for _, host := range hosts {
		w.sign(t, id, host, name)
	}
	for _, host := range hosts {
		w.prove(t, id, host)
	}
}

func TestAnEarlierVersionIsBroughtBackAndStaysUntilSomebodyDeploysAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b")
		first := w.served(t, "a.example.com", "a", "b")
		old := map[string]string{}
		for _, v := range w.versions(t, first.ID) {
			old[v.Slot] = v.ID
		}
		_, err := w.Renew(w.ctx, first.ID, lifecycle.Once{})
		check(t, err)
		w.bringTo(t, first.ID, "a.example.com", "a", "b")
		w.settled(t, first.ID)
		jobs, err := w.Deploy(w.ctx, first.ID, "tgt-a", old["ag-a"], lifecycle.Once{})
		check(t, err)
		open := w.open(t, first.ID, leafward.DeployJob)
		if len(jobs) != 1 || len(open) != 1 || open[0].ID != jobs[0] || open[0].Target != "tgt-a" || open[0].Version != old["ag-a"] || open[0].Type != leafward.Deployment {
			t.Fatalf("%v %+v", jobs, open)
		}
		w.prove(t, first.ID, "a")
		_, err = w.Renew(w.ctx, first.ID, lifecycle.Once{})
		check(t, err)
		w.sign(t, first.ID, "a", "a.example.com")
		w.bringTo(t, first.ID, "a.example.com", "b")
		w.settled(t, first.ID)
		if at := w.place(t, first.ID, "a"); at.Desired != old["ag-a"] || !at.Pinned {
			t.Errorf("a renewal ended the rollback: %+v", at)
		}
		jobs, err = w.Deploy(w.ctx, first.ID, "", "", lifecycle.Once{})
		check(t, err)
		if at := w.place(t, first.ID, "a"); len(jobs) != 2 || at.Desired == old["ag-a"] || at.Pinned {
			t.Errorf("it is still pinned: %+v", at)
		}
		for field, ask := range map[string][2]string{
			"target_id":  {"tgt-none", ""},
			"version_id": {"tgt-a", old["ag-b"]}, // whose key the agent of tgt-a does not hold
		} {
			_, err = w.Deploy(w.ctx, first.ID, ask[0], ask[1], lifecycle.Once{})
			about(t, err, field)
		}
		_, err = w.Deploy(w.ctx, first.ID, "", "cv-none", lifecycle.Once{})
		about(t, err, "version_id")
	})
}

func TestADeploymentThatIsUnderWayWhenAnotherVersionIsWantedSaysSo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a")
		first := w.served(t, "a.example.com", "a")
		old := w.versions(t, first.ID)[0].ID
		_, err := w.Renew(w.ctx, first.ID, lifecycle.Once{})
		check(t, err)
		w.bringTo(t, first.ID, "a.example.com", "a")
		w.settled(t, first.ID)
		lease := func(id string) {
			t.Helper()
			w.write(t, func(tx *store.Tx) error {
				_, err := job.LeaseFor(tx, id, "ag-a", time.Minute)
				return err
			})
		}
		jobs, err := w.Deploy(w.ctx, first.ID, "tgt-a", old, lifecycle.Once{})
		check(t, err)
		lease(jobs[0])
		again, err := w.Deploy(w.ctx, first.ID, "tgt-a", "", lifecycle.Once{})
		check(t, err)
		if len(again) != 1 || again[0] != jobs[0] {
			t.Fatalf("%v is not %v", again, jobs)
		}
		lease(jobs[0])
		var attempts []store.Attempt
		w.view(t, func(v *store.View) (err error) {
			attempts, err = v.Attempts(jobs[0])
			return err
		})
		if len(attempts) != 2 || attempts[0].Error != "another version was wanted meanwhile" || attempts[0].EndedAt.IsZero() || !attempts[1].EndedAt.IsZero() {
			t.Errorf("%+v", attempts)
		}
	})
}

// versions are all versions of a certificate, the newest first.
func (w *world) versions(t *testing.T, id string) (all []leafward.Version) {
	t.Helper()
	w.view(t, func(v *store.View) error {
		list, err := v.Versions(id, leafward.Query{})
		all = list.Items
		return err
	})
	return all
}

// place is what is known of a certificate at a host.
func (w *world) place(t *testing.T, id, host string) (found leafward.Installation) {
	t.Helper()
	places, err := w.Places(w.ctx, id)
	check(t, err)
	for _, p := range places {
		if p.Target.ID == "tgt-"+host {
			found = p.Installation
		}
	}
	return found
}

func TestARenewalGoesOnWhereTheFailedOneEnded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b")
		first := w.served(t, "a.example.com", "a", "b")
		_, err := w.Renew(w.ctx, first.ID, lifecycle.Once{})
		check(t, err)
		w.bringTo(t, first.ID, "a.example.com", "a")
		w.sign(t, first.ID, "b", "a.example.com")
		w.wait(t, "the deployment at b", func() bool { return len(w.open(t, first.ID, leafward.DeployJob)) == 1 })
		w.fail(t, w.open(t, first.ID, leafward.DeployJob)[0], "nginx -t says no")
		failed := w.settled(t, first.ID)
		signed := len(w.versions(t, first.ID))
		if failed.Status != leafward.StatusFailed || failed.LastError == "" || !failed.ExpiresAt.Equal(first.ExpiresAt) || failed.RenewAt.IsZero() {
			t.Fatalf("it is %s (%s), ends %v, goes on at %v", failed.Status, failed.LastError, failed.ExpiresAt, failed.RenewAt)
		}
		w.due(t, first.ID)
		check(t, w.orders.Sweep(w.ctx))
		open := w.open(t, first.ID, leafward.DeployJob)
		if len(open) != 1 || open[0].Target != "tgt-b" || len(w.open(t, first.ID, leafward.OrderJob)) != 0 {
			t.Fatalf("it begins anew: %v", w.jobs(t, first.ID))
		}
		w.prove(t, first.ID, "b")
		last := w.settled(t, first.ID)
		if last.Status != leafward.StatusActive || last.LastError != "" || len(w.versions(t, first.ID)) != signed {
			t.Errorf("it is %s (%s) with %d versions", last.Status, last.LastError, len(w.versions(t, first.ID)))
		}
	})
}

// fail ends a job badly for good.
func (w *world) fail(t *testing.T, j leafward.Job, why string) {
	t.Helper()
	w.write(t, func(tx *store.Tx) error {
		now, err := tx.Job(j.ID)
		if err != nil {
			return err
		}
		return w.engine.Fail(tx, &now, leafward.Errorf(leafward.Invalid, "mend it", "%s", why))
	})
}

// due makes a certificate's next moment now.
func (w *world) due(t *testing.T, id string) {
	t.Helper()
	w.write(t, func(tx *store.Tx) error {
		c, err := tx.Certificate(id)
		c.RenewAt = tx.Now
		tx.PutCertificate(&c)
		return err
	})
}

func TestTheEndInUseIsThatOfWhatIsServed(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	w.hosts(t, "a")
	first := w.served(t, "a.example.com", "a")
	_, err := w.Update(w.ctx, first.ID, "", of("", func(c *leafward.Certificate) { c.TTL = 30 * 24 * 3600 }), lifecycle.Asked{})
	check(t, err)
	_, err = w.Renew(w.ctx, first.ID, lifecycle.Once{})
	check(t, err)
	w.sign(t, first.ID, "a", "a.example.com")
	signed := w.until(t, first.ID, func(s lifecycle.Shown) bool { return s.Version.ID != first.Version.ID })
	if !signed.ExpiresAt.Equal(first.ExpiresAt) {
		t.Errorf("what nobody serves yet moved the end to %v", signed.ExpiresAt)
	}
	w.prove(t, first.ID, "a")
	short := w.settled(t, first.ID)
	if !short.ExpiresAt.Equal(short.Version.NotAfter) || short.ExpiresAt.Equal(first.ExpiresAt) {
		t.Errorf("it ends %v, the version %v", short.ExpiresAt, short.Version.NotAfter)
	}
	_, err = w.Update(w.ctx, first.ID, "", of("", func(c *leafward.Certificate) { c.TTL = 0 }), lifecycle.Asked{})
	check(t, err)
	_, err = w.Renew(w.ctx, first.ID, lifecycle.Once{})
	check(t, err)
	w.bringTo(t, first.ID, "a.example.com", "a")
	w.settled(t, first.ID)
	_, err = w.Deploy(w.ctx, first.ID, "", short.Version.ID, lifecycle.Once{})
	check(t, err)
	w.prove(t, first.ID, "a")
	_, err = w.Renew(w.ctx, first.ID, lifecycle.Once{})
	check(t, err)
	w.sign(t, first.ID, "a", "a.example.com")
	if last := w.settled(t, first.ID); !last.ExpiresAt.Equal(short.Version.NotAfter) || !last.Version.NotAfter.After(short.Version.NotAfter) {
		t.Errorf("the version that was brought back ends %v, and the certificate %v", short.Version.NotAfter, last.ExpiresAt)
	}
}

func TestAnotherHolderOfTheKeyOrIssuerComesWithTheNextRenewal(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	first := w.issued(t, of(""), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")})
	held, err := w.Update(w.ctx, first.ID, "", of("", serverKey), lifecycle.Asked{})
	check(t, err)
	if held.Version.ID != first.Version.ID || held.VersionSpec == held.Spec {
		t.Fatalf("%+v", held.Certificate)
	}
	second := w.renewed(t, held)
	if second.Version.Slot != "server" || second.VersionSpec != second.Spec {
		t.Errorf("the key is held by %s", second.Version.Slot)
	}
	other := w.authority(t, "iss-other", `{}`)
	moved, err := w.Update(w.ctx, first.ID, "", of("", func(c *leafward.Certificate) { c.Issuer = "iss-other" }), lifecycle.Asked{})
	check(t, err)
	if moved.VersionSpec == moved.Spec {
		t.Error("another issuer is no pending change")
	}
	third := w.renewed(t, moved)
	check(t, leaf(t, third).CheckSignatureFrom(other))
	if third.Version.Issuer != "iss-other" {
		t.Errorf("it is of %s", third.Version.Issuer)
	}
}
