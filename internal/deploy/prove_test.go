package deploy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/deploy"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// waits waits until the job is pending again and waits for something with the text in it.
func (h *house) waits(t *testing.T, id, text string) (j leafward.Job) {
	t.Helper()
	h.until(t, "job "+id+" waits for "+text, func(v *store.View) (_ bool, err error) {
		j, err = v.Job(id)
		return j.Status == leafward.JobPending && strings.Contains(j.WaitingFor, text), err
	})
	return j
}

// proved brings a first version to the agent and has it proved.
func (a *agent) proved(t *testing.T, s *shop) leafward.Version {
	t.Helper()
	v, pair := a.version(t)
	if s != nil {
		s.shows.Store(pair)
	}
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	a.says(t, p.ID, v.SHA256, v.SHA256)
	a.hurry(t, p.ID)
	a.becomes(t, p.ID, leafward.JobCompleted)
	return v
}

func TestWhileTheOldCertificateIsServedItIsLookedAtAgainAndThenProved(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, loopback())
		s := open(t, selfSigned(t))
		a := h.agent(t, "1", false, s.address)
		old := a.proved(t, s)
		v, pair := a.version(t)
		root := h.root(t)
		a.reports(t, a.deployment(t, root), nil)
		p := a.proof(t, v.ID)
		h.hurry(t, p.ID)
		if j := h.waits(t, p.ID, "still serves another version"); j.Attempt != 0 || !j.RunAt.After(j.UpdatedAt) {
			t.Errorf("looking again costs an attempt, or comes at once: %+v", j)
		}
		if i := h.installation(t, a.installation); i.Proved != old.ID || h.job(t, root).Status != leafward.JobRunning {
			t.Errorf("the old certificate proves the new one: %+v", i)
		}
		if got, err := h.Verification(h.ctx, p.ID); err != nil || got.Verified || got.Actual != old.SHA256 || got.By != "server" || got.At.IsZero() {
			t.Errorf("verification: %+v %v", got, err)
		}
		s.shows.Store(pair)
		h.hurry(t, p.ID)
		h.becomes(t, root, leafward.JobCompleted)
		if i := h.installation(t, a.installation); i.Proved != v.ID || i.Proof != leafward.ProofServed {
			t.Errorf("after the server serves it: %+v", i)
		}
	})
}

func TestAProofOutsideOfARootMovesWhatIsInUse(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a, b := h.agent(t, "1", true, "127.0.0.1:1"), h.agent(t, "2", true, "127.0.0.1:2")
	a.proved(t, nil)
	v := b.proved(t, nil)
	h.write(t, func(tx *store.Tx) {
		c, err := tx.Certificate(certificate)
		tx.Fail(err)
		c.ExpiresAt = tx.Now
		tx.PutCertificate(&c)
		i, err := tx.Installation(b.installation)
		tx.Fail(err)
		i.Proved = ""
		tx.PutInstallation(&i)
	})
	b.reports(t, b.deployment(t, ""), nil)
	p := b.proof(t, v.ID)
	b.says(t, p.ID, v.SHA256, v.SHA256)
	h.becomes(t, p.ID, leafward.JobCompleted)
	if c := h.certificate(t); c.ExpiresAt.Before(time.Now().Add(80 * 24 * time.Hour)) {
		t.Errorf("it still ends at %s", c.ExpiresAt)
	}
}

func TestAForeignCertificateFailsTheAttemptsAndThenTheRoot(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, loopback())
		s := open(t, selfSigned(t))
		a := h.agent(t, "1", false, s.address)
		a.proved(t, s)
		v, _ := a.version(t)
		root := h.root(t)
		a.reports(t, a.deployment(t, root), nil)
		s.shows.Store(selfSigned(t))
		p := a.proof(t, v.ID)
		h.hurry(t, p.ID)
		h.until(t, "the first attempt failed", func(v *store.View) (bool, error) {
			j, err := v.Job(p.ID)
			return j.Status == leafward.JobPending && j.Attempt == 1, err
		})
		h.hurry(t, p.ID)
		r := h.becomes(t, root, leafward.JobFailed)
		if !strings.Contains(r.LastError, "neither the old nor the new") {
			t.Errorf("the root says %q", r.LastError)
		}
		if i := h.installation(t, a.installation); i.Proved == v.ID || !strings.Contains(i.LastError, "neither the old nor the new") {
			t.Errorf("the installation: %+v", i)
		}
	})
}

func TestWhatWasServedBeforeTheFirstDeploymentIsNotForeign(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), loopback())
	s := open(t, selfSigned(t))
	a := h.agent(t, "1", false, s.address)
	v, pair := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	h.hurry(t, p.ID)
	h.waits(t, p.ID, "serves another certificate")
	s.shows.Store(pair)
	h.hurry(t, p.ID)
	h.becomes(t, p.ID, leafward.JobCompleted)
}

