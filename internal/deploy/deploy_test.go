package deploy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestACompletedDeploymentIsProvedByTheAgentAndTheServerAndEndsTheRoot(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, loopback())
		s := open(t, selfSigned(t))
		a := h.agent(t, "1", true, s.address)
		v, pair := a.version(t)
		root := h.root(t)
		deployment := a.deployment(t, root)
		s.shows.Store(pair)
		a.reports(t, deployment, nil)
		i, p := h.installation(t, a.installation), a.proof(t, v.ID)
		if i.Deployed != v.ID || i.DeployedAt.IsZero() || i.Proved != "" || h.certificate(t).DeployedAt.IsZero() {
			t.Fatalf("after the deployment: %+v", i)
		}
		if p.Agent != a.id || p.Parent != root || p.Type != leafward.Validation || !p.Deadline.Equal(h.job(t, deployment).Deadline) || h.job(t, root).Status != leafward.JobRunning {
			t.Fatalf("the proof: %+v", p)
		}
		if got := a.says(t, p.ID, v.SHA256, v.SHA256); !got.Verified {
			t.Fatalf("the word of the agent: %+v", got)
		}
		h.becomes(t, root, leafward.JobCompleted)
		i = h.installation(t, a.installation)
		if i.Proved != v.ID || i.ProvedAt.IsZero() || i.Proof != leafward.ProofServed || i.LastError != "" {
			t.Errorf("after the proof: %+v", i)
		}
		if name := <-s.names; name != "shop.example" {
			t.Errorf("the server asked for %q", name)
		}
		check(t, db.View(h.ctx, func(view *store.View) error {
			endpoints, err := view.Endpoints(a.installation)
			if err != nil || len(endpoints) != 1 {
				t.Fatalf("%+v %v", endpoints, err)
			}
			nodes, err := view.Nodes(endpoints[0].ID)
			if err != nil || len(nodes) != 2 || nodes[0].Prober != a.id || nodes[1].Prober != "server" || nodes[1].Fingerprint != v.SHA256 || nodes[1].IP != "127.0.0.1" {
				t.Errorf("nodes: %+v %v", nodes, err)
			}
			return nil
		}))
		for _, id := range []string{p.ID, deployment} {
			if got, err := h.Verification(h.ctx, id); err != nil || !got.Verified || got.Actual != v.SHA256 || got.By != a.id || got.Job != id || got.Error != "" {
				t.Errorf("verification of %s: %+v %v", id, got, err)
			}
		}
	})
}

func TestADeploymentIsNotCompletedWithoutItsProof(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		a := h.agent(t, "1", true, "127.0.0.1:1")
		v, _ := a.version(t)
		d := a.deployment(t, h.root(t))
		crash := errors.New("killed before the commit")
		err := db.Write(a.as(), func(tx *store.Tx) error {
			j, err := tx.Job(d)
			if err != nil {
				return err
			}
			if err := h.engine.Complete(tx, &j, nil); err != nil {
				return err
			}
			if _, found, err := tx.ProveJob(a.installation, v.ID); err != nil || !found {
				t.Errorf("the proof is not made in the transaction that completes the deployment: %v", err)
			}
			return crash
		})
		if !errors.Is(err, crash) {
			t.Fatal(err)
		}
		if j, i := h.job(t, d), h.installation(t, a.installation); j.Status != leafward.JobPending || i.Deployed != "" {
			t.Errorf("half of it was written: %+v %+v", j, i)
		}
	})
}

