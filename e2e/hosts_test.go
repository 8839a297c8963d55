//go:build linux

package e2e_test

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// A certificate at two hosts is done when both are proved; one that is taken off it, or retired, is not waited for.
func TestAHostThatIsTakenOffMidWayIsNotWaitedFor(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := serve(t, dsn)
		for name, leave := range map[string]func(x, y *stranger){
			"unbound": func(x, _ *stranger) { x.bind(t, x) },
			"retired": func(_, y *stranger) {
				s.admin.expect(t, 200, "DELETE", "/api/v1/agents/"+y.id+"?force=true&reason="+url.QueryEscape("the host burnt"), nil)
			},
		} {
			x := newStranger(t, s, "beside "+name)
			y := x.beside(t, name)
			root := openRoot(t, s, x.cert)
			x.order(t)
			y.order(t)
			job, print := x.deploy(t)
			x.verify(t, job, print)
			s.ledger.await(t, "certificate.proved", x.cert)
			if now := s.admin.get(t, "/api/v1/jobs/"+root); text(now, "status") != "Running" || !strings.Contains(text(now, "waiting_for"), y.id) {
				t.Errorf("%s: before, the root is %v", name, now)
			}
			leave(x, y)
			if now := s.admin.get(t, "/api/v1/jobs/"+root); text(now, "status") != "Completed" {
				t.Errorf("%s: every host that is left is proved, and the root is %v", name, now)
			}
			if c := s.admin.get(t, "/api/v1/certificates/"+x.cert); text(c, "status") != "Active" {
				t.Errorf("%s: the certificate is %v", name, c)
			}
		}
	})
}

// openRoot is the root that is open for a certificate.
func openRoot(t testing.TB, s *server, certificate string) string {
	t.Helper()
	for _, row := range s.admin.rows(t, "/api/v1/jobs?certificate_id="+certificate) {
		if text(row, "parent_id") == "" && text(row, "completed_at") == "" {
			return text(row, "id")
		}
	}
	t.Fatalf("no root is open for %s", certificate)
	return ""
}

func TestARetiredAgentEndsWithSuccess(t *testing.T) {
	x := newSite(t, "")
	x.agent.run(t)
	x.server.ledger.await(t, "certificate.proved", x.cert)
	x.server.admin.expect(t, 409, "DELETE", "/api/v1/agents/"+x.agent.id, nil)
	x.server.admin.expect(t, 200, "DELETE", "/api/v1/agents/"+x.agent.id+"?force=true&reason=over", nil)
	if code := x.agent.ended(t); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, x.agent.tell())
	}
}

// By the clock of the host, the server's certificate ended long ago.
func TestAHostWhoseClockIsWrongIsToldSo(t *testing.T) {
	s := serve(t, "", "--clock="+ago(200*day))
	token := text(s.local().expect(t, 201, "POST", "/api/v1/agents/invitations", object{}), "token")
	_, err := try(t, nil, program(t, "leafward"), "agent", "join", s.url, "--token", token, "--root", s.rootSHA256(t), "--data-dir", filepath.Join(shortDir(t), "agent"))
	if err == nil || !strings.Contains(err.Error(), "by the clock of this host") || !strings.Contains(err.Error(), "set the clock of this host") {
		t.Errorf("the host is told %v", err)
	}
}
