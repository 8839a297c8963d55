package rest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/store/storetest"
)

// block is a PEM block of a kind around a text.
func block(kind, text string) string {
	return "-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----\n"
}

// malformed are texts that are neither a CSR nor a chain nor a key.
func malformed(t *testing.T, kind string) map[string]string {
	t.Helper()
	good := csrFor(t, "shop.example.com")
	return map[string]string{
		"no PEM": "hello", "a block that does not end": "-----BEGIN " + kind + "-----\nMAA=\n", "no base64": block(kind, "!!!!"), "no DER": block(kind, "AAAA"),
		"an empty sequence": block(kind, "MAA="), "a block of another kind": block("ENCRYPTED MESSAGE", "MAA="), "half of it": good[:len(good)/2],
		"two of them": good + good, "too long": block(kind, strings.Repeat("A", 70000)),
	}
}

func TestMalformedCSRsAndPEMAreRefusedByTheirField(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id, agent := h.make(t, "/api/v1/certificates", `{"common_name":"shop.example.com"}`)["id"].(string), h.joined(t, "web1", "")
	ordered := h.ordered(t, agent, "web.example.com")
	refuse := func(path, field, what string, body map[string]any) {
		t.Helper()
		text, err := json.Marshal(body)
		check(t, err)
		status, out, _ := h.send(t, "admin", "POST", path, string(text))
		told := fmt.Sprint(out["fields"])
		if status != 400 || out["error"] != "invalid_request" || !strings.Contains(told, "field:"+field+" ") || !strings.Contains(told, "problem:") {
			t.Errorf("%s with %s in %s: %d %.300v", path, what, field, status, out)
		}
	}
	for what, text := range malformed(t, "CERTIFICATE REQUEST") {
		refuse("/api/v1/certificates", "csr_pem", what, map[string]any{"common_name": "shop.example.com", "name": "second", "csr_pem": text})
		refuse("/api/v1/certificates/"+id+"/csr", "csr_pem", what, map[string]any{"csr_pem": text})
		refuse("/api/v1/agents/"+agent+"/csr", "csr_pem", what, map[string]any{"certificate_id": ordered, "csr_pem": text})
	}
	var imported map[string]any
	check(t, json.Unmarshal([]byte(subordinate(t)), &imported))
	for property, kind := range map[string]string{"certificate_pem": "CERTIFICATE", "private_key_pem": "PRIVATE KEY"} {
		for what, text := range malformed(t, kind) {
			config := map[string]any{"certificate_pem": imported["certificate_pem"], "private_key_pem": imported["private_key_pem"]}
			config[property] = text
			refuse("/api/v1/issuers", "config."+property, what, map[string]any{"name": "imported", "type": "GenericCA", "config": config})
		}
	}
}

func TestMalformedTokensAreRefusedWithWhatToSend(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for _, token := range []string{"x", "lwk_", "lwk_!", "LWA-", "LWA-x", "lwk_" + strings.Repeat("x", 600), strings.Repeat("y", 5000), "lwk_unknown extra"} {
		h.keys["odd"] = token
		for _, c := range [][3]string{{"GET", "/api/v1/teams", ""}, {"POST", "/api/v1/agents", `{"hostname":"web1"}`}} {
			status, out, _ := h.send(t, "odd", c[0], c[1], c[2])
			if status != 401 || out["error"] != "unauthorized" || out["message"] == "" || !strings.Contains(fmt.Sprint(out["fix"]), "Authorization: Bearer") {
				t.Errorf("%s %s with %.20q: %d %v", c[0], c[1], token, status, out)
			}
		}
	}
}
