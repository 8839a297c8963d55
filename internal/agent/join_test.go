package agent_test

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/agent"
	"github.com/leafward/leafward/internal/agent/agenttest"
)

// joining is a right command line for a house.
func joining(h *agenttest.House, dir string) agent.Joining {
	return agent.Joining{Server: h.URL, Token: h.Invite(), RootSHA256: h.RootSHA256, Dir: dir, Version: "test"}
}

// fixOf is what an error says can be done.
func fixOf(err error) string {
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		return e.Fix
	}
	return ""
}

func TestAHostJoinsOnceWithOneToken(t *testing.T) {
	t.Parallel()
	h := agenttest.New(t)
	dir := filepath.Join(t.TempDir(), "agent")
	j := joining(h, dir)
	j.Name = "web-1"
	made, err := agent.Join(t.Context(), j)
	if err != nil || made.Name != "web-1" || made.Server != h.URL {
		t.Fatalf("%+v %v", made, err)
	}
	known, err := api.GetAgent.Call(t.Context(), h.Admin, api.AgentID{ID: made.ID})
	host, _ := os.Hostname()
	if err != nil || known.Hostname != host || !known.Leafward || known.Version != "test" || known.IPAddress != "127.0.0.1" {
		t.Errorf("the server knows %+v %v", known, err)
	}
	if _, err := agent.Join(t.Context(), j); leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), made.ID) {
		t.Errorf("a second time: %v", err)
	}
	j.Force = true
	if _, err := agent.Join(t.Context(), j); leafward.KindOf(err) != leafward.Unauthorized || !strings.Contains(fixOf(err), "leafward agent invite") {
		t.Errorf("with the used token: %v", err)
	}
	j.Token, j.Name = h.Invite(), ""
	again, err := agent.Join(t.Context(), j)
	if err != nil || again.ID == made.ID {
		t.Errorf("by force: %+v %v", again, err)
	}
}

func TestAnotherRootThanTheNamedOneIsRefusedBeforeTheTokenIsSent(t *testing.T) {
	t.Parallel()
	h := agenttest.New(t)
	asked := 0
	between := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Authorization") != "" || !strings.HasSuffix(r.URL.Path, "/ca/root") {
			t.Errorf("%s was sent to a stranger", r.URL)
		}
		_, _ = w.Write([]byte("not the root"))
	}))
	defer between.Close()
	j := joining(h, filepath.Join(t.TempDir(), "agent"))
	right := j.Server
	j.Server = between.URL
	if _, err := agent.Join(t.Context(), j); leafward.KindOf(err) != leafward.Denied || asked != 1 {
		t.Errorf("got %v after %d requests", err, asked)
	}
	j.Server = right
	if _, err := agent.Join(t.Context(), j); err != nil {
		t.Errorf("the token was used up: %v", err)
	}
}

func TestARootThatIsShownButDidNotSignTheServerIsRefused(t *testing.T) {
	t.Parallel()
	h := agenttest.New(t)
	text, err := os.ReadFile(h.RootFile())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	between := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token was sent to a stranger")
		}
		_, _ = w.Write(block.Bytes)
	}))
	defer between.Close()
	j := joining(h, filepath.Join(t.TempDir(), "agent"))
	j.Server = between.URL
	if _, err := agent.Join(t.Context(), j); leafward.KindOf(err) != leafward.Denied || !strings.Contains(err.Error(), "not the server that this agent trusts") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsWrongWithACommandLineIsSaid(t *testing.T) {
	t.Parallel()
	h := agenttest.New(t)
	for name, c := range map[string]struct {
		spoil func(*agent.Joining)
		kind  leafward.Kind
		says  string
	}{
		"no TLS":         {func(j *agent.Joining) { j.Server = "http" + strings.TrimPrefix(j.Server, "https") }, leafward.Invalid, "is not the address of a server"},
		"a path":         {func(j *agent.Joining) { j.Server += "/api" }, leafward.Invalid, "is not the address of a server"},
		"half a root":    {func(j *agent.Joining) { j.RootSHA256 = j.RootSHA256[:32] }, leafward.Invalid, "--root"},
		"another root":   {func(j *agent.Joining) { j.RootSHA256 = strings.Repeat("ab", 32) }, leafward.Denied, "not the one that --root names"},
		"a stale token":  {func(j *agent.Joining) { j.Token = "LWA-nonsense" }, leafward.Unauthorized, "did not take the token"},
		"a path to deny": {func(j *agent.Joining) { j.AllowPaths = []string{"tls"} }, leafward.Invalid, "--allow-path"},
		"a shell":        {func(j *agent.Joining) { j.AllowCommands = []string{"a | b"} }, leafward.Invalid, "--allow-command"},
		"nobody there":   {func(j *agent.Joining) { j.Server = "https://" + agenttest.FreeAddress(t) }, leafward.Later, "cannot be reached"},
	} {
		j := joining(h, filepath.Join(t.TempDir(), "agent"))
		c.spoil(&j)
		_, err := agent.Join(t.Context(), j)
		if leafward.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if fixOf(err) == "" {
			t.Errorf("%s: no word on what to do", name)
		}
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Join(t.Context(), joining(h, open)); leafward.KindOf(err) != leafward.Denied {
		t.Errorf("a directory that others may read: %v", err)
	}
}

func TestAPinMayBeWrittenWithColons(t *testing.T) {
	t.Parallel()
	h := agenttest.New(t)
	j := joining(h, filepath.Join(t.TempDir(), "agent"))
	var pairs []string
	for i := 0; i < len(j.RootSHA256); i += 2 {
		pairs = append(pairs, strings.ToUpper(j.RootSHA256[i:i+2]))
	}
	j.RootSHA256 = strings.Join(pairs, ":")
	if _, err := agent.Join(t.Context(), j); err != nil {
		t.Error(err)
	}
}

func TestALostKeyIsReplacedByAnInvitationForTheAgent(t *testing.T) {
	t.Parallel()
	h := agenttest.New(t)
	j := joining(h, filepath.Join(t.TempDir(), "agent"))
	made, err := agent.Join(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	invited, err := api.CreateAgentInvitation.Call(t.Context(), h.Admin, api.Make[api.AgentInvitationWrite]{Body: api.AgentInvitationWrite{ForAgentID: api.Some(made.ID)}})
	if err != nil {
		t.Fatal(err)
	}
	j.Token, j.Force = invited.Token, true
	again, err := agent.Join(t.Context(), j)
	if err != nil || again.ID != made.ID || string(again.Key) == string(made.Key) {
		t.Errorf("%+v %v", again, err)
	}
}

func TestADirectoryWithoutAnAgentSaysHowToJoin(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		_ = os.Chmod(dir, 0o700)
		_, err := agent.Open(agent.Config{Dir: dir, Pace: agent.DefaultPace()})
		if leafward.KindOf(err) != leafward.NotFound || !strings.Contains(fixOf(err), "leafward agent invite") {
			t.Errorf("got %v", err)
		}
	}
}
