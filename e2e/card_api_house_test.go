//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/probe"
)

// configuration: API8, security misconfiguration.
func (a *apiCard) configuration() []point {
	return []point{
		{name: "API8 browsers are told to make nothing of answers and to keep none", shown: func(t *testing.T) {
			for _, path := range []string{"/api/v1/teams", "/api/v1/teams/t-default", "/api/v1/nothing"} {
				got := a.call(t, a.caller("viewer"), "GET", path, "")
				for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
					if got.header.Get(name) != want {
						t.Errorf("%s: %s is %q", path, name, got.header.Get(name))
					}
				}
			}
		}},
		{name: "API8 an error tells nothing of the inside", shown: func(t *testing.T) {
			a.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "store.before-commit", "action": "error:innards"})
			got := a.call(t, a.caller("admin"), "POST", "/api/v1/teams", `{"name":"broken"}`)
			a.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "store.before-commit", "action": ""})
			if got.status != 500 || has(got.body, "innards", ".go:", "goroutine", "SELECT", "sqlite") || text(got.object(), "request_id") == "" {
				t.Errorf("%d %s", got.status, got.body)
			}
			for _, body := range []string{"{", `{"name":1}`, "\xff", `[]`, `null`} {
				if got := a.call(t, a.caller("admin"), "POST", "/api/v1/teams", body); got.status != 400 || has(got.body, ".go:", "goroutine", "json.Unmarshal", "struct") {
					t.Errorf("%q: %d %s", body, got.status, got.body)
				}
			}
		}},
		{name: "API8 no old TLS is spoken, and no weak cipher", shown: func(t *testing.T) {
			try := func(least, most uint16, suites ...uint16) error {
				conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: a.pool, ServerName: "localhost", MinVersion: least, MaxVersion: most, CipherSuites: suites}}).DialContext(t.Context(), "tcp", a.listen)
				if err == nil {
					conn.Close()
				}
				return err
			}
			if err := try(tls.VersionTLS13, tls.VersionTLS13); err != nil {
				t.Errorf("TLS 1.3: %v", err)
			}
			for _, old := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
				if try(old, old) == nil {
					t.Errorf("%s is spoken", tls.VersionName(old))
				}
			}
			for _, suite := range tls.InsecureCipherSuites() {
				if try(tls.VersionTLS12, tls.VersionTLS12, suite.ID) == nil {
					t.Errorf("%s is taken", suite.Name)
				}
			}
			for _, suite := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA} {
				if try(tls.VersionTLS12, tls.VersionTLS12, suite) == nil {
					t.Errorf("%s is taken", tls.CipherSuiteName(suite))
				}
			}
		}},
		{name: "API8 no page of another site may read answers", shown: func(t *testing.T) {
			for _, method := range []string{"GET", "OPTIONS"} {
				got := a.call(t, a.caller("viewer"), method, "/api/v1/teams", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
				for name := range got.header {
					if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" {
						t.Errorf("%s is answered with %s", method, name)
					}
				}
			}
		}},
		{name: "API8 nothing is open by default, and nothing is left open for who mends", shown: func(t *testing.T) {
			for _, path := range []string{"/debug/pprof/", "/debug/vars", "/testhooks/clock", "/admin", "/console", "/.git/config", "/.env", "/swagger", "/graphql", "/"} {
				for _, who := range []string{"nobody", "admin"} {
					if got := a.call(t, a.caller(who), "GET", path, ""); got.status/100 == 2 {
						t.Errorf("%s is open to %s", path, who)
					}
				}
			}
			for _, key := range []string{"admin", "password", "changeme", "leafward", "lwk_admin"} {
				if got := a.call(t, caller{name: "guesser", key: key}, "GET", "/api/v1/teams", ""); got.status != 401 {
					t.Errorf("%q opens %d", key, got.status)
				}
			}
		}},
	}
}

