package deploy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// put adds a job in a state that it may have come to.
func (h *house) put(t *testing.T, j leafward.Job, status leafward.JobStatus) string {
	t.Helper()
	if j.Team == "" {
		j.Team = leafward.DefaultTeam
	}
	h.write(t, func(tx *store.Tx) {
		j.RunAt = tx.Now.Add(time.Hour)
		_, err := job.Enqueue(tx, &j)
		tx.Fail(err)
		j.Status = status
		if status == leafward.JobRunning {
			j.Worker, j.LeaseUntil, j.Attempt = "another", tx.Now.Add(time.Hour), 1
			tx.OpenAttempt(&j)
		}
		tx.PutJob(&j)
	})
	return j.ID
}

func TestEveryOpenJobCanBeCancelled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, outbound.Config{})
		kinds := map[leafward.JobKind]leafward.JobType{
			leafward.RootJob: leafward.Renewal, leafward.OrderJob: leafward.Renewal, leafward.DeployJob: leafward.Deployment, leafward.ProveJob: leafward.Validation,
		}
		for kind, typ := range kinds {
			for _, status := range []leafward.JobStatus{leafward.JobPending, leafward.JobAwaitingCSR, leafward.JobAwaitingApproval, leafward.JobRunning} {
				name := fmt.Sprintf("%s that is %s", kind, status)
				id := h.put(t, leafward.Job{Kind: kind, Type: typ, Subject: name}, status)
				j, err := h.Cancel(h.ctx, id)
				check(t, err)
				if finishing := kind == leafward.DeployJob && status == leafward.JobRunning; finishing {
					if j.Status != leafward.JobRunning || !strings.Contains(j.WaitingFor, "to be cancelled") {
						t.Errorf("%s: a deployment under way is finished first, but it is %s", name, j.Status)
					}
					h.write(t, func(tx *store.Tx) { tx.Fail(h.engine.Fail(tx, &j, leafward.Errorf(leafward.Later, "", "it broke"))) })
				}
				if j = h.job(t, id); j.Status != leafward.JobCancelled || !strings.Contains(j.LastError, "cancelled by test") || j.CompletedAt.IsZero() {
					t.Errorf("%s: %+v", name, j)
				}
				if _, err := h.Cancel(h.ctx, id); leafward.KindOf(err) != leafward.Conflict {
					t.Errorf("%s, cancelled twice: %v", name, err)
				}
			}
		}
	})
}

func TestACancelledRootTakesItsPartsWithItAndFinishesWhatRuns(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	a, b := h.agent(t, "1", true, "127.0.0.1:1"), h.agent(t, "2", true, "127.0.0.1:2")
	v, _ := a.version(t)
	b.version(t)
	root := h.root(t)
	running, waiting := a.deployment(t, root), b.deployment(t, root)
	h.write(t, func(tx *store.Tx) {
		_, err := job.LeaseFor(tx, running, a.id, time.Minute)
		tx.Fail(err)
	})
	if j, err := h.Cancel(h.ctx, root); err != nil || !j.Status.Open() {
		t.Fatalf("%+v %v", j, err)
	}
	if j := h.job(t, waiting); j.Status != leafward.JobCancelled {
		t.Errorf("%+v", j)
	}
	a.reports(t, running, nil)
	if j := h.job(t, running); j.Status != leafward.JobCompleted {
		t.Errorf("what ran is %s", j.Status)
	}
	if p := a.proof(t, v.ID); p.Status != leafward.JobCancelled {
		t.Errorf("its proof is %s", p.Status)
	}
	if j := h.job(t, root); j.Status != leafward.JobCancelled {
		t.Errorf("the root is %s", j.Status)
	}
	if i := h.installation(t, a.installation); i.Deployed != v.ID || i.Proved != "" {
		t.Errorf("%+v", i)
	}
}

func TestJobsAreSeenAndCancelledWithinTheTeamOnly(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil), outbound.Config{})
	id := h.put(t, leafward.Job{Kind: leafward.DeployJob, Type: leafward.Deployment, Subject: "in-1"}, leafward.JobPending)
	hidden := h.put(t, leafward.Job{Kind: "upkeep", Subject: "all"}, leafward.JobPending)
	other := storetest.Scoped(t.Context(), "t-other")
	if _, err := h.Cancel(other, id); leafward.KindOf(err) != leafward.NotFound {
		t.Errorf("another team cancels: %v", err)
	}
	if _, err := h.Job(other, id); leafward.KindOf(err) != leafward.NotFound {
		t.Errorf("another team reads: %v", err)
	}
	if page, err := h.Jobs(other, leafward.Query{}); err != nil || page.Total != 0 {
		t.Errorf("another team lists: %+v %v", page, err)
	}
	for _, call := range []func() error{
		func() error { _, err := h.Job(h.ctx, hidden); return err },
		func() error { _, err := h.Cancel(h.ctx, hidden); return err },
	} {
		if err := call(); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("the server's own work is shown: %v", err)
		}
	}
}
