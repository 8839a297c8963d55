//go:build linux

package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki/ocsp"
)

// Both ends of a validity count, so that a certificate that begins now and ends in ninety days lives a second too long. No
// road to a certificate gives that second.
func TestNoRoadGivesASecondMoreThanTheProfileAllows(t *testing.T) {
	t.Parallel()
	const most = 30 * day
	s := serve(t, "", "--clock="+ago(40*day))
	s.admin.expect(t, 201, "POST", "/api/v1/profiles", object{"id": "prof-month", "name": "month", "max_ttl_seconds": int(most / time.Second)})
	of := func(name string, more object) object {
		body := object{"name": name, "common_name": name + ".example.com", "certificate_profile_id": "prof-month"}
		for property, value := range more {
			body[property] = value
		}
		return body
	}
	agent := s.admin.expect(t, 201, "POST", "/api/v1/agents", object{"name": "host"})
	target := s.admin.expect(t, 201, "POST", "/api/v1/targets", object{"name": "web", "type": "NGINX", "agent_id": text(agent, "id"), "config": object{"cert_path": "/etc/ssl/w.pem", "key_path": "/etc/ssl/w.key"}})
	_, csr := newCSR(t, "caller.example.com")
	roads := map[string]object{
		"a CSR at once":     s.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", of("caller", object{"csr_pem": csr})),
		"a key of ours":     s.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", of("server", object{"key_source": "server"})),
		"a CSR afterwards":  s.admin.expect(t, 201, "POST", "/api/v1/certificates", of("later", nil)),
		"a CSR of an agent": s.admin.expect(t, 201, "POST", "/api/v1/certificates", of("agent", object{"target_ids": []string{text(target, "id")}})),
	}
	_, later := newCSR(t, "later.example.com")
	s.admin.expect(t, 202, "POST", "/api/v1/certificates/"+text(roads["a CSR afterwards"], "id")+"/csr", object{"csr_pem": later})
	_, agents := newCSR(t, "agent.example.com")
	s.admin.as(text(agent, "api_key")).expect(t, 202, "POST", "/api/v1/agents/"+text(agent, "id")+"/csr", object{"certificate_id": text(roads["a CSR of an agent"], "id"), "csr_pem": agents})
	for road, made := range roads {
		s.ledger.awaitAgain(t, s, "certificate.issued", text(made, "id"))
		s.bounded(t, road, text(made, "id"), most)
	}
	s.advance(t, 25*day)
	s.ledger.await(t, "certificate.renewed", text(roads["a key of ours"], "id"))
	s.bounded(t, "a renewal", text(roads["a key of ours"], "id"), most)
}

// awaitAgain waits for an event whatever else was waited for before.
func (f *follower) awaitAgain(t testing.TB, s *server, action, resource string) {
	t.Helper()
	look, deadline := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer look.Stop()
	for len(s.admin.rows(t, "/api/v1/audit?action="+action+"&resource_id="+resource)) == 0 {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("there is no %s of %s", action, resource)
		}
	}
}

// bounded: every version lives as long as asked and no second longer.
func (s *server) bounded(t *testing.T, road, id string, most time.Duration) {
	t.Helper()
	versions := s.admin.rows(t, "/api/v1/certificates/"+id+"/versions")
	if len(versions) == 0 {
		t.Errorf("%s: nothing was issued", road)
	}
	for _, version := range versions {
		leaf := leafOf(t, text(version, "pem_chain"))
		if life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; life != most {
			t.Errorf("%s: it lives %s of %s", road, life, most)
		}
	}
}

// A server that was away so long that its own certificate and its OCSP responders have expired starts, renews both by itself,
// and takes its agents back, who know it by its root and themselves by keys that do not expire.
func TestAServerWhoseCertificatesHaveAllExpiredStartsAndRenewsThem(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := newServer(t, dsn)
		s.start(t, "--clock="+ago(200*day))
		_, csr := newCSR(t, "then.example.com")
		made := s.local().expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr})
		r := &relying{server: s, good: serialOf(t, made), issuing: parsed(t, fetch(t, s.plain+"/.well-known/pki/ca/iss-local"))}
		shown, delegate := s.shows(t), r.delegate(t)
		expired, err := os.ReadFile(filepath.Join(s.dir, "server.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if now := time.Now(); shown.NotAfter.After(now) || delegate.NotAfter.After(now) {
			t.Fatalf("what it shows ends on %s and the responder on %s", shown.NotAfter, delegate.NotAfter)
		}
		s.stop(t)
		s.process = start(t, program(t, "leafward-testhooks"), s.flags...)
		s.heard(t, `"msg":"ready"`)
		s.becomesReady(t) // CRLs are over too, and made anew right after the start
		s.open(t)
		s.admin.get(t, "/api/v1/teams")
		if now := time.Now(); s.shows(t).NotAfter.Before(now) || r.delegate(t).NotAfter.Before(now) {
			t.Error("not both are renewed")
		}
		a := s.join(t, s.url, startNginx(t))
		s.stop(t)
		if err := os.WriteFile(filepath.Join(s.dir, "server.pem"), expired, 0o600); err != nil {
			t.Fatal(err)
		}
		s.start(t)
		a.run(t)
		look, deadline := time.NewTicker(50*time.Millisecond), time.After(patience)
		defer look.Stop()
		for text(s.admin.get(t, "/api/v1/agents/"+a.id), "status") != "Online" {
			select {
			case <-look.C:
			case <-deadline:
				t.Fatal("the agent does not come back")
			}
		}
	})
}

