package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/agent/agenttest"
	"github.com/leafward/leafward/internal/cli"
)

// typed runs a command line of the whole program.
func typed(t *testing.T, in string, args ...string) (out, told string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	s := &cli.Session{In: strings.NewReader(in), Out: &stdout, Err: &stderr, Version: "test", Getenv: func(string) string { return "" }}
	code = cli.Main(t.Context(), s, args, &commands{}, agentVars())
	return stdout.String(), stderr.String(), code
}

func TestAHostThatJoinsIsToldWhoItIsAndWhatItMayDo(t *testing.T) {
	h := agenttest.New(t)
	dir := filepath.Join(t.TempDir(), "an agent")
	args := []string{"agent", "join", h.URL, "--token", "-", "--root", h.RootSHA256, "--data-dir", dir, "--name", "web1", "--allow-path", "/srv/tls", "--allow-command", "reload it"}
	out, told, code := typed(t, h.Invite()+"\n", append(args, "--json")...)
	var got joined
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || told != "" {
		t.Fatalf("%d %v: %s%s", code, err, out, told)
	}
	if got.Name != "web1" || got.ID == "" || got.Server != h.URL || got.RootSHA256 != h.RootSHA256 || !slices.Contains(got.MayWrite, "/srv/tls") || !slices.Contains(got.MayRun, "reload it") {
		t.Errorf("%+v", got)
	}
	out, told, code = typed(t, h.Invite(), args...)
	for _, part := range []string{"✖ conflict\n", "\n  why   ", "\n  fix   ", "\n  read  ", got.ID} {
		if code != 1 || out != "" || !strings.Contains(told, part) {
			t.Errorf("a second time, without %q: %d %s%s", part, code, out, told)
		}
	}
	out, told, code = typed(t, h.Invite(), append(args, "--force", "--name", "web2")...)
	if code != 0 || told != "" || !strings.HasPrefix(out, "✔ web2 joined "+h.URL) || !strings.Contains(out, "/srv/tls") || !strings.Contains(out, " · reload it\nNext: leafward agent run --data-dir '"+dir+"'\n") {
		t.Errorf("a person is told %d %s%s", code, out, told)
	}
}
