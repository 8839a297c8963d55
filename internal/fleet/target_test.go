package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func keep(*leafward.Target) error { return nil }

func TestTheSecretsOfATargetAreSealedAndStayWhenTheyStayAway(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, _ := w.agent(t, "web1", true)
		made, err := w.CreateTarget(w.ctx, targetOf("store", "JavaKeystore", a.ID), json.RawMessage(`{"path":"/srv/store","password":"s3cret","pin":"1234"}`))
		check(t, err)
		stored, err := w.Target(w.ctx, made.ID)
		check(t, err)
		if strings.Contains(string(stored.Config), "s3cret") || strings.Contains(string(stored.Sealed), "s3cret") || strings.Join(stored.Secrets, ",") != "password,pin" {
			t.Errorf("%s %v", stored.Config, stored.Secrets)
		}
		moved, err := w.UpdateTarget(w.ctx, made.ID, "", keep, json.RawMessage(`{"path":"/srv/other","pin":null}`))
		check(t, err)
		if string(moved.Config) != `{"path":"/srv/other"}` || strings.Join(moved.Secrets, ",") != "password" {
			t.Errorf("%s %v", moved.Config, moved.Secrets)
		}
		same, err := w.UpdateTarget(w.ctx, made.ID, "", keep, json.RawMessage(`{"path":"/srv/other","password":"s3cret"}`))
		if err != nil || same.Revision != moved.Revision {
			t.Errorf("what changes nothing writes nothing: %d, then %d %v", moved.Revision, same.Revision, err)
		}
		w.certificate(t, made)
		w.deployment(t, made, w.version(t, a.ID, "", made).ID)
		var config map[string]string
		if err := json.Unmarshal(w.work(t, as(t, a.ID), a.ID)[leafward.DeployJob].Config, &config); err != nil || len(config) != 2 || config["password"] != "s3cret" || config["path"] != "/srv/other" {
			t.Errorf("%v %v", config, err)
		}
	})
}

func TestATargetThatCannotWorkIsRefused(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, _ := w.agent(t, "web1", true)
	gone, _ := w.agent(t, "gone", true)
	_, err := w.Retire(w.ctx, gone.ID, false, "")
	check(t, err)
	theirs, _, err := w.Register(w.ctx, fleet.Registration{Name: "theirs", Team: leafward.DefaultTeam})
	check(t, err)
	good := `{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}`
	for name, c := range map[string]struct{ kind, agent, config, field string }{
		"no agent":                  {"NGINX", "", good, "agent_id"},
		"an agent that is not":      {"NGINX", "ag-none", good, "agent_id"},
		"a retired agent":           {"NGINX", gone.ID, good, "agent_id"},
		"the server itself":         {"NGINX", leafward.ServerAgent, good, "agent_id"},
		"an agent of one team":      {"NGINX", theirs.ID, good, "agent_id"},
		"no type":                   {"", a.ID, good, "type"},
		"a type that is not built":  {"F5", a.ID, good, "type"},
		"a type that is not":        {"Toaster", a.ID, good, "type"},
		"no configuration":          {"NGINX", a.ID, "", "config.cert_path"},
		"a setting that is not":     {"NGINX", a.ID, `{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem","colour":"red"}`, "config.colour"},
		"a path that is not":        {"NGINX", a.ID, `{"cert_path":"c.pem","key_path":"/etc/k.pem"}`, "config.cert_path"},
		"a port out of range":       {"NGINX", a.ID, `{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem","port":70000}`, "config.port"},
		"a configuration of a type": {"NGINX", a.ID, `{"cert_path":7,"key_path":"/etc/k.pem"}`, "config.cert_path"},
	} {
		var config json.RawMessage
		if c.config != "" {
			config = json.RawMessage(c.config)
		}
		_, err := w.CreateTarget(w.ctx, targetOf("web", c.kind, c.agent), config)
		e, ok := errors.AsType[*leafward.Error](err)
		named := false
		for _, f := range fields(e, ok) {
			named = named || f.Field == c.field
		}
		if want := leafward.Invalid; !named || e.Kind != want && e.Kind != leafward.UnsupportedType {
			t.Errorf("%s: %v, want %s", name, err, c.field)
		}
	}
	_, err = w.CreateTarget(w.ctx, targetOf("web", "F5", a.ID), nil)
	refused(t, "a type that is not built in", err, leafward.UnsupportedType)
}

