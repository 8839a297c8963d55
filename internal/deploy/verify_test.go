package deploy_test

import (
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/deploy"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAVerificationOfTheDeploymentIsThatOfItsProofWhenItComesLaterAndWhenEarlier(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		a := h.agent(t, "1", false, "127.0.0.1:1")
		for _, early := range []bool{false, true} {
			v, _ := a.version(t)
			d := a.deployment(t, "")
			if early {
				a.says(t, d, strings.ToUpper(v.SHA256), strings.ToUpper(v.SHA256))
				if i := h.installation(t, a.installation); i.Proved == v.ID {
					t.Fatal("proved before it was deployed")
				}
				if got, err := h.Verification(h.ctx, d); err != nil || !got.Verified || got.By != a.id {
					t.Errorf("before the deployment's end: %+v %v", got, err)
				}
			}
			a.reports(t, d, nil)
			if !early {
				a.says(t, d, v.SHA256, v.SHA256)
			}
			p := h.becomes(t, a.proof(t, v.ID).ID, leafward.JobCompleted)
			if i := h.installation(t, a.installation); i.Proved != v.ID {
				t.Errorf("early %t: %+v", early, i)
			}
			for _, id := range []string{d, p.ID} {
				if got, err := h.Verification(h.ctx, id); err != nil || !got.Verified || got.Actual != v.SHA256 || got.Expected != v.SHA256 {
					t.Errorf("early %t: %+v %v", early, got, err)
				}
			}
		}
	})
}

func TestAFailedLookIsKeptAndTheServerDecidesForAnotherMake(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), loopback())
	s := open(t, selfSigned(t))
	a := h.agent(t, "1", false, s.address)
	v, pair := a.version(t)
	s.shows.Store(pair)
	d := a.deployment(t, "")
	a.reports(t, d, nil)
	got, err := a.Verify(a.as(), d, deploy.Said{Target: a.target, Expected: v.SHA256, Error: "dial tcp: connection refused"})
	if err != nil || got.Verified || !strings.Contains(got.Error, "connection refused") {
		t.Fatalf("%+v %v", got, err)
	}
	if got, err := h.Verification(h.ctx, d); err != nil || got.Verified || got.Actual != "" || !strings.Contains(got.Error, "connection refused") {
		t.Errorf("%+v %v", got, err)
	}
	long, err := a.Verify(a.as(), d, deploy.Said{Target: a.target, Expected: v.SHA256, Error: strings.Repeat("\x00long", 10000)})
	if err != nil || len(long.Error) > 2000 || strings.ContainsRune(long.Error, 0) || !strings.Contains(long.Error, "long") {
		t.Errorf("%d bytes are kept of a long word: %.80q %v", len(long.Error), long.Error, err)
	}
	p := a.proof(t, v.ID)
	if p.Agent != "" || !p.RunAt.After(p.UpdatedAt) {
		t.Errorf("the server's turn comes after five minutes: %+v", p)
	}
	h.hurry(t, p.ID)
	h.becomes(t, p.ID, leafward.JobCompleted)
	if got, err := h.Verification(h.ctx, d); err != nil || !got.Verified || got.By != "server" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestOnlyTheTargetsAgentAndAdministratorsVerify(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		a, b := h.agent(t, "1", true, "127.0.0.1:1"), h.agent(t, "2", true, "127.0.0.1:2")
		v, _ := a.version(t)
		d := a.deployment(t, "")
		a.reports(t, d, nil)
		said := deploy.Said{Target: a.target, Expected: v.SHA256, Actual: v.SHA256, Verified: true}
		p := a.proof(t, v.ID)
		for _, id := range []string{d, p.ID} {
			if _, err := b.Verify(b.as(), id, said); leafward.KindOf(err) != leafward.Denied {
				t.Errorf("another agent: %v", err)
			}
		}
		root := h.root(t)
		if _, err := b.Verify(b.as(), root, said); leafward.KindOf(err) != leafward.Denied {
			t.Errorf("another agent hears of what sort a job is: %v", err)
		}
		if _, err := b.Verify(storetest.Scoped(h.ctx, "t-other"), d, said); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("another team: %v", err)
		}
		if got, err := h.Verify(h.ctx, d, said); err != nil || !got.Verified {
			t.Errorf("an administrator: %+v %v", got, err)
		}
		h.becomes(t, p.ID, leafward.JobCompleted)
	})
}

