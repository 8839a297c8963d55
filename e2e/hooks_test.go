//go:build linux

package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// A test build can be told the time, and where to break, by whoever may speak over the local socket.
func TestTheHooksAreTypedOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.start(t)
	leafward := program(t, "leafward-testhooks")
	at := func(args ...string) string { return tool(t, nil, leafward, append(args, "--data-dir", s.dir)...) }

	tomorrow := time.Now().Add(day).UTC().Format(time.DateOnly)
	if out := at("clock", "advance", "24h"); !strings.Contains(out, tomorrow) {
		t.Errorf("a day on it is %s", out)
	}
	if out := at("clock", "set", "2031-02-03T04:05:06Z"); !strings.Contains(out, "2031-02-03T04:05:06") {
		t.Errorf("it is %s", out)
	}
	at("failpoint", "set", "a.point", "sleep:1ms")
	if out := at("failpoint", "list"); !strings.Contains(out, `"a.point"`) {
		t.Errorf("the failpoints are %s", out)
	}
	at("failpoint", "set", "a.point")
	if out := at("failpoint", "list"); strings.Contains(out, "a.point") {
		t.Errorf("the failpoints are %s", out)
	}
	for line, want := range map[string]string{
		"clock advance soon":      "✖ invalid_request",
		"clock set yesterday":     "✖ invalid_request",
		"failpoint set a.point x": "✖ invalid_request",
	} {
		if _, err := try(t, nil, leafward, append(strings.Fields(line), "--data-dir", s.dir)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	s.stop(t)
	if _, err := try(t, nil, leafward, "clock", "show", "--data-dir", s.dir); err == nil || !strings.Contains(err.Error(), "✖ unavailable") {
		t.Errorf("without a server: %v", err)
	}
	s.start(t, "--clock", "2031-02-03T04:05:06Z")
	if out := at("clock", "show"); !strings.Contains(out, "2031-02-03T04:05:") {
		t.Errorf("started there it is %s", out)
	}
	if _, err := try(t, nil, leafward, "serve", "--failpoint", "a.point=burn"); err == nil || !strings.Contains(err.Error(), "failpoint a.point: an action is") {
		t.Errorf("a failpoint that does nothing known: %v", err)
	}
	for _, line := range []string{"clock show", "failpoint list", "serve --clock 2031-02-03T04:05:06Z", "serve --failpoint a.point=kill"} {
		if _, err := try(t, nil, program(t, "leafward"), strings.Fields(line)...); err == nil || !strings.Contains(err.Error(), "✖ usage") {
			t.Errorf("a release does not refuse %q: %v", line, err)
		}
	}
}

// A certificate whose key nobody but its holder can renew is over, and status says so to people and scripts.
func TestStatusFailsWhenSomethingIsBroken(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.start(t)
	leafward := program(t, "leafward-testhooks")
	tool(t, nil, leafward, "issue", "www.example.com", "--out", shortDir(t), "--data-dir", s.dir)
	if out := tool(t, nil, leafward, "status", "--data-dir", s.dir); !strings.Contains(out, "nothing is broken") || !strings.Contains(out, "www.example.com expires") {
		t.Errorf("status says:\n%s", out)
	}
	s.advance(t, 100*day)
	out, err := try(t, nil, leafward, "status", "--data-dir", s.dir)
	if err == nil || !strings.Contains(err.Error(), "✖ failed") || !strings.Contains(err.Error(), "broken") {
		t.Errorf("status fails with %v", err)
	}
	for _, words := range []string{"What breaks next\n", "✖ certificate www.example.com: Expired\n  why  it ended ", "\n  do   leafward issue www.example.com --force --data-dir "} {
		if !strings.Contains(out, words) {
			t.Errorf("%q is not in:\n%s", words, out)
		}
	}
}