func TestAFileOfAnAgentBelongsToOneTarget(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, _ := w.agent(t, "web1", true)
		b, _ := w.agent(t, "web2", true)
		add := func(name, agent, config string) (leafward.Target, error) {
			return w.CreateTarget(w.ctx, targetOf(name, "NGINX", agent), json.RawMessage(config))
		}
		shared := func(err error, words ...string) {
			t.Helper()
			e, ok := errors.AsType[*leafward.Error](err)
			if !ok || e.Kind != leafward.Invalid || len(e.Fields) == 0 {
				t.Fatalf("it is not refused: %v", err)
			}
			for _, want := range words {
				if !strings.Contains(e.Fields[0].Field+" "+e.Fields[0].Problem+" "+e.Fields[0].Fix, want) {
					t.Errorf("%q is not in %+v", want, e.Fields)
				}
			}
		}
		shop, err := add("shop", a.ID, `{"cert_path":"/etc/nginx/shop.pem","key_path":"/etc/nginx/shop.key","chain_path":"/etc/nginx/chain.pem"}`)
		check(t, err)
		_, err = add("blog", a.ID, `{"cert_path":"/etc/nginx/blog.pem","key_path":"/etc/nginx/shop.key"}`)
		shared(err, "config.key_path", "/etc/nginx/shop.key", "the target shop", "another file")
		_, err = add("blog", a.ID, `{"cert_path":"/etc/nginx/chain.pem","key_path":"/etc/nginx/blog.key"}`)
		shared(err, "config.cert_path", "the target shop")
		there, err := add("blog", b.ID, `{"cert_path":"/etc/nginx/shop.pem","key_path":"/etc/nginx/shop.key"}`)
		check(t, err)
		_, err = w.UpdateTarget(w.ctx, there.ID, "", func(t *leafward.Target) error { t.Agent = a.ID; return nil }, nil)
		shared(err, "config.cert_path", "the target shop")
		_, err = w.UpdateTarget(w.ctx, shop.ID, "", func(t *leafward.Target) error { t.Enabled = false; return nil }, nil)
		check(t, err)
		_, err = w.UpdateTarget(w.ctx, there.ID, "", func(t *leafward.Target) error { t.Agent = a.ID; return nil }, nil)
		check(t, err)
		_, err = w.UpdateTarget(w.ctx, shop.ID, "", func(t *leafward.Target) error { t.Enabled = true; return nil }, nil)
		shared(err, "config.cert_path", "the target blog")
		_, err = w.UpdateTarget(w.ctx, shop.ID, "", func(t *leafward.Target) error { t.Name = "old shop"; return nil }, json.RawMessage(`{"port":8443}`))
		check(t, err)
	})
}

func fields(e *leafward.Error, ok bool) []leafward.Field {
	if !ok {
		return nil
	}
	return e.Fields
}

func TestATargetMovesToAnotherAgentOnlyWhileNothingIsBound(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, _ := w.agent(t, "web1", true)
	b, _ := w.agent(t, "web2", true)
	to := w.nginxAt(t, "web", a.ID)
	move := func(id string) error {
		_, err := w.UpdateTarget(w.ctx, to.ID, "", func(t *leafward.Target) error { t.Agent = id; return nil }, nil)
		return err
	}
	check(t, move(b.ID))
	w.certificate(t, to)
	refused(t, "moving it with a certificate", move(a.ID), leafward.Conflict)
	refused(t, "deleting it with a certificate", w.DeleteTarget(w.ctx, to.ID, ""), leafward.Conflict)
	w.write(t, func(tx *store.Tx) {
		i, err := tx.Installation("in-" + to.ID)
		tx.Fail(err)
		tx.RemoveInstallation(&i)
	})
	check(t, move(a.ID))
	check(t, w.DeleteTarget(w.ctx, to.ID, ""))
	if w.events(t, leafward.TargetCreated, to.ID) != 1 || w.events(t, leafward.TargetUpdated, to.ID) != 2 || w.events(t, leafward.TargetDeleted, to.ID) != 1 {
		t.Error("what became of the target is recorded")
	}
}