// becomesReady waits until everything works.
func (s *server) becomesReady(t *testing.T) {
	t.Helper()
	look, deadline := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer look.Stop()
	for err := s.ready(t.Context()); err != nil; err = s.ready(t.Context()) {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// delegate is the certificate of who signs OCSP.
func (r *relying) delegate(t *testing.T) *x509.Certificate {
	t.Helper()
	response, err := ocsp.ParseResponse(r.post(t, r.ask(t, crypto.SHA1, nil, r.good)).body)
	if err != nil || response.Code != ocsp.Successful {
		t.Fatalf("%s %v", response.Code, err)
	}
	return r.responder(t, response)
}

// shows is the certificate that the server shows.
func (s *server) shows(t *testing.T) *x509.Certificate {
	t.Helper()
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", s.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// What is empty, or of one character, breaks many programs that look at the first element or the second label. Every property
// of every body and every parameter is sent so, and every empty list that a CSR can hold.
func TestNothingEmptyOrOfOneCharacterBreaksTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	e := newEstate(t, s)
	law, err := emitted()
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	try := func(method, path, body string) {
		sent++
		if got := e.call(t, e.caller("admin"), method, path, body); got.status >= 500 && got.status != http.StatusNotImplemented {
			t.Errorf("%s %s with %s: %d %s", method, path, body, got.status, got.body)
		}
	}
	for path, item := range law.doc.Paths.Map() {
		base, _, about := strings.Cut(path, "/{")
		for method, op := range item.Operations() {
			if strings.HasPrefix(path, "/.well-known/") || method == "DELETE" {
				continue
			}
			at := path
			if about {
				at = base + "/" + e.make(t, base, ownTeam) + strings.ReplaceAll(strings.ReplaceAll(path[strings.Index(path, "}")+1:], "{job_id}", "."), "{cert_id}", ".")
			}
			for _, p := range op.Parameters {
				for _, value := range []string{"", ".", "a", "%2e", "0"} {
					if p.Value.In == "query" {
						try(method, at+"?"+p.Value.Name+"="+value, "")
					}
				}
			}
			if op.RequestBody == nil || op.RequestBody.Value.Content["application/json"] == nil {
				continue
			}
			schema := op.RequestBody.Value.Content["application/json"].Schema.Value
			for name := range schema.Properties {
				for _, value := range []string{`""`, `"."`, `"a"`, `"*"`, `[]`, `[""]`, `["."]`, `["*."]`, `{}`, `{"":""}`, `null`, `0`} {
					try(method, at, fmt.Sprintf(`{%q:%s}`, name, value))
					try(method, at, fmt.Sprintf(`{"name":"empty","common_name":"e.example.com",%q:%s}`, name, value))
				}
			}
		}
	}
	for name, csr := range emptyCSRs(t) {
		text, err := json.Marshal(object{"name": name, "common_name": "e.example.com", "csr_pem": csr})
		if err != nil {
			t.Fatal(err)
		}
		try("POST", "/api/v1/certificates?wait=5", string(text))
	}
	if said := strings.Join(s.last(1_000_000), "\n"); strings.Contains(said, "panic") {
		t.Error("the log tells of a panic")
	}
	if sent < 500 {
		t.Errorf("only %d requests were sent", sent)
	}
	s.admin.get(t, "/api/v1/teams")
}

// emptyCSRs have an extension whose list or string is empty, or of one octet.
func emptyCSRs(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for oid, name := range map[string]string{"\x55\x1d\x25": "extKeyUsage", "\x55\x1d\x11": "subjectAltName", "\x55\x1d\x0f": "keyUsage", "\x55\x1d\x13": "basicConstraints", "\x55\x1d\x1e": "nameConstraints", "\x55\x1d\x20": "certificatePolicies", "\x55\x1d\x1f": "cRLDistributionPoints"} {
		for what, value := range map[string]string{
			"no octet": "", "no element": "\x30\x00", "an empty element": "\x30\x02\x30\x00", "an empty string": "\x30\x02\x82\x00", "a dot": "\x30\x03\x82\x01.", "a letter": "\x30\x03\x82\x01a", "no bits": "\x03\x01\x00", "no bit string": "\x03\x00", "an empty OID": "\x30\x02\x06\x00",
		} {
			all[name+" with "+what] = asking(t, extensionWith(oid, value))
		}
	}
	return all
}

// told is everything that a server tells without being asked for a secret: log, ledger, export, metrics.
func (e *estate) told(t *testing.T) []byte {
	t.Helper()
	all := [][]byte{[]byte(strings.Join(e.last(1_000_000), "\n"))}
	for _, path := range []string{"/api/v1/audit/export", "/metrics", "/api/v1/issuers?per_page=500", "/api/v1/keys?per_page=500", "/api/v1/agents?per_page=500", "/api/v1/jobs?per_page=500", "/api/v1/server"} {
		all = append(all, e.call(t, e.caller("admin"), "GET", path, "").body)
	}
	return bytes.Join(all, []byte("\n"))
}
