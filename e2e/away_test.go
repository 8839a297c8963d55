//go:build linux

package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// An agent is away for a week. Meanwhile the certificate is renewed again and again with new keys, and the agent loses its own
// key. It comes back by an invitation, deploys only what is newest, and reloads once.
func TestAnAgentThatWasAwayDeploysOnlyTheNewest(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R14", engineOf(dsn))
		x := newSite(t, dsn, "--clock="+ago(80*day))
		s := x.server
		s.admin.expect(t, 200, "PUT", "/api/v1/certificates/"+x.cert, object{"key_source": "server"})
		x.agent.run(t)
		s.ledger.await(t, "certificate.proved", x.cert)
		x.until(t, func() bool { return text(s.admin.get(t, "/api/v1/certificates/"+x.cert), "job_id") == "" })
		rounds, reloads := sized(1, 5), 0
		for range rounds {
			x.agent.stop(t)
			before := x.reloads()
			for n := range 3 { // each has a key of its own, and none is deployed
				s.advance(t, 56*time.Hour)
				last := text(s.admin.get(t, "/api/v1/certificates/"+x.cert), "version", "id")
				x.renew(t)
				x.until(t, func() bool {
					c := s.admin.get(t, "/api/v1/certificates/"+x.cert)
					return text(c, "version", "id") != last && text(c, "version", "id") != ""
				})
				if open := text(s.admin.get(t, "/api/v1/certificates/"+x.cert), "job_id"); open != "" && n < 2 {
					s.admin.expect(t, 200, "POST", "/api/v1/jobs/"+open+"/cancel", nil)
				}
			}
			x.rejoin(t)
			x.agent.run(t)
			s.ledger.await(t, "certificate.proved", x.cert)
			x.newest(t)
			reloads = max(reloads, x.reloads()-before)
		}
		if reloads > 1 {
			t.Errorf("it reloaded %d times after it had been away", reloads)
		}
		d.measured("%d times away for a week, 3 renewals with new keys each, back by an invitation, newest deployed, %d reload at most, 0 mismatches", rounds, reloads)
	})
}

// until waits until something holds.
func (x *site) until(t testing.TB, holds func() bool) {
	t.Helper()
	look, late := time.NewTicker(50*time.Millisecond), time.After(patience)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("it is %v", x.server.admin.get(t, "/api/v1/certificates/"+x.cert))
		}
	}
}

// reloads counts how often nginx has read its configuration again.
func (x *site) reloads() int {
	n := 0
	for _, line := range x.nginx.log.last(1 << 20) {
		if strings.Contains(line, "(SIGHUP) received") {
			n++
		}
	}
	return n
}

// rejoin gives the agent a new key, as the manual says for one that lost its own.
func (x *site) rejoin(t testing.TB) {
	t.Helper()
	s := x.server
	token := text(s.admin.expect(t, 201, "POST", "/api/v1/agents/invitations", object{"for_agent_id": x.agent.id}), "token")
	args := slices.Concat([]string{"agent", "join", s.url, "--token", token, "--root", s.rootSHA256(t), "--data-dir", x.agent.dir, "--force"}, x.agent.flags)
	tool(t, nil, program(t, "leafward-testhooks"), args...)
}

// newest: what is served and on the disk is the newest version, with its key.
func (x *site) newest(t testing.TB) {
	t.Helper()
	want := text(x.server.admin.get(t, "/api/v1/certificates/"+x.cert), "version", "fingerprint_sha256")
	x.seen(t, want)
	public := tool(t, nil, "openssl", "x509", "-in", x.nginx.file("tls/site.pem"), "-noout", "-pubkey")
	if key := tool(t, nil, "openssl", "pkey", "-in", x.nginx.file("tls/site.key"), "-pubout"); key != public {
		t.Error("the key on the disk is not that of the certificate")
	}
	tool(t, nil, "nginx", x.nginx.args("-t")...)
}
