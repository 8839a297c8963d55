package agent_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/agent"
	"github.com/leafward/leafward/internal/agent/agenttest"
)

// quick is a pace for tests.
func quick() agent.Pace {
	return agent.Pace{
		Heartbeat: 200 * time.Millisecond, Poll: 2 * time.Second, Pause: 50 * time.Millisecond, Lease: 5 * time.Second,
		First: 20 * time.Millisecond, Longest: 200 * time.Millisecond, Drain: 20 * time.Second,
	}
}

// host is a machine with an nginx and an agent that has joined a server.
type host struct {
	t     testing.TB
	house *agenttest.House
	nginx *agenttest.Nginx
	dir   string
	id    string
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{t: t, house: agenttest.New(t), nginx: agenttest.NewNginx(t)}
	h.dir = h.nginx.File("agent")
	j := joining(h.house, h.dir)
	j.AllowPaths, j.AllowCommands = []string{h.nginx.File("tls")}, h.nginx.Allowed()
	made, err := agent.Join(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	h.id = made.ID
	return h
}

func (h *host) config(at func(string) error) agent.Config {
	return agent.Config{Dir: h.dir, Version: "test", Pace: quick(), Plugins: agent.Plugins(), Log: slog.New(slog.NewTextHandler(logWriter{h.t}, nil)), At: at}
}

// logWriter writes into the test's log.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// running is an agent at work.
type running struct {
	t     testing.TB
	stop  context.CancelFunc
	ended chan error
}

// run starts the agent; it is stopped with the test, if it was not before.
func (h *host) run(at func(string) error) *running {
	h.t.Helper()
	a, err := agent.Open(h.config(at))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t: h.t, stop: stop, ended: make(chan error, 1)}
	go func() {
		err := a.Run(ctx)
		if closed := a.Close(); err == nil {
			err = closed
		}
		r.ended <- err
		close(r.ended)
	}()
	h.t.Cleanup(r.end)
	return r
}

// end stops the agent and waits for its end.
func (r *running) end() {
	r.stop()
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
}

func (h *host) agent() api.Agent {
	h.t.Helper()
	a, err := api.GetAgent.Call(h.t.Context(), h.house.Admin, api.AgentID{ID: h.id})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func TestARunningAgentIsOnlineAndEndsWhenItIsRetired(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	if h.agent().Status != "Offline" {
		t.Error("it is online before it runs")
	}
	r := h.run(nil)
	agenttest.Until(t, "the agent is online", func() bool { return h.agent().Status == "Online" })
	if skew := h.agent().ClockSkew; skew < -1 || skew > 1 {
		t.Errorf("its clock is off by %d s", skew)
	}
	if _, err := agent.Open(h.config(nil)); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("a second one in the same directory: %v", err)
	}
	if _, err := api.RetireAgent.Call(t.Context(), h.house.Admin, api.RetireAgentInput{ID: h.id}); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestAnAgentOutlivesItsServersAbsence(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run(nil)
	agenttest.Until(t, "the agent is online", func() bool { return h.agent().Status == "Online" })
	h.house.Stop()
	h.house.Start()
	before := *h.agent().LastHeartbeatAt
	agenttest.Until(t, "the agent is heard again", func() bool { return h.agent().LastHeartbeatAt.After(before) })
	if out := h.test(h.target()); out.Status != "success" {
		t.Errorf("after the restart a dry run says %+v", out)
	}
}

// target makes the target that the host's nginx is.
func (h *host) target() string {
	return h.house.Target(h.id, "shop", h.nginx.Settings())
}

func (h *host) test(target string) api.TargetTest {
	h.t.Helper()
	out, err := api.TestTargetConnection.Call(h.t.Context(), h.house.Admin, api.TargetID{ID: target})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func TestADryRunOnAFreshHostSaysThatTheFirstDeploymentMakesTheFiles(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run(nil)
	agenttest.Until(t, "the agent is online", func() bool { return h.agent().Status == "Online" })
	out := h.test(h.target())
	all := ""
	for _, step := range out.Steps {
		all += step.Name + " " + step.Message + "\n"
	}
	if out.Status != "success" || !strings.Contains(all, "the first deployment makes it") || !strings.Contains(all, "cannot pass before the files exist") {
		t.Errorf("%s: %s\n%s", out.Status, out.Message, all)
	}
}

func TestADryRunNamesWhatTheHostDoesNotAllow(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run(nil)
	agenttest.Until(t, "the agent is online", func() bool { return h.agent().Status == "Online" })
	settings := h.nginx.Settings()
	settings["key_path"], settings["reload_command"] = filepath.Join(h.dir, "agent.json"), "reboot"
	out := h.test(h.house.Target(h.id, "shop", settings))
	if out.Status != "failed" || !strings.Contains(out.Message, "the agent's own directory") || !strings.Contains(out.Message, `--allow-command "reboot"`) {
		t.Errorf("%+v", out)
	}
}

func TestFlagsOfRunTakeThePlaceOfThoseOfJoin(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c := h.config(nil)
	c.AllowCommands = []string{"true"}
	a, err := agent.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	rules := a.Rules()
	if _, err := rules.Command("true"); err != nil {
		t.Error(err)
	}
	if _, err := rules.Command(h.nginx.Allowed()[0]); leafward.KindOf(err) != leafward.Denied {
		t.Errorf("a command that was given to join: %v", err)
	}
	if paths := strings.Join(rules.Paths(), " "); !strings.Contains(paths, h.nginx.File("tls")) {
		t.Errorf("the paths that were given to join are gone: %s", paths)
	}
}
