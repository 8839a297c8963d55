package rest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// ordered makes a certificate for a target of the agent, whose order waits for the agent's CSR.
func (h house) ordered(t *testing.T, agent, name string) (certificate string) {
	t.Helper()
	target := h.make(t, "/api/v1/targets", `{"name":"`+name+`","type":"NGINX","agent_id":"`+agent+`","config":{"cert_path":"/etc/`+name+`.pem","key_path":"/etc/`+name+`.key"}}`)["id"].(string)
	return h.make(t, "/api/v1/certificates", `{"common_name":"`+name+`","target_ids":["`+target+`"]}`)["id"].(string)
}

func csrBody(t *testing.T, certificate, csr string) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"certificate_id": certificate, "csr_pem": csr, "more": "ignored"})
	check(t, err)
	return string(text)
}

func TestAnAgentsCSRIsSignedWhileItWaitsAndThenPickedUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		id := h.joined(t, "web1", "")
		at := "/api/v1/agents/" + id
		cert := h.ordered(t, id, "shop.example.com")
		work := h.expect(t, "web1", "GET", at+"/work", "", 200, "count", "1")["jobs"].([]any)[0].(map[string]any)
		if work["status"] != "AwaitingCSR" || work["certificate_id"] != cert || work["common_name"] != "shop.example.com" {
			t.Errorf("%v", work)
		}
		h.expect(t, "web1", "GET", at+"/certificates/"+cert, "", 404, "error", "not_found")

		csr := csrFor(t, "shop.example.com")
		h.expect(t, "web1", "POST", at+"/csr", csrBody(t, cert, csr), 202, "status", "csr_signed")
		got := h.expect(t, "web1", "GET", at+"/certificates/"+cert, "", 200, "private_key_pem", "<nil>")
		if chain := got["certificate_pem"].(string); strings.Count(chain, "BEGIN CERTIFICATE") != 2 {
			t.Errorf("leaf and issuing certificate are wanted: %s", chain)
		}
		h.expect(t, "web1", "POST", at+"/csr", csrBody(t, cert, csr), 202, "status", "csr_signed")
		h.expect(t, "viewer", "GET", "/api/v1/certificates/"+cert+"/versions", "", 200, "total", "1")
		h.expect(t, "web1", "POST", at+"/csr", csrBody(t, cert, csrFor(t, "shop.example.com")), 409, "error", "conflict")
	})
}

func TestAnAgentThatNamesNoCertificateMeansTheOneThatWaits(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.joined(t, "web1", "")
	at := "/api/v1/agents/" + id + "/csr"
	h.ordered(t, id, "a.example.com")
	second := h.ordered(t, id, "b.example.com")
	h.expect(t, "web1", "POST", at, csrBody(t, "", csrFor(t, "a.example.com")), 400, "error", "invalid_request")
	h.expect(t, "web1", "POST", at, csrBody(t, second, csrFor(t, "b.example.com")), 202, "status", "csr_signed")
	h.expect(t, "web1", "POST", at, csrBody(t, "", csrFor(t, "a.example.com")), 202, "status", "csr_signed")
}

func TestACSROfAnAgentGivesTheKeyAndNothingElse(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id, other := h.joined(t, "web1", ""), h.joined(t, "web2", "")
	cert := h.ordered(t, id, "shop.example.com")
	at, elsewhere := "/api/v1/agents/"+id+"/csr", "/api/v1/agents/"+other+"/csr"
	good := csrFor(t, "shop.example.com")
	for name, c := range map[string]struct {
		who, path, certificate, csr string
		status                      int
		code                        string
	}{
		"more names than the record": {"web1", at, cert, csrFor(t, "shop.example.com", "bank.example.com"), 400, "invalid_request"},
		"another name":               {"web1", at, cert, csrFor(t, "bank.example.com"), 400, "invalid_request"},
		"not a CSR":                  {"web1", at, cert, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", 400, "invalid_request"},
		"nothing":                    {"web1", at, cert, "", 400, "invalid_request"},
		"too much":                   {"web1", at, cert, strings.Repeat("x", 65537), 400, "invalid_request"},
		"an unknown certificate":     {"web1", at, "mc-none", good, 404, "not_found"},
		"another's name":             {"web2", at, cert, good, 403, "forbidden"},
		"another's certificate":      {"web2", elsewhere, cert, good, 404, "not_found"},
		"an operator":                {"operator", at, cert, good, 403, "forbidden"},
	} {
		status, out, _ := h.send(t, c.who, "POST", c.path, csrBody(t, c.certificate, c.csr))
		if status != c.status || out["error"] != c.code {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
	h.expect(t, "viewer", "GET", "/api/v1/certificates/"+cert, "", 200, "status", "Pending")
	h.expect(t, "admin", "POST", at, csrBody(t, cert, good), 202, "status", "csr_signed")
}
