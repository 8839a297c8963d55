package fleet_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// work is what the agent is given at once, by kind.
func (w *world) work(t *testing.T, ctx context.Context, agent string) map[leafward.JobKind]fleet.Item {
	t.Helper()
	items, err := w.Work(ctx, agent, 0)
	check(t, err)
	out := make(map[leafward.JobKind]fleet.Item)
	for _, i := range items {
		out[i.Kind] = i
	}
	return out
}

func TestAnAgentIsGivenWhatItUnderstands(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ours, ourKey := w.agent(t, "ours", true)
		foreign, foreignKey := w.agent(t, "foreign", false)
		a, b := w.nginxAt(t, "a", ours.ID), w.nginxAt(t, "b", foreign.ID)
		w.certificate(t, a, b)
		v := w.version(t, ours.ID, "", a, b)
		for _, to := range []leafward.Target{a, b} {
			w.order(t, to.Agent)
			w.deployment(t, to, v.ID)
			w.enqueue(t, leafward.Job{Kind: leafward.ProveJob, Type: leafward.Validation, Subject: "in-" + to.ID, Certificate: shop, Target: to.ID, Agent: to.Agent, Version: v.ID})
			w.enqueue(t, leafward.Job{Kind: leafward.CheckJob, Subject: to.ID, Target: to.ID, Agent: to.Agent})
		}
		all := w.work(t, ourKey, ours.ID)
		if len(all) != 4 {
			t.Errorf("ours: %v", all)
		}
		some := w.work(t, foreignKey, foreign.ID)
		if _, order := some[leafward.OrderJob]; len(some) != 2 || !order {
			t.Errorf("another make: %v", some)
		}
		o := all[leafward.OrderJob]
		if o.Status != leafward.JobAwaitingCSR || o.About.CommonName != "shop.example" || len(o.About.SANs) != 2 || o.Key.Algorithm != leafward.ECDSA || o.Key.MinSize != 256 {
			t.Errorf("%+v", o)
		}
		d := all[leafward.DeployJob]
		if d.Target.Type != "NGINX" || d.Fingerprint != v.SHA256 || d.Version != v.ID || !json.Valid(d.Config) {
			t.Errorf("%+v", d)
		}
	})
}

func TestWorkIsNotClaimedByLookingAtIt(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	j := w.deployment(t, to, w.version(t, a.ID, "", to).ID)
	for range 2 {
		if got := w.work(t, own, a.ID); got[leafward.DeployJob].ID != j.ID {
			t.Errorf("%v", got)
		}
	}
	_, err := w.Lease(own, a.ID, j.ID, time.Minute)
	check(t, err)
	if got := w.work(t, own, a.ID); len(got) != 0 {
		t.Errorf("what is leased must not be offered: %v", got)
	}
}

func TestAWorkItemCarriesTheWholeConfiguration(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", false)
	to, err := w.CreateTarget(w.ctx, targetOf("store", "JavaKeystore", a.ID), json.RawMessage(`{"path":"/srv/store","password":"s3cret"}`))
	check(t, err)
	w.certificate(t, to)
	w.deployment(t, to, w.version(t, a.ID, "", to).ID)
	var config map[string]string
	if err := json.Unmarshal(w.work(t, own, a.ID)[leafward.DeployJob].Config, &config); err != nil || config["password"] != "s3cret" || config["path"] != "/srv/store" {
		t.Errorf("%v %v", config, err)
	}
}

func TestAWorkItemNamesTheDefaultsForAgentsThatDoNotKnowThem(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", false)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	w.deployment(t, to, w.version(t, a.ID, "", to).ID)
	var config map[string]any
	err := json.Unmarshal(w.work(t, own, a.ID)[leafward.DeployJob].Config, &config)
	if err != nil || config["reload_command"] != "nginx -s reload" || config["validate_command"] != "nginx -t" || config["port"] != 8443.0 || config["cert_path"] != "/etc/tls/c.pem" {
		t.Errorf("%v %v", config, err)
	}
	if _, named := config["chain_path"]; named {
		t.Errorf("what has no default is named: %v", config)
	}
}

func TestATargetThatIsSwitchedOffIsNotDeployedTo(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	w.deployment(t, to, w.version(t, a.ID, "", to).ID)
	enable := func(on bool) {
		_, err := w.UpdateTarget(w.ctx, to.ID, "", func(t *leafward.Target) error { t.Enabled = on; return nil }, nil)
		check(t, err)
	}
	enable(false)
	if got := w.work(t, own, a.ID); len(got) != 0 {
		t.Errorf("%v", got)
	}
	enable(true)
	if got := w.work(t, own, a.ID); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestAnAgentThatWaitsIsGivenWorkAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "web1", true)
		to := w.nginxAt(t, "a", a.ID)
		w.certificate(t, to)
		v := w.version(t, a.ID, "", to)
		got := make(chan []fleet.Item, 1)
		go func() {
			items, err := w.Work(own, a.ID, time.Minute)
			if err != nil {
				t.Error(err)
			}
			got <- items
		}()
		w.write(t, func(tx *store.Tx) { tx.SetSetting("noise", "wakes the waiting without giving them anything") })
		j := w.deployment(t, to, v.ID)
		select {
		case items := <-got:
			if len(items) != 1 || items[0].ID != j.ID {
				t.Errorf("%v", items)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the agent still waits")
		}
	})
}

func TestWaitingEndsWithNothingAndWithTheCaller(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	items, err := w.Work(own, a.ID, 50*time.Millisecond)
	if err != nil || items == nil || len(items) != 0 {
		t.Errorf("%v %v", items, err)
	}
	gone, leave := context.WithCancel(own)
	leave()
	if _, err := w.Work(gone, a.ID, time.Minute); err == nil {
		t.Error("a caller who left must not be waited for")
	}
}