func TestAnUnreachableAddressIsNeverProofAndCostsNoAttempt(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), loopback())
	a := h.agent(t, "1", false, "127.0.0.1:1")
	v, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	for range 3 {
		h.hurry(t, p.ID)
		if j := h.waits(t, p.ID, "cannot be seen: nothing listens there"); j.Attempt != 0 {
			t.Fatalf("%+v", j)
		}
	}
	h.write(t, func(tx *store.Tx) {
		j, err := tx.Job(p.ID)
		tx.Fail(err)
		j.Deadline = tx.Now
		tx.PutJob(&j)
	})
	if j := h.becomes(t, p.ID, leafward.JobFailed); !strings.Contains(j.LastError, "deadline passed while it waited for the new certificate to be seen: 127.0.0.1 cannot be seen: nothing listens there") {
		t.Errorf("at the deadline it says %q", j.LastError)
	}
	d, err := h.Job(h.ctx, p.ID)
	if err != nil || len(d.Steps) != 1 || d.Steps[0].OK || d.Steps[0].Name != "look at 127.0.0.1:1 from server" {
		t.Errorf("looking three times with the same outcome gave the steps %+v %v", d.Steps, err)
	}
}

func TestTheServerLooksOnlyWhereItMayAndSaysSo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		s := open(t, selfSigned(t))
		a := h.agent(t, "1", false, s.address)
		v, pair := a.version(t)
		s.shows.Store(pair)
		a.reports(t, a.deployment(t, ""), nil)
		p, i := a.proof(t, v.ID), a.installation
		if wait := p.RunAt.Sub(p.CreatedAt); p.Agent != "" || wait != 5*time.Minute || !strings.Contains(p.WaitingFor, "ag-1") {
			t.Fatalf("another make's word is waited for: %+v", p)
		}
		h.hurry(t, p.ID)
		h.waits(t, p.ID, "the server may not look at 127.0.0.1; start it with --probe-allow")
		if len(s.names) > 0 || h.installation(t, i).Proved != "" {
			t.Error("the server looked all the same")
		}
		if steps := h.steps(t, p.ID); len(steps) != 1 || !steps[0].OK || !strings.Contains(steps[0].Message, "left out") {
			t.Errorf("what the server may not do is no failure: %+v", steps)
		}
		if got, err := h.Verification(h.ctx, p.ID); err != nil || got.Verified || !strings.Contains(got.Error, "--probe-allow") {
			t.Errorf("verification: %+v %v", got, err)
		}
		if got := a.says(t, p.ID, v.SHA256, v.SHA256); !got.Verified {
			t.Errorf("the agent's word: %+v", got)
		}
		h.becomes(t, p.ID, leafward.JobCompleted)
		if got := h.installation(t, i); got.Proved != v.ID || got.LastError != "" {
			t.Errorf("by the agent's word alone: %+v", got)
		}
	})
}

func TestTheServersDisagreementIsTold(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), loopback())
	s := open(t, selfSigned(t))
	a := h.agent(t, "1", true, s.address)
	old := a.proved(t, s)
	v, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	a.says(t, p.ID, v.SHA256, v.SHA256)
	h.waits(t, p.ID, "the agent saw the new version, but from the server 127.0.0.1 still serves another version (SHA-256 "+old.SHA256)
	if got, err := h.Verification(h.ctx, p.ID); err != nil || got.Verified || !strings.Contains(got.Error, "but from the server") {
		t.Errorf("while the server sees the old one: %+v %v", got, err)
	}
	s.shows.Store(selfSigned(t)) // such as what a proxy in front shows
	h.hurry(t, p.ID)
	h.becomes(t, p.ID, leafward.JobCompleted)
	i := h.installation(t, a.installation)
	if i.Proved != v.ID || !strings.Contains(i.LastError, "but from the server 127.0.0.1 serves another certificate") {
		t.Errorf("%+v", i)
	}
	if got, err := h.Verification(h.ctx, p.ID); err != nil || !got.Verified || got.Doubt == "" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestASupersededVersionIsNotProvedAndItsProofBecomesTheNewOnes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		a := h.agent(t, "1", true, "127.0.0.1:1")
		older, _ := a.version(t)
		a.reports(t, a.deployment(t, ""), nil)
		p := a.proof(t, older.ID)
		newer, _ := a.version(t)
		d := a.deployment(t, "")
		if got := a.says(t, p.ID, older.SHA256, older.SHA256); !got.Verified {
			t.Errorf("the older version was served all the same: %+v", got)
		}
		h.waits(t, p.ID, "newer version")
		if i := h.installation(t, a.installation); i.Proved != "" {
			t.Fatalf("%+v", i)
		}
		a.reports(t, d, nil)
		if again := a.proof(t, newer.ID); again.ID != p.ID || again.Agent != a.id || again.Checkpoint != "" || again.WaitingFor != "the agent ag-1" {
			t.Fatalf("the proof was not taken over: %+v", again)
		}
		a.says(t, p.ID, newer.SHA256, newer.SHA256)
		h.becomes(t, p.ID, leafward.JobCompleted)
		if i := h.installation(t, a.installation); i.Proved != newer.ID {
			t.Errorf("%+v", i)
		}
	})
}

