//go:build linux

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// status is what status says to people on both streams, and whether it calls something broken.
func (s *server) status(t testing.TB) (said string, broken bool) {
	t.Helper()
	out, err := try(t, nil, program(t, "leafward-testhooks"), "status", "--data-dir", s.dir)
	if err != nil {
		out += err.Error()
	}
	return out, err != nil
}

// says fails the test unless status says all of this.
func (s *server) says(t testing.TB, broken bool, words ...string) {
	t.Helper()
	said, is := s.status(t)
	if is != broken {
		t.Errorf("status calls it broken: %t\n%s", is, said)
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("%q is not in:\n%s", w, said)
		}
	}
}

func TestStatusTellsWhatIsWrongWithEachAgentAndItsWork(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	never, gone, skewed, failing := register(t, s, "never"), register(t, s, "gone"), register(t, s, "skewed"), register(t, s, "failing")
	beat := func(x *stranger, body object) { x.api.expect(t, 200, "POST", x.path("heartbeat"), body) }
	beat(gone, object{})
	once := text(s.admin.expect(t, 201, "POST", "/api/v1/renewal-policies", object{"name": "once", "max_retries": 0}), "id")
	failing.cert = text(s.admin.expect(t, 201, "POST", "/api/v1/certificates",
		object{"name": "shop", "common_name": strangerName, "sans": []string{strangerName, strangerIP}, "target_ids": []string{failing.target}, "renewal_policy_id": once}), "id")
	failing.order(t)
	job := text(failing.work(t), "id")
	failing.api.expect(t, 200, "POST", failing.path("jobs/"+job+"/status"), object{"status": "Failed", "error": "nginx: [emerg] no such directive"})
	s.admin.expect(t, 201, "POST", "/api/v1/certificates", object{"name": "late", "common_name": "late.example.com", "target_ids": []string{never.target}})
	if again := text(s.admin.get(t, "/api/v1/certificates/"+failing.cert), "renews_at"); again <= time.Now().UTC().Format(time.RFC3339) {
		t.Errorf("what failed is tried again at %q", again)
	}
	s.advance(t, 10*time.Minute)
	now := time.Now().Add(10 * time.Minute)
	beat(skewed, object{"clock": now.Add(-time.Hour).UTC().Format(time.RFC3339)})
	beat(failing, object{"clock": now.UTC().Format(time.RFC3339)})

	where := " --data-dir " + s.dir
	s.says(t, true,
		"✖ certificate shop: Failed\n  why  deploy to failing: nginx: [emerg] no such directive\n  do   leafward job get shop"+where+" shows what failed; leafward cert renew shop"+where+" tries again\n",
		"! certificate late: its issuance waits since ", "\n  why  waits for the agent never\n  do   see that the agent runs on its host\n",
		"! agent never: Offline\n  why  it has joined but never run\n  do   on its host: leafward agent run\n",
		"! agent gone: Offline\n  why  it was heard last ", "; when the host is gone: leafward agent retire gone"+where+"\n",
		"! agent skewed: Degraded\n  why  its clock is off by -", "\n  do   set the clock of its host\n",
		"! agent failing: Degraded\n  why  its last deployment failed\n  do   leafward job list --status Failed --agent failing"+where+" shows what failed\n",
		"✖ failed\n  why   1 thing is broken\n",
	)
	for i := range 11 {
		s.admin.expect(t, 201, "POST", "/api/v1/certificates", object{"common_name": fmt.Sprintf("w%d.example.com", i)})
	}
	s.says(t, true, "! and 2 jobs more\n  why  likewise\n  do   leafward job list --status AwaitingCSR"+where+"\n")
}

// Nothing can be written any more, and a day later no CRL is fresh. Being told so takes no waiting.
func TestStatusTellsAtOnceThatTheServerIsNotReady(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	tool(t, nil, program(t, "leafward-testhooks"), "issue", "www.example.com", "--out", shortDir(t), "--data-dir", s.dir)
	s.says(t, false, "server  the socket in "+s.dir+", ", "✔ ready\n", "you     local user ", " (admin)\n", "root    "+s.rootSHA256(t)+"\n",
		"next    www.example.com expires ", " and is renewed in ", "✔ nothing is broken, and nothing breaks next\n")
	s.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "store.before-commit", "action": "error:no disk"})
	s.advance(t, 2*day)
	s.says(t, true, "✖ not ready\n", "✖ server: crl\n  why  the CRL of ", "\n  do   ")
	if said, _ := s.status(t); strings.Contains(said, "asked again") {
		t.Errorf("it waits for the server:\n%s", said)
	}
	s.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "store.before-commit", "action": ""})
}
