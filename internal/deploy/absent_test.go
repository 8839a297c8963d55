package deploy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// left is the open proof of a version that an agent of ours has deployed, and then left alone for a time.
func (a *agent) left(t *testing.T, version string, alone time.Duration) leafward.Job {
	t.Helper()
	a.reports(t, a.deployment(t, ""), nil)
	p := a.proof(t, version)
	if p.Agent != a.id {
		t.Fatalf("an agent of ours looks first: %+v", p)
	}
	a.write(t, func(tx *store.Tx) {
		j, err := tx.Job(p.ID)
		tx.Fail(err)
		j.RunAt = tx.Now.Add(-alone)
		tx.PutJob(&j)
	})
	check(t, a.engine.Trigger(a.ctx, "proofs"))
	return p
}

func TestTheServerLooksWhereAnAgentOfOursWentAway(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, loopback())
		s := open(t, selfSigned(t))
		a := h.agent(t, "1", true, s.address)
		old := a.proved(t, s)
		v, pair := a.version(t)
		p := a.left(t, v.ID, 4*time.Minute)
		if j := h.job(t, p.ID); j.Agent != a.id {
			t.Fatalf("it was not away for long: %+v", j)
		}
		p = a.left(t, v.ID, 6*time.Minute)
		j := h.waits(t, p.ID, "still serves another version (SHA-256 "+old.SHA256)
		if j.Agent != a.id || !strings.HasPrefix(j.WaitingFor, "the agent "+a.id+", which did not look") || j.Attempt != 0 {
			t.Errorf("what the server does not see goes back to the agent: %+v", j)
		}
		s.shows.Store(pair)
		p = a.left(t, v.ID, 6*time.Minute)
		h.becomes(t, p.ID, leafward.JobCompleted)
		if i := h.installation(t, a.installation); i.Proved != v.ID || i.Proof != leafward.ProofServed {
			t.Errorf("%+v", i)
		}
		if got, err := h.Verification(h.ctx, p.ID); err != nil || !got.Verified || got.By != "server" {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestWhereTheServerMayNotLookTheAgentThatWentAwayIsWaitedForByName(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a := h.agent(t, "1", true, "127.0.0.1:1")
	v, _ := a.version(t)
	p := a.left(t, v.ID, 6*time.Minute)
	j := h.waits(t, p.ID, "the server may not look at 127.0.0.1")
	if j.Agent != a.id || !strings.HasPrefix(j.WaitingFor, "the agent "+a.id) || j.Attempt != 0 {
		t.Errorf("%+v", j)
	}
	h.write(t, func(tx *store.Tx) {
		_, err := job.LeaseFor(tx, p.ID, a.id, time.Minute)
		tx.Fail(err)
	})
	a.says(t, p.ID, v.SHA256, v.SHA256)
	h.becomes(t, p.ID, leafward.JobCompleted)
}

func TestAForeignCertificateThatTheServerSeesInPlaceOfTheAgentFailsAnAttempt(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), loopback())
	s := open(t, selfSigned(t))
	a := h.agent(t, "1", true, s.address)
	a.proved(t, s)
	v, _ := a.version(t)
	s.shows.Store(selfSigned(t))
	p := a.left(t, v.ID, 6*time.Minute)
	h.until(t, "the attempt failed", func(v *store.View) (bool, error) {
		j, err := v.Job(p.ID)
		return j.Attempt == 1 && j.Agent == a.id && strings.Contains(j.LastError, "neither the old nor the new"), err
	})
}