// tested runs a dry run in the background.
func (w *world) tested(t *testing.T, id string) <-chan fleet.Tested {
	t.Helper()
	out := make(chan fleet.Tested, 1)
	go func() {
		done, err := w.TestTarget(w.ctx, id)
		if err != nil {
			t.Error(err)
		}
		out <- done
	}()
	return out
}

func TestADryRunIsAskedOfTheAgentAndAnsweredAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "web1", true)
		to := w.nginxAt(t, "web", a.ID)
		check(t, w.Heartbeat(own, a.ID, fleet.Facts{Protocol: leafward.AgentProtocol}, time.Time{}))
		for _, c := range []struct {
			report  fleet.Report
			message string
		}{{fleet.Report{Status: "Completed"}, "could deploy"}, {fleet.Report{Status: "Failed", Error: "nginx is not there"}, "nginx is not there"}} {
			answer := w.tested(t, to.ID)
			items, err := w.Work(own, a.ID, time.Minute)
			if err != nil || len(items) != 1 || items[0].Kind != leafward.CheckJob || items[0].Target.ID != to.ID || len(items[0].Config) == 0 {
				t.Fatalf("%+v %v", items, err)
			}
			j := items[0].ID
			_, err = w.Lease(own, a.ID, j, time.Minute)
			check(t, err)
			check(t, w.Steps(own, a.ID, j, 0, []leafward.Step{{Name: "files", OK: true, Message: "will be made"}}))
			check(t, w.Report(own, a.ID, j, c.report))
			select {
			case done := <-answer:
				if done.OK != (c.report.Error == "") || !strings.Contains(done.Message, c.message) || len(done.Steps) != 1 || done.Steps[0].Message != "will be made" {
					t.Errorf("%+v", done)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the dry run is not answered")
			}
		}
		w.view(t, func(v *store.View) error {
			page, err := v.Jobs(leafward.Query{})
			if page.Total != 0 {
				t.Errorf("dry runs are not shown as jobs: %+v", page.Items)
			}
			return err
		})
	})
}

func TestWhoeverAsksWhileADryRunIsUnderWayHearsTheSame(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	to := w.nginxAt(t, "web", a.ID)
	check(t, w.Heartbeat(own, a.ID, fleet.Facts{Protocol: leafward.AgentProtocol}, time.Time{}))
	first := w.tested(t, to.ID)
	items, err := w.Work(own, a.ID, time.Minute)
	check(t, err)
	running := w.db.Changed()
	second := w.tested(t, to.ID)
	<-running // the second joined
	check(t, w.Report(own, a.ID, items[0].ID, fleet.Report{Status: "Completed"}))
	if one, two := <-first, <-second; !one.OK || !two.OK {
		t.Errorf("%+v %+v", one, two)
	}
}

func TestADryRunThatCannotBeAskedForSaysWhy(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	silent, _ := w.agent(t, "silent", true)
	foreign, own := w.agent(t, "foreign", false)
	gone, _ := w.agent(t, "gone", true)
	check(t, w.Heartbeat(own, foreign.ID, fleet.Facts{}, time.Time{}))
	for agent, want := range map[string]string{silent.ID: "was never heard", foreign.ID: "of another make", gone.ID: "is retired"} {
		to := w.nginxAt(t, "at "+agent, agent)
		if agent == gone.ID {
			_, err := w.Retire(w.ctx, gone.ID, true, "over")
			check(t, err)
		}
		done, err := w.TestTarget(w.ctx, to.ID)
		if err != nil || done.OK || !strings.Contains(done.Message, want) {
			t.Errorf("%+v %v, want %s", done, err, want)
		}
	}
	_, err := w.TestTarget(w.ctx, "tgt-none")
	refused(t, "nothing", err, leafward.NotFound)
}

func TestADryRunEndsWithItsCaller(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	to := w.nginxAt(t, "web", a.ID)
	check(t, w.Heartbeat(own, a.ID, fleet.Facts{Protocol: leafward.AgentProtocol}, time.Time{}))
	ctx, leave := context.WithCancel(w.ctx)
	outcome := make(chan error, 1)
	go func() {
		_, err := w.TestTarget(ctx, to.ID)
		outcome <- err
	}()
	_, err := w.Work(own, a.ID, time.Minute)
	check(t, err)
	leave()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