func TestAnAgentThatIsRetiredWhileItWaitsIsToldSo(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	outcome := make(chan error, 1)
	go func() {
		_, err := w.Work(own, a.ID, time.Minute)
		outcome <- err
	}()
	_, err := w.Retire(w.ctx, a.ID, false, "")
	check(t, err)
	select {
	case err := <-outcome:
		refused(t, "waiting", err, leafward.Gone)
	case <-time.After(20 * time.Second):
		t.Fatal("it still waits")
	}
}

func TestAHeartbeatIsKeptToAFewWrites(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "web1", true)
		if a.Status(a.CreatedAt) != "Offline" {
			t.Error("an agent that was never heard is offline")
		}
		facts := fleet.Facts{Hostname: "web1", OS: "linux", Architecture: "amd64", IPAddress: "192.0.2.7", Version: "1.0", Protocol: leafward.AgentProtocol}
		check(t, w.Heartbeat(own, a.ID, facts, time.Time{}))
		first, err := w.Agent(w.ctx, a.ID)
		if err != nil || first.OS != "linux" || first.IPAddress != "192.0.2.7" || first.LastHeartbeat.IsZero() || first.Status(first.LastHeartbeat) != "Online" {
			t.Fatalf("%+v %v", first, err)
		}
		check(t, w.Heartbeat(own, a.ID, facts, time.Time{}))
		if again, _ := w.Agent(w.ctx, a.ID); !again.LastHeartbeat.Equal(first.LastHeartbeat) {
			t.Error("the same words within ten seconds are not written again")
		}
		facts.Version = "1.1"
		check(t, w.Heartbeat(own, a.ID, facts, time.Time{}))
		if told, _ := w.Agent(w.ctx, a.ID); told.Version != "1.1" || told.Revision != first.Revision+1 {
			t.Errorf("new words are written at once: %+v", told)
		}
		check(t, w.Heartbeat(own, a.ID, facts, time.Now().Add(-5*time.Minute)))
		skewed, err := w.Agent(w.ctx, a.ID)
		if err != nil || skewed.Status(skewed.LastHeartbeat) != "Degraded" || skewed.ClockSkew > -290 {
			t.Errorf("%+v %v", skewed, err)
		}
		bad := facts
		bad.IPAddress = "here"
		refused(t, "an address that is none", w.Heartbeat(own, a.ID, bad, time.Time{}), leafward.Invalid)
		check(t, w.Heartbeat(own, a.ID, fleet.Facts{}, time.Time{}))
		if told, _ := w.Agent(w.ctx, a.ID); told.Ours || told.Version != "1.1" {
			t.Errorf("what is absent stays, and the protocol is told each time: %+v", told)
		}
	})
}

func TestAgentsAreFilteredByTheirStatus(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		for _, name := range []string{"silent", "well", "skewed", "failed"} {
			a, own := w.agent(t, name, true)
			var clock time.Time
			if name == "skewed" {
				clock = time.Now().Add(time.Hour)
			}
			if name != "silent" {
				check(t, w.Heartbeat(own, a.ID, fleet.Facts{}, clock))
			}
			if name == "failed" {
				w.write(t, func(tx *store.Tx) { tx.NoteDeployment(a.ID, true) })
			}
		}
		for status, want := range map[string]int64{"Offline": 1, "Online": 1, "Degraded": 2, "": 4} {
			q := leafward.Query{}
			if status != "" {
				q.Where = map[string]string{"status": status}
			}
			page, err := w.Agents(w.ctx, q)
			if err != nil || page.Total != want {
				t.Errorf("%q: %d %v", status, page.Total, err)
			}
			now, err := w.Now(w.ctx)
			check(t, err)
			for _, a := range page.Items {
				if status != "" && a.Status(now) != status {
					t.Errorf("%s is %s", a.Name, a.Status(now))
				}
			}
		}
		_, err := w.Agents(w.ctx, leafward.Query{Where: map[string]string{"status": "Happy"}})
		refused(t, "an unknown status", err, leafward.Invalid)
	})
}

func TestAnotherAgentsWorkIsOutOfReach(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	b, other := w.agent(t, "web2", true)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	v := w.version(t, a.ID, "", to)
	j, o := w.deployment(t, to, v.ID), w.order(t, a.ID)
	for _, id := range []string{a.ID, "ag-none"} {
		_, err := w.Work(other, id, 0)
		refused(t, "work", err, leafward.Denied)
		refused(t, "a heartbeat", w.Heartbeat(other, id, fleet.Facts{}, time.Time{}), leafward.Denied)
		_, err = w.Acting(other, id)
		refused(t, "a CSR", err, leafward.Denied)
	}
	for _, id := range []string{j.ID, o.ID, "job-none"} {
		_, err := w.Lease(other, b.ID, id, time.Minute)
		refused(t, "a lease", err, leafward.NotFound)
		refused(t, "a report", w.Report(other, b.ID, id, fleet.Report{Status: "Completed"}), leafward.NotFound)
		refused(t, "steps", w.Steps(other, b.ID, id, 0, nil), leafward.NotFound)
	}
	_, err := w.Pickup(other, b.ID, shop, "")
	refused(t, "a pickup", err, leafward.NotFound)
	if _, err := w.Pickup(own, a.ID, shop, ""); err != nil {
		t.Errorf("its own: %v", err)
	}
	if now := w.job(t, j.ID); now.Status != leafward.JobPending {
		t.Errorf("%+v", now)
	}
}