// inventory: API9, improper inventory management.
func (a *apiCard) inventory() []point {
	return []point{
		{name: "API9 the document has every operation, and the server answers each", shown: func(t *testing.T) {
			law, err := emitted()
			if err != nil {
				t.Fatal(err)
			}
			have := 0
			for _, item := range law.doc.Paths.Map() {
				have += len(item.Operations())
			}
			if all := api.Operations(); have != len(all) {
				t.Errorf("the document has %d operations, the server %d", have, len(all))
			}
			for _, op := range api.Operations() {
				if path := op.Path; !one(op) && op.Elsewhere == nil && op.Method == http.MethodGet {
					if got := a.call(t, a.caller("admin"), "GET", path, ""); got.status != 200 {
						t.Errorf("%s: %d %s", path, got.status, got.body)
					}
				}
			}
		}},
		{name: "API9 the document that is served is the program's own", shown: func(t *testing.T) {
			got := a.answers(t, 200, "viewer", "GET", "/api/openapi.json", "")
			var served, printed any
			if err := errors.Join(json.Unmarshal(got.body, &served), json.Unmarshal([]byte(tool(t, nil, program(t, "leafward-testhooks"), "openapi")), &printed)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(served, printed) {
				t.Error("it is another one")
			}
		}},
		{name: "API9 there is one version of it", shown: func(t *testing.T) {
			for _, path := range []string{"/api/v0/teams", "/api/v2/teams", "/api/teams", "/v1/teams", "/api/v1beta/teams", "/api/internal/teams"} {
				a.answers(t, 404, "admin", "GET", path, "")
			}
			if got := a.answers(t, 200, "viewer", "GET", "/api/v1/version", ""); text(got.object(), "version") == "" {
				t.Error("it does not say which program it is")
			}
		}},
		{name: "API9 what is for tests is not in what is shipped", shown: func(t *testing.T) {
			for _, line := range []string{"clock show", "failpoint list"} {
				if _, err := try(t, nil, program(t, "leafward"), strings.Fields(line)...); err == nil {
					t.Errorf("a release knows %q", line)
				}
			}
			shipped, err := os.ReadFile(program(t, "leafward"))
			if err != nil {
				t.Fatal(err)
			}
			if has(shipped, "/testhooks/failpoint", "testhooks/clock") {
				t.Error("a release has the hooks in it")
			}
		}},
		{name: "API9 what an operation needs and answers is in the document", shown: func(t *testing.T) {
			law, err := emitted()
			if err != nil {
				t.Fatal(err)
			}
			public := map[string]bool{}
			for _, op := range api.Operations() {
				public[op.ID] = op.Role == leafward.RolePublic
			}
			for path, item := range law.doc.Paths.Map() {
				for method, op := range item.Operations() {
					if op.OperationID == "" || op.Summary == "" || op.Responses.Len() == 0 {
						t.Errorf("%s %s says nothing of itself", method, path)
					}
					if open := op.Security != nil && len(*op.Security) == 0; open != public[op.OperationID] {
						t.Errorf("%s %s is open: %t; the document says %t", method, path, public[op.OperationID], open)
					}
				}
			}
		}},
	}
}

// others: API10, unsafe consumption of APIs.
func (a *apiCard) others() []point {
	return []point{
		{name: "API10 a chain that is brought is checked before it is kept", shown: func(t *testing.T) {
			_, csr := newCSR(t, "x.example.com")
			for _, chain := range []string{"", "none", csr, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("0")}))} {
				got := a.admin.expect(t, 400, "POST", "/api/v1/issuers", object{"name": "brought", "type": "GenericCA", "config": object{"certificate_pem": chain + "x", "private_key_pem": "x"}})
				if text(got, "error") != "invalid_request" {
					t.Errorf("%v", got)
				}
			}
		}},
		{name: "API10 what agents say is bounded, and steers nobody's terminal", shown: func(t *testing.T) {
			who := a.caller("agent")
			for _, word := range []string{"\\u202eevil", "a\\u0000b", "a\\u001b[2J", strings.Repeat("x", 5000)} {
				body := `{"architecture":"amd64","hostname":` + `"` + word + `"` + `,"ip_address":"192.0.2.1","os":"linux","version":"1"}`
				if got := a.call(t, who, "POST", "/api/v1/agents/"+who.id+"/heartbeat", body); got.status != 400 {
					t.Errorf("%.20q: %d %s", word, got.status, got.body)
				}
			}
		}},
		{name: "API10 a server that is looked at may send what it likes", shown: func(t *testing.T) {
			d := outbound.New(outbound.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			for name, server := range hostile(t) {
				if seen := probe.Look(t.Context(), probe.Request{Address: server, Dial: d.DialContext}); seen.Outcome == probe.OK {
					t.Errorf("%s: what is seen is %+v", name, seen)
				}
			}
		}},
		{name: "API10 an answer from outside is read up to a bound", shown: func(t *testing.T) {
			d := outbound.New(outbound.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			response, err := d.HTTPClient(patience).Get(endless(t))
			if err != nil {
				t.Fatal(err)
			}
			if body, err := outbound.ReadBody(response, 1<<20); err == nil || len(body) != 1<<20 {
				t.Errorf("%d octets are read: %v", len(body), err)
			}
		}},
		{name: "API10 what an upstream authority answers is checked", apart: "no issuer stands whose authority is elsewhere"},
	}
}

// hostile are servers by what they do.
func hostile(t *testing.T) map[string]string {
	t.Helper()
	serve := func(handle func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					handle(conn)
				}()
			}
		}()
		return l.Addr().String()
	}
	garbage := bytes.Repeat([]byte("\x16\x03\x03\x40\x00\x02\xff\xff\xff"), 1<<12)
	return map[string]string{
		"closes at once": serve(func(net.Conn) {}),
		"speaks HTTP":    serve(func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n") }),
		"sends without end": serve(func(c net.Conn) {
			for {
				if _, err := c.Write(garbage); err != nil {
					return
				}
			}
		}),
	}
}

// endless is a site whose answer has no end.
func endless(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	site := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})}
	go func() { _ = site.Serve(l) }()
	t.Cleanup(func() { _ = site.Close() })
	return "http://" + l.Addr().String()
}
