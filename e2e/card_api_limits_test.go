//go:build linux

package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/outbound"
)

// consumption: API4, unrestricted resource consumption.
func (a *apiCard) consumption() []point {
	return []point{
		{name: "API4 bodies and headers have a bound", shown: func(t *testing.T) {
			a.answers(t, 413, "admin", "POST", "/api/v1/teams", `{"name":"`+strings.Repeat("x", 2<<20)+`"}`)
			conn := a.dial(t)
			if _, err := io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Much: "+strings.Repeat("x", 60<<10)+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 431 ") {
				t.Errorf("headers of 60 KiB: %q %v", line, err)
			}
		}},
		{name: "API4 pages, searches and numbers have a bound", shown: func(t *testing.T) {
			for _, query := range []string{"per_page=501", "per_page=0", "per_page=-1", "page=0", "page=99999999999999999999", "q=" + strings.Repeat("x", 5000), "sort=nothing", "cursor=x", "colour=red"} {
				a.answers(t, 400, "admin", "GET", "/api/v1/certificates?"+query, "")
			}
		}},
		{name: "API4 who asks without a key is bounded, and told when to come back", shown: func(t *testing.T) {
			if !a.hammered(t, "127.0.7.8", "/api/v1/auth/info", false) {
				t.Error("nobody is bounded")
			}
		}},
		{name: "API4 what is sent to be read has a bound: names, CSRs, chains, texts", shown: func(t *testing.T) {
			var names []string
			for n := range 101 {
				names = append(names, fmt.Sprintf("n%d.example.com", n))
			}
			for _, body := range []object{
				{"sans": names},
				{"common_name": "x.example.com", "csr_pem": strings.Repeat("x", 70_000)},
				{"common_name": "x.example.com", "name": strings.Repeat("x", 300)},
				{"common_name": "x.example.com", "tags": object{strings.Repeat("k", 300): "v"}},
			} {
				body, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				a.answers(t, 400, "admin", "POST", "/api/v1/certificates", string(body))
			}
			a.answers(t, 400, "admin", "POST", "/api/v1/teams", strings.Repeat(`{"name":`, 5000)+"1"+strings.Repeat("}", 5000))
		}},
		{name: "API4 who sends or reads slowly keeps nobody else away", shown: a.slow},
	}
}

// slow opens many connections that send half a request, while others are answered.
func (a *apiCard) slow(t *testing.T) {
	for range 100 {
		if _, err := io.WriteString(a.dial(t), "POST /api/v1/teams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nX-"); err != nil {
			t.Fatal(err)
		}
	}
	a.answers(t, 200, "viewer", "GET", "/api/v1/teams", "")
	a.answers(t, 400, "admin", "GET", "/api/v1/agents/"+a.caller("agent").id+"/work?wait=3600", "")
	if !*long {
		return
	}
	conn := a.dial(t)
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after a minute of silence the connection is still open: %d %v", n, err)
	}
}

