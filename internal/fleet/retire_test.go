package fleet_test

import (
	"errors"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAnAgentOnWhichNothingHangsIsRetiredOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "web1", true)
		r, err := w.Retire(w.ctx, a.ID, false, "")
		if err != nil || r.Already || r.Cascade || r.At.IsZero() || r.Counts != (store.Dependencies{}) {
			t.Fatalf("%+v %v", r, err)
		}
		again, err := w.Retire(w.ctx, a.ID, false, "")
		if err != nil || !again.Already || !again.At.Equal(r.At) || w.events(t, leafward.AgentRetired, a.ID) != 1 {
			t.Errorf("%+v %v", again, err)
		}
		_, err = w.Work(own, a.ID, 0)
		refused(t, "work", err, leafward.Gone)
		refused(t, "a heartbeat", w.Heartbeat(own, a.ID, fleet.Facts{}, time.Time{}), leafward.Gone)
		w.view(t, func(v *store.View) error {
			open, err := v.CredentialsOf(a.Principal)
			if len(open) > 0 {
				t.Errorf("its keys still open: %v", open)
			}
			return err
		})
		listed, err := w.Agents(w.ctx, leafward.Query{})
		check(t, err)
		gone, err := w.RetiredAgents(w.ctx, leafward.Query{})
		if err != nil || listed.Total != 0 || gone.Total != 1 || gone.Items[0].ID != a.ID {
			t.Errorf("%+v %+v %v", listed, gone, err)
		}
		if _, _, err = w.Register(w.ctx, fleet.Registration{Name: "web1"}); err != nil {
			t.Errorf("the name of a retired agent is free: %v", err)
		}
	})
}

func TestWhatHangsOnAnAgentKeepsItUnlessForced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, _ := w.agent(t, "web1", true)
		to := w.nginxAt(t, "web", a.ID)
		w.certificate(t, to)
		v := w.version(t, a.ID, "", to)
		deploy, order := w.deployment(t, to, v.ID), w.order(t, a.ID)
		_, err := w.Retire(w.ctx, a.ID, false, "")
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || e.Kind != leafward.BlockedDependency || e.Counts["active_targets"] != 1 || e.Counts["active_certificates"] != 1 || e.Counts["pending_jobs"] != 2 {
			t.Fatalf("%#v", err)
		}
		_, err = w.Retire(w.ctx, a.ID, true, "  ")
		refused(t, "force without a reason", err, leafward.Invalid)
		r, err := w.Retire(w.ctx, a.ID, true, "the host burnt")
		if err != nil || !r.Cascade || r.Counts != (store.Dependencies{Targets: 1, Certificates: 1, Jobs: 2}) {
			t.Fatalf("%+v %v", r, err)
		}
		for _, j := range []leafward.Job{deploy, order} {
			if now := w.job(t, j.ID); now.Status != leafward.JobCancelled {
				t.Errorf("%s is %s", j.Kind, now.Status)
			}
		}
		left, err := w.Target(w.ctx, to.ID)
		if err != nil || left.Enabled {
			t.Errorf("the target must be switched off: %+v %v", left, err)
		}
		w.view(t, func(v *store.View) error {
			bound, err := v.Installations(shop)
			if len(bound) > 0 {
				t.Errorf("still bound: %+v", bound)
			}
			return err
		})
		a, err = w.Agent(w.ctx, a.ID)
		if err != nil || a.RetiredReason != "the host burnt" || a.RetiredAt.IsZero() {
			t.Errorf("%+v %v", a, err)
		}
	})
}

func TestSentinelsAreNeitherListedNorRetired(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	listed, err := w.Agents(w.ctx, leafward.Query{})
	if err != nil || listed.Total != 0 || len(listed.Items) != 0 {
		t.Errorf("%+v %v", listed, err)
	}
	for _, id := range leafward.SentinelAgents() {
		if _, err := w.Agent(w.ctx, id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		_, err := w.Retire(w.ctx, id, true, "because")
		refused(t, id, err, leafward.Denied)
		_, err = w.Retire(w.ctx, id, true, "")
		refused(t, id+" without a reason", err, leafward.Denied)
	}
	_, err = w.Retire(w.ctx, "ag-none", false, "")
	refused(t, "nobody", err, leafward.NotFound)
}