func TestTheEndpointFollowsTheTarget(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	place := func() (e leafward.Endpoint) {
		t.Helper()
		a.reports(t, a.deployment(t, ""), nil)
		check(t, h.db.View(h.ctx, func(v *store.View) error {
			all, err := v.Endpoints(a.installation)
			if len(all) != 1 {
				t.Fatalf("%+v", all)
			}
			e = all[0]
			return err
		}))
		return e
	}
	a.version(t)
	first := place()
	if first.Address != "127.0.0.1" || first.Port != 1 || first.ServerName != "shop.example" || !first.Enabled {
		t.Errorf("%+v", first)
	}
	if again := place(); again.ID != first.ID {
		t.Error("an endpoint that stays was made again")
	}
	_, err := store.Targets().Update(h.ctx, h.db, a.target, "", func(row *leafward.Target) error {
		row.Config = []byte(`{"cert_path":"/etc/nginx/a.crt","key_path":"/etc/nginx/a.key","host":"www.example.com","port":8443}`)
		return nil
	}, nil)
	check(t, err)
	if moved := place(); moved.ID == first.ID || moved.Address != "www.example.com" || moved.Port != 8443 || moved.ServerName != "www.example.com" {
		t.Errorf("%+v", moved)
	}
}

func TestTheRootWaitsForEveryInstallation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		one, two := h.agent(t, "1", true, "127.0.0.1:1"), h.agent(t, "2", true, "127.0.0.1:2")
		v1, _ := one.version(t)
		v2, _ := two.version(t)
		root := h.root(t)
		d1, d2 := one.deployment(t, root), two.deployment(t, root)
		one.reports(t, d1, nil)
		one.says(t, one.proof(t, v1.ID).ID, v1.SHA256, v1.SHA256)
		h.becomes(t, one.proof(t, v1.ID).ID, leafward.JobCompleted)
		if r := h.job(t, root); r.Status != leafward.JobRunning || r.WaitingFor != "the agent ag-2" {
			t.Errorf("while an agent is offline the root is %s and waits for %q", r.Status, r.WaitingFor)
		}
		if i := h.installation(t, one.installation); i.Proved != v1.ID {
			t.Errorf("the other agent's installation: %+v", i)
		}
		two.reports(t, d2, nil)
		if r := h.job(t, root); r.Status != leafward.JobRunning {
			t.Errorf("deployed and not proved, the root is %s", r.Status)
		}
		two.says(t, two.proof(t, v2.ID).ID, v2.SHA256, v2.SHA256)
		h.becomes(t, root, leafward.JobCompleted)
	})
}

func TestAFailedDeploymentIsTriedAgainAndThenFailsTheRootWithItsReason(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		a := h.agent(t, "1", true, "127.0.0.1:1")
		a.version(t)
		root := h.root(t)
		d := a.deployment(t, root)
		a.reports(t, d, errors.New("nginx -t failed"))
		if j := h.job(t, d); j.Status != leafward.JobPending || j.Attempt != 1 || j.LastError != "nginx -t failed" || h.job(t, root).Status != leafward.JobRunning {
			t.Fatalf("after one attempt: %+v", j)
		}
		a.reports(t, d, errors.New("nginx -t failed again"))
		if r := h.job(t, root); r.Status != leafward.JobFailed || !strings.Contains(r.LastError, "nginx -t failed again") {
			t.Errorf("the root: %+v", r)
		}
		if i := h.installation(t, a.installation); i.LastError != "nginx -t failed again" || i.Deployed != "" {
			t.Errorf("the installation: %+v", i)
		}
		check(t, db.View(h.ctx, func(v *store.View) error {
			_, found, err := v.ProveJob(a.installation, h.installation(t, a.installation).Desired)
			if found {
				t.Error("a failed deployment is to be proved")
			}
			return err
		}))
	})
}

func TestAFailedDeploymentOfItsOwnShowsInTheCertificateUntilOneIsProved(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	v, _ := a.version(t)
	d := a.deployment(t, "")
	a.reports(t, d, leafward.Errorf(leafward.Denied, "allow it", "the agent may not run that"))
	c := h.certificate(t)
	if c.FailedAt.IsZero() || !strings.Contains(c.LastError, "may not run") || c.RenewAt.After(c.UpdatedAt.AddDate(0, 0, 2)) {
		t.Fatalf("%+v", c)
	}
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	a.says(t, p.ID, v.SHA256, v.SHA256)
	h.becomes(t, p.ID, leafward.JobCompleted)
	if c = h.certificate(t); !c.FailedAt.IsZero() || c.LastError != "" || !c.RenewAt.After(c.UpdatedAt.AddDate(0, 0, 2)) {
		t.Errorf("%+v", c)
	}
}