// dial is a connection on which HTTP/1.1 is spoken by hand.
func (a *apiCard) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: a.pool, ServerName: "localhost"}}).DialContext(t.Context(), "tcp", a.listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// functions: API5, broken function level authorization.
func (a *apiCard) functions() []point {
	writes := func(op api.Info) bool { return op.Method != http.MethodGet }
	return []point{
		{name: "API5 who may read changes nothing", shown: func(t *testing.T) { a.matrixOf(t, writes, "viewer", "team viewer") }},
		{name: "API5 an operator is no administrator", shown: func(t *testing.T) {
			a.matrixOf(t, func(op api.Info) bool { return op.Role == leafward.RoleAdmin }, "operator", "team operator")
		}},
		{name: "API5 an agent calls what is for agents alone", shown: func(t *testing.T) {
			a.matrixOf(t, func(op api.Info) bool { return op.Role != leafward.RoleAgent && op.Role != leafward.RolePublic }, "agent")
		}},
		{name: "API5 without a key nothing is open but what is said to be", shown: func(t *testing.T) {
			a.matrixOf(t, func(op api.Info) bool { return op.Role != leafward.RolePublic }, "nobody", "stranger", "revoked")
			if got := a.call(t, caller{name: "nobody"}, "GET", "/metrics", ""); got.status != 401 {
				t.Errorf("the metrics: %d", got.status)
			}
		}},
		{name: "API5 odd paths, methods and headers lead around nothing", shown: func(t *testing.T) {
			for _, path := range []string{"//api/v1/teams", "/api//v1/teams", "/api/v1/./teams", "/api/v1/x/../teams", "/api/v1/teams/", "/API/V1/TEAMS", "/api/v1/%74eams", "/health/../api/v1/teams", "/api/v1/teams%00", "/api/v1/teams;x=1", "/.well-known/pki/../../api/v1/teams"} {
				if got := a.call(t, caller{name: "nobody"}, "GET", path, ""); got.status/100 == 2 {
					t.Errorf("%s: %d %.200s", path, got.status, got.body)
				}
			}
			for _, header := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"} {
				if got := a.call(t, a.caller("viewer"), "GET", "/api/v1/teams/t-default", "", header, "DELETE"); got.status != 200 {
					t.Errorf("%s: %d", header, got.status)
				}
			}
			for _, header := range []string{"X-Original-URL", "X-Rewrite-URL", "X-Forwarded-For", "Forwarded"} {
				if got := a.call(t, caller{name: "nobody"}, "GET", "/api/v1/teams", "", header, "/health"); got.status != 401 {
					t.Errorf("%s: %d", header, got.status)
				}
			}
			a.answers(t, 405, "viewer", "TRACE", "/api/v1/teams", "")
		}},
	}
}

// flows: API6, unrestricted access to sensitive business flows.
func (a *apiCard) flows() []point {
	return []point{
		{name: "API6 a request that is repeated issues once", shown: func(t *testing.T) {
			_, csr := newCSR(t, "repeat.example.com")
			body, err := json.Marshal(object{"csr_pem": csr})
			if err != nil {
				t.Fatal(err)
			}
			serials := map[string]bool{}
			for range 4 {
				got := a.answers(t, 201, "operator", "POST", "/api/v1/certificates?wait=30", string(body), "Idempotency-Key", "repeat")
				serials[text(got.object(), "version", "serial_number")] = true
			}
			if len(serials) != 1 {
				t.Errorf("it was issued as %v", serials)
			}
			a.answers(t, 409, "operator", "POST", "/api/v1/certificates?wait=30", `{"common_name":"other.example.com"}`, "Idempotency-Key", "repeat")
		}},
		{name: "API6 many certificates are touched by what is said of them, never by silence", shown: func(t *testing.T) {
			for _, path := range []string{"bulk-renew", "bulk-revoke", "bulk-reassign"} {
				a.answers(t, 400, "admin", "POST", "/api/v1/certificates/"+path, `{}`)
			}
			a.answers(t, 400, "admin", "POST", "/api/v1/certificates/bulk-revoke", `{"reason":"superseded"}`)
			a.answers(t, 403, "operator", "POST", "/api/v1/certificates/bulk-revoke", `{"reason":"superseded","certificate_ids":["mc-x"]}`)
		}},
		{name: "API6 a certificate is renewed once at a time", shown: a.renewedOnce},
		{name: "API6 a compromised key comes back by no way", shown: func(t *testing.T) {
			key, csr := newCSR(t, "lost.example.com")
			made := a.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr})
			waiting := a.admin.expect(t, 201, "POST", "/api/v1/certificates", object{"common_name": "waits.example.com"})
			a.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(made, "id")+"/revoke", object{"reason": "keyCompromise"})
			a.admin.expect(t, 400, "POST", "/api/v1/certificates", object{"csr_pem": csrOf(t, key, "new.example.com")})
			a.admin.expect(t, 400, "POST", "/api/v1/certificates/"+text(waiting, "id")+"/csr", object{"csr_pem": csrOf(t, key, "waits.example.com")})
			a.admin.expect(t, 409, "POST", "/api/v1/certificates/"+text(made, "id")+"/renew", object{})
		}},
		{name: "API6 an invitation is for one host, for an hour", shown: func(t *testing.T) {
			made := a.admin.expect(t, 201, "POST", "/api/v1/agents/invitations", object{"name": "hour"})
			until, err := time.Parse(time.RFC3339, text(made, "expires_at"))
			if err != nil || time.Until(until) > time.Hour+time.Minute {
				t.Errorf("it is good until %q: %v", text(made, "expires_at"), err)
			}
			a.admin.expect(t, 204, "DELETE", "/api/v1/agents/invitations/"+text(made, "id"), nil)
			if got := a.call(t, caller{name: "joiner", key: text(made, "token")}, "POST", "/api/v1/agents", `{"name":"hour"}`); got.status != 401 {
				t.Errorf("taken back it opens %d", got.status)
			}
		}},
	}
}

