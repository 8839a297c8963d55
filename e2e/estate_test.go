//go:build linux

package e2e_test

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leafward/leafward"
)

// caller is somebody who calls; one without a role is nobody that is known.
type caller struct {
	name string
	role leafward.Role
	team string // "": all teams
	key  string
	id   string // of an agent
}

// estate is a server with two teams, things of both, and callers of all sorts.
type estate struct {
	*server
	callers []caller
	asked   atomic.Int64 // requests without a known key, each from an address of its own
	pool    *x509.CertPool
	keyed   *http.Client
}

const (
	ownTeam   = "t-default"
	otherTeam = "t-other"
)

func newEstate(t *testing.T, s *server) *estate {
	t.Helper()
	e := &estate{server: s, pool: x509.NewCertPool()}
	e.pool.AppendCertsFromPEM(s.root(t))
	e.keyed = e.from(t, "127.0.0.1")
	s.admin.expect(t, 201, "POST", "/api/v1/teams", object{"id": otherTeam, "name": "other"})
	e.callers = []caller{
		{name: "nobody"},
		{name: "stranger", key: "lwk_" + rand.Text() + rand.Text()},
		{name: "revoked"},
		{name: "viewer", role: leafward.RoleViewer},
		{name: "operator", role: leafward.RoleOperator},
		{name: "admin", role: leafward.RoleAdmin},
		{name: "team viewer", role: leafward.RoleViewer, team: ownTeam},
		{name: "team operator", role: leafward.RoleOperator, team: ownTeam},
		{name: "team admin", role: leafward.RoleAdmin, team: ownTeam},
		{name: "other admin", role: leafward.RoleAdmin, team: otherTeam},
		{name: "agent", role: leafward.RoleAgent, team: ownTeam},
		{name: "other agent", role: leafward.RoleAgent, team: otherTeam},
	}
	for i := range e.callers {
		who := &e.callers[i]
		switch {
		case who.role == leafward.RoleAgent:
			made := s.admin.expect(t, 201, "POST", "/api/v1/agents", object{"name": who.name, "team_id": who.team})
			who.id, who.key = text(made, "id"), text(made, "api_key")
		case who.name == "nobody" || who.name == "stranger":
		default:
			who.key = text(s.admin.expect(t, 201, "POST", "/api/v1/keys", object{"name": who.name, "role": cmp.Or(who.role, leafward.RoleAdmin), "team_id": who.team}), "key")
		}
	}
	s.admin.expect(t, 204, "DELETE", "/api/v1/keys/revoked", nil)
	return e
}

// caller is one by name.
func (e *estate) caller(name string) caller {
	for _, who := range e.callers {
		if who.name == name {
			return who
		}
	}
	return caller{name: name}
}

// from is a client at an address of this machine.
func (e *estate) from(t testing.TB, address string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	over := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: e.pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}
	t.Cleanup(over.CloseIdleConnections)
	return &http.Client{Transport: over, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// call sends what may be wrong in every way; headers come in pairs. Who has no key asks from another address each time, since
// an address may ask only so often.
func (e *estate) call(t testing.TB, who caller, method, path, body string, headers ...string) answer {
	t.Helper()
	client := e.keyed
	if who.role == "" {
		n := e.asked.Add(1)
		client = e.from(t, fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250))
	}
	request, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if who.key != "" {
		request.Header.Set("Authorization", "Bearer "+who.key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s as %s: %v", method, path, who.name, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if who.role == "" {
		client.CloseIdleConnections()
	}
	return answer{response.StatusCode, response.Header, text}
}

// make makes a thing of a team, of the kind that a path lists, and returns its id.
func (e *estate) make(t testing.TB, base, team string) string {
	t.Helper()
	name := strings.ToLower(rand.Text())
	post := func(body object) object {
		body["team_id"] = team
		if body["name"] == nil {
			body["name"] = name
		}
		return e.admin.expect(t, 201, "POST", base, body)
	}
	switch base {
	case "/api/v1/teams":
		return team
	case "/api/v1/certificates":
		return text(post(object{"common_name": name + ".example.com"}), "id")
	case "/api/v1/keys":
		return text(post(object{"role": "viewer"}), "id")
	case "/api/v1/issuers":
		return text(post(object{"type": "GenericCA"}), "id")
	case "/api/v1/authorities": // a root that can go offline
		base = "/api/v1/issuers"
		return text(post(object{"type": "GenericCA", "enabled": false}), "authority_id")
	case "/api/v1/targets":
		agent := e.make(t, "/api/v1/agents", team)
		return text(post(object{"type": "NGINX", "agent_id": agent, "config": object{"cert_path": "/etc/ssl/" + name + ".pem", "key_path": "/etc/ssl/" + name + ".key"}}), "id")
	case "/api/v1/jobs":
		certificate := e.make(t, "/api/v1/certificates", team)
		return text(e.admin.get(t, "/api/v1/certificates/"+certificate), "job_id")
	case "/api/v1/batches":
		who := "team admin"
		if team == otherTeam {
			who = "other admin"
		}
		return text(e.call(t, e.caller(who), "POST", "/api/v1/certificates/bulk-renew", `{"certificate_ids":["mc-none"]}`).object(), "batch_id")
	case "/api/v1/audit":
		owner := e.make(t, "/api/v1/owners", team)
		return text(e.admin.rows(t, "/api/v1/audit?action=owner.created&resource_id="+owner)[0], "id")
	default: // agents, invitations, owners, profiles, renewal policies
		return text(post(object{}), "id")
	}
}