func TestAVerificationThatMakesNoSenseIsRefusedByField(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	v, _ := a.version(t)
	root := h.root(t)
	d := a.deployment(t, root)
	sum := v.SHA256
	many := make([]deploy.Seen, 17)
	for name, c := range map[string]struct {
		id    string
		said  deploy.Said
		kind  leafward.Kind
		field string
	}{
		"unknown job":         {"job-none", deploy.Said{Target: a.target, Expected: sum}, leafward.NotFound, ""},
		"another target":      {d, deploy.Said{Target: "tgt-2", Expected: sum}, leafward.Invalid, "target_id"},
		"no target":           {d, deploy.Said{Expected: sum}, leafward.Invalid, "target_id"},
		"nothing expected":    {d, deploy.Said{Target: a.target}, leafward.Invalid, "expected_fingerprint"},
		"a short fingerprint": {d, deploy.Said{Target: a.target, Expected: sum[:60]}, leafward.Invalid, "expected_fingerprint"},
		"no fingerprint":      {d, deploy.Said{Target: a.target, Expected: sum, Actual: "served"}, leafward.Invalid, "actual_fingerprint"},
		"too many addresses":  {d, deploy.Said{Target: a.target, Expected: sum, Addresses: many}, leafward.Invalid, "addresses"},
		"a name among many":   {d, deploy.Said{Target: a.target, Expected: sum, Addresses: []deploy.Seen{{Address: "a", Outcome: "x"}, {Address: "192.0.2.1", Outcome: "x"}}}, leafward.Invalid, "addresses[0].address"},
		"ok without a print":  {d, deploy.Said{Target: a.target, Expected: sum, Addresses: []deploy.Seen{{Address: "192.0.2.1", Outcome: probe.OK}}}, leafward.Invalid, "addresses[0].outcome"},
		"a print without ok":  {d, deploy.Said{Target: a.target, Expected: sum, Addresses: []deploy.Seen{{Address: "192.0.2.1", Fingerprint: sum}}}, leafward.Invalid, "addresses[0].outcome"},
	} {
		if _, err := a.Verify(a.as(), c.id, c.said); leafward.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.Verify(h.ctx, root, deploy.Said{Target: a.target, Expected: sum}); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("a word on a root: %v", err)
	}
	if _, err := h.Verification(h.ctx, root); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("the verification of a root: %v", err)
	}
	if _, err := h.Verification(h.ctx, "job-none"); leafward.KindOf(err) != leafward.NotFound {
		t.Errorf("the verification of nothing: %v", err)
	}
	if got, err := h.Verification(h.ctx, d); err != nil || got.Verified || got.Expected != sum || !got.At.IsZero() || got.Error == "" {
		t.Errorf("before anything was seen: %+v %v", got, err)
	}
}

func TestAWordOnAnotherCertificateIsNoProof(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	v, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	other := strings.Repeat("ab", 32)
	if got := a.says(t, p.ID, other, other); got.Verified {
		t.Errorf("%+v", got)
	}
	if got, err := a.Verify(a.as(), p.ID, deploy.Said{Target: a.target, Expected: v.SHA256, Actual: other, Verified: true}); err != nil || got.Verified {
		t.Errorf("a claim against its own fingerprints: %+v %v", got, err)
	}
	if h.job(t, p.ID).Status != leafward.JobPending {
		t.Error("the proof ended")
	}
}

func TestALateWordProvesEvenThoughTheJobFailed(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	v, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	h.write(t, func(tx *store.Tx) {
		j, err := tx.Job(p.ID)
		tx.Fail(err)
		j.Deadline = tx.Now
		tx.PutJob(&j)
	})
	h.becomes(t, p.ID, leafward.JobFailed)
	if c := h.certificate(t); c.FailedAt.IsZero() {
		t.Fatalf("%+v", c)
	}
	for range 2 {
		if got := a.says(t, p.ID, v.SHA256, v.SHA256); !got.Verified {
			t.Errorf("%+v", got)
		}
	}
	if i := h.installation(t, a.installation); i.Proved != v.ID || i.LastError != "" || !h.certificate(t).FailedAt.IsZero() {
		t.Errorf("%+v", i)
	}
	check(t, h.db.View(h.ctx, func(view *store.View) error {
		events, err := view.Events(leafward.Query{Where: map[string]string{"action": string(leafward.CertificateProved)}})
		if events.Total != 1 {
			t.Errorf("%d events of one proof", events.Total)
		}
		return err
	}))
}

func TestWhereNothingCanBeLookedAtTheAgentsWordOnTheFilesIsTheProof(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), loopback())
	for name, ours := range map[string]bool{"1": true, "2": false} {
		a := h.agent(t, name, ours, "127.0.0.1:1")
		_, err := store.Targets().Update(h.ctx, h.db, a.target, "", func(row *leafward.Target) error { row.Type = "JavaKeystore"; return nil }, nil)
		check(t, err)
		v, _ := a.version(t)
		a.reports(t, a.deployment(t, ""), nil)
		p := a.proof(t, v.ID)
		if !ours {
			h.hurry(t, p.ID)
			h.waits(t, p.ID, "no endpoint")
		}
		a.says(t, p.ID, v.SHA256, v.SHA256)
		h.becomes(t, p.ID, leafward.JobCompleted)
		if i := h.installation(t, a.installation); i.Proved != v.ID || i.Proof != leafward.ProofFile {
			t.Errorf("ours %t: %+v", ours, i)
		}
	}
}