func TestAProofWhoseNewerDeploymentFailedEndsWithoutProof(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", false, "127.0.0.1:1")
	older, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, older.ID)
	a.version(t)
	a.reports(t, a.deployment(t, ""), leafward.Errorf(leafward.Denied, "", "no"))
	h.hurry(t, p.ID)
	if j := h.becomes(t, p.ID, leafward.JobFailed); !strings.Contains(j.LastError, "another version") {
		t.Errorf("%+v", j)
	}
	if i := h.installation(t, a.installation); i.Proved != "" || i.LastError != "no" {
		t.Errorf("%+v", i)
	}
}

func TestTheProofOfARemovedInstallationEndsQuietly(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	v, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	d := a.deployment(t, "")
	h.write(t, func(tx *store.Tx) {
		i, err := tx.Installation(a.installation)
		tx.Fail(err)
		tx.RemoveInstallation(&i)
		j, err := tx.Job(p.ID)
		tx.Fail(err)
		j.Agent, j.RunAt = "", tx.Now
		tx.PutJob(&j)
	})
	a.reports(t, d, nil)
	if j := h.becomes(t, p.ID, leafward.JobCompleted); j.LastError != "" {
		t.Errorf("%+v", j)
	}
	if got, err := a.Verify(a.as(), d, deploy.Said{Target: a.target, Expected: v.SHA256, Actual: v.SHA256, Verified: true}); err != nil || got.Verified {
		t.Errorf("%+v %v", got, err)
	}
}

func TestAReportDoesNotCompleteAProof(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	v, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	err := h.db.Write(a.as(), func(tx *store.Tx) error { return h.engine.Complete(tx, &p, nil) })
	if leafward.KindOf(err) != leafward.Conflict || h.job(t, p.ID).Status != leafward.JobPending {
		t.Errorf("got %v", err)
	}
}

func TestAnotherHostBehindTheSameNameMayServeItsOwnVersion(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a, b := h.agent(t, "1", true, "192.0.2.1:443"), h.agent(t, "2", true, "192.0.2.2:443")
	va, _ := a.version(t)
	vb, _ := b.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, va.ID)
	both := deploy.Said{Target: a.target, Expected: va.SHA256, Actual: va.SHA256, Verified: true, Addresses: []deploy.Seen{
		{Address: "192.0.2.1", Fingerprint: va.SHA256, Outcome: probe.OK},
		{Address: "192.0.2.2", Outcome: probe.Refused, Problem: "nothing listens there"},
		{Address: "192.0.2.3", Fingerprint: vb.SHA256, Outcome: probe.OK},
	}}
	if got, err := a.Verify(a.as(), p.ID, both); err != nil || !got.Verified {
		t.Errorf("%+v %v", got, err)
	}
	h.becomes(t, p.ID, leafward.JobCompleted)
	d, err := h.Job(h.ctx, p.ID)
	if err != nil || len(d.Steps) < 3 || d.Steps[0].Message != "serves SHA-256 "+va.SHA256 || !d.Steps[0].OK || d.Steps[1].OK || d.Steps[1].Message != "nothing listens there" {
		t.Errorf("a step for each address: %+v %v", d.Steps, err)
	}
}

func TestAnAgentOfOursLooksAgainWhileItIsTooEarly(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	old := a.proved(t, nil)
	v, _ := a.version(t)
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, v.ID)
	h.write(t, func(tx *store.Tx) {
		_, err := job.LeaseFor(tx, p.ID, a.id, time.Minute)
		tx.Fail(err)
	})
	a.says(t, p.ID, v.SHA256, old.SHA256)
	if j := h.job(t, p.ID); j.Agent != a.id || j.Status != leafward.JobPending || j.Attempt != 0 || !j.RunAt.After(j.UpdatedAt) || j.Worker != "" {
		t.Errorf("still the old one: %+v", j)
	}
	a.says(t, p.ID, v.SHA256, "")
	if j := h.job(t, p.ID); j.Attempt != 0 || !strings.HasPrefix(j.WaitingFor, "the new certificate to be seen: ") || !strings.Contains(j.WaitingFor, "cannot be seen") {
		t.Errorf("nothing to be seen: %+v", j)
	}
	a.says(t, p.ID, v.SHA256, strings.Repeat("ab", 32))
	if j := h.job(t, p.ID); j.Attempt != 1 || j.Status != leafward.JobPending || !strings.Contains(j.LastError, "neither the old nor the new") {
		t.Errorf("a foreign one: %+v", j)
	}
}