func (a *apiCard) renewedOnce(t *testing.T) {
	id := a.make(t, "/api/v1/certificates", ownTeam)
	a.admin.expect(t, 200, "POST", "/api/v1/jobs/"+text(a.admin.get(t, "/api/v1/certificates/"+id), "job_id")+"/cancel", nil)
	var begun, refused atomic.Int64
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			switch got := a.call(t, a.caller("operator"), "POST", "/api/v1/certificates/"+id+"/renew", "{}"); got.status {
			case 202:
				begun.Add(1)
			case 409:
				refused.Add(1)
			default:
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	asking.Wait()
	if begun.Load() != 1 || refused.Load() != 7 {
		t.Errorf("%d renewals were begun and %d refused", begun.Load(), refused.Load())
	}
}

// forgery: API7, server side request forgery.
func (a *apiCard) forgery() []point {
	denied := func(addresses ...string) func(*testing.T) {
		return func(t *testing.T) {
			for _, address := range addresses {
				conn, err := outbound.New(outbound.Config{}).DialContext(t.Context(), "tcp", net.JoinHostPort(address, "80"))
				if err == nil {
					conn.Close()
				}
				if err == nil || !strings.Contains(err.Error(), outbound.ErrDenied.Error()) {
					t.Errorf("%s is dialled: %v", address, err)
				}
			}
		}
	}
	return []point{
		{name: "API7 loopback and private networks are not looked at unless they are allowed", shown: denied("127.0.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "fd00::1", "0.0.0.0", "::ffff:127.0.0.1")},
		{name: "API7 metadata services of clouds are not looked at", shown: denied("169.254.169.254", "fe80::1", "168.63.129.16", "100.100.100.200")},
		{name: "API7 no redirect leads where the server does not look", shown: func(t *testing.T) {
			d := outbound.New(outbound.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}})
			site := redirecting(t, "127.0.0.9:0", a.plain+"/.well-known/pki/ca/root")
			response, err := d.HTTPClient(patience).Get(site)
			if err == nil {
				response.Body.Close()
			}
			if err == nil || !strings.Contains(err.Error(), outbound.ErrDenied.Error()) {
				t.Errorf("the redirect is followed: %v", err)
			}
		}},
		{name: "API7 a name is judged by the address that is dialled", shown: denied("localhost")},
		{name: "API7 what is to be looked at is a host and a port, never a URL", shown: func(t *testing.T) {
			agent := a.make(t, "/api/v1/agents", ownTeam)
			for _, address := range []string{"http://169.254.169.254/", "file:///etc/passwd", "gopher://127.0.0.1:6379/x", "127.0.0.1/latest", "user@127.0.0.1", "127.0.0.1#x"} {
				body, err := json.Marshal(object{"name": "inner", "team_id": ownTeam, "type": "NGINX", "agent_id": agent, "config": object{"cert_path": "/etc/ssl/i.pem", "key_path": "/etc/ssl/i.key", "address": address, "port": 80}})
				if err != nil {
					t.Fatal(err)
				}
				a.answers(t, 400, "admin", "POST", "/api/v1/targets", string(body))
			}
		}},
	}
}

// redirecting is a site that sends everybody elsewhere.
func redirecting(t *testing.T, address, where string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	site := &http.Server{Handler: http.RedirectHandler(where, http.StatusFound), ReadHeaderTimeout: patience}
	go func() { _ = site.Serve(l) }()
	t.Cleanup(func() { _ = site.Close() })
	return "http://" + l.Addr().String()
}

// has says whether a body has one of the words.
func has(body []byte, words ...string) bool {
	for _, word := range words {
		if bytes.Contains(body, []byte(word)) {
			return true
		}
	}
	return false
}
