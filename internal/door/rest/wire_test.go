package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store/storetest"
)

// sample is a value that a property does not have by itself, and what must be written beside it.
type sample struct{ value, with string }

// samples are values of the properties that are obeyed; furnish makes what they name.
func samples() map[string]sample {
	return map[string]sample{
		"certificates.common_name": {`"b.example.com"`, ""}, "certificates.sans": {`["b.example.com","c.example.com"]`, ""}, "certificates.owner_id": {`"o-own"`, ""},
		"certificates.team_id": {`"t-own"`, ""}, "certificates.issuer_id": {`"iss-own"`, ""}, "certificates.target_ids": {`["tgt-own"]`, ""},
		"certificates.renewal_policy_id": {`"rp-own"`, ""}, "certificates.certificate_profile_id": {`"prof-own"`, ""}, "certificates.key_source": {`"server"`, ""},
		"certificates.key_algorithm": {`"RSA"`, ""}, "certificates.key_size": {`3072`, `,"key_algorithm":"RSA"`}, "certificates.reuse_key": {`true`, ""}, "certificates.ttl_seconds": {`2592000`, ""},
		"issuers.config": {`{"organization":"Own"}`, ""}, "issuers.enabled": {`false`, ""}, "issuers.team_id": {`"t-own"`, ""}, "issuers.type": {`"GenericCA"`, ""},
		"owners.team_id":                  {`"t-own"`, ""},
		"profiles.allowed_key_algorithms": {`[{"algorithm":"RSA","min_size":3072}]`, ""}, "profiles.max_ttl_seconds": {`2592000`, ""}, "profiles.default_ttl_seconds": {`1728000`, ""},
		"profiles.backdate_seconds": {`60`, ""}, "profiles.allowed_ekus": {`["clientAuth","serverAuth"]`, ""}, "profiles.allowed_san_types": {`["ip","dns"]`, ""}, "profiles.required_san_patterns": {`["*.example.com"]`, ""},
		"profiles.spiffe_uri_pattern": {`"spiffe://example.com/*"`, ""}, "profiles.allow_short_lived": {`true`, ""}, "profiles.cut_to_issuer": {`true`, ""}, "profiles.enabled": {`false`, ""}, "profiles.team_id": {`"t-own"`, ""},
		"renewal-policies.renewal_window_days": {`10`, ""}, "renewal-policies.literal_window": {`true`, ""}, "renewal-policies.auto_renew": {`false`, ""}, "renewal-policies.max_retries": {`7`, ""},
		"renewal-policies.retry_interval_seconds": {`120`, ""}, "renewal-policies.alert_thresholds_days": {`[9,4]`, ""}, "renewal-policies.team_id": {`"t-own"`, ""},
		"targets.agent_id": {`"ag-own"`, ""}, "targets.config": {`{"cert_path":"/etc/own.pem","key_path":"/etc/own.key","port":8443}`, ""}, "targets.enabled": {`false`, ""}, "targets.team_id": {`"t-own"`, `,"agent_id":"ag-own"`},
		"targets.type": {`"NGINX"`, ""},
	}
}

// fixed are properties that are said once, when a thing is made.
func fixed() []string { return []string{"issuers.config", "issuers.type", "targets.type"} }

// furnish makes what the samples name.
func (h house) furnish(t *testing.T) {
	t.Helper()
	for _, made := range [][2]string{
		{"teams", `"id":"t-own"`},
		{"owners", `"id":"o-own"`},
		{"profiles", `"id":"prof-own"`},
		{"renewal-policies", `"id":"rp-own"`},
		{"issuers", `"id":"iss-own","type":"GenericCA"`},
		{"agents", `"id":"ag-own"`},
		{"targets", `"id":"tgt-own","type":"NGINX","agent_id":"ag-own","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}`},
	} {
		h.make(t, "/api/v1/"+made[0], `{"name":"own",`+made[1]+"}")
	}
}

func TestWhatIsWrittenIsWhatIsAnswered(t *testing.T) {
	c := newCrowd(t)
	c.furnish(t)
	for name, shown := range proofs(t) {
		owner, property, _ := strings.Cut(name, ".")
		obeyed := strings.HasPrefix(shown[0], "Test") && property != "id" && property != "csr_pem" && !strings.Contains(property, ".")
		i := slices.IndexFunc(api.Operations(), func(o api.Info) bool {
			return o.Method == http.MethodPut && strings.HasSuffix(o.Path, "/"+owner+"/{id}")
		})
		if !obeyed || i < 0 {
			continue
		}
		s, ok := samples()[name]
		if !ok {
			t.Errorf("samples has no value for %s", name)
			continue
		}
		base := strings.TrimSuffix(api.Operations()[i].Path, "/{id}")
		properties := c.properties(t)[base]
		if owner == "targets" {
			properties = `"name":"w #","type":"NGINX","agent_id":"ag-own","config":{"cert_path":"/etc/c#.pem","key_path":"/etc/k#.pem"}`
		}
		made := c.writes(t, http.MethodPost, base, properties, property, s)
		c.shows(t, base+"/"+made, property, s.value)
		if owner == "certificates" || owner == "targets" { // a target carries one, and no two write the same files
			c.expect(t, "admin", http.MethodDelete, base+"/"+made, "", 204, "", "")
		}
		if slices.Contains(fixed(), name) {
			continue
		}
		plain := base + "/" + c.make(t, base, "{"+fill(properties)+"}")["id"].(string)
		c.writes(t, http.MethodPut, plain, "", property, s)
		c.shows(t, plain, property, s.value)
	}
}

// writes sends a thing in which a property, and what belongs to it, has the sample's value.
func (c crowd) writes(t *testing.T, method, path, properties, property string, s sample) string {
	t.Helper()
	values := make(map[string]json.RawMessage)
	for _, text := range []string{"{" + fill(properties) + "}", "{" + strings.TrimPrefix(s.with, ",") + "}", fmt.Sprintf("{%q:%s}", property, s.value)} {
		check(t, json.Unmarshal([]byte(text), &values))
	}
	body, err := json.Marshal(values)
	check(t, err)
	status, out, _ := c.send(t, "admin", method, path, string(body))
	if status/100 != 2 {
		t.Fatalf("%s %s %s: %d %v", method, path, body, status, out)
	}
	return out["id"].(string)
}

// shows fails the test unless a thing is answered with the value.
func (c crowd) shows(t *testing.T, path, property, value string) {
	t.Helper()
	_, out, _ := c.send(t, "viewer", "GET", path, "")
	got, err := json.Marshal(out[property])
	check(t, err)
	var want any
	check(t, json.Unmarshal([]byte(value), &want))
	text, err := json.Marshal(want)
	check(t, err)
	if string(got) != string(text) {
		t.Errorf("%s of %s is %s, and %s was written", property, path, got, text)
	}
}

func TestAVerbDoesWhatItsRequestSays(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	h.furnish(t)
	h.make(t, "/api/v1/targets", `{"id":"tgt-two","name":"two","type":"NGINX","agent_id":"ag-own","config":{"cert_path":"/etc/c2.pem","key_path":"/etc/k2.pem"}}`)
	id := h.make(t, "/api/v1/certificates?wait=30", `{"common_name":"a.example.com","key_source":"server"}`)["id"].(string)
	at := "/api/v1/certificates/" + id
	version := func() string {
		_, out, _ := h.send(t, "viewer", "GET", at, "")
		return out["version"].(map[string]any)["id"].(string)
	}
	first := version()
	h.expect(t, "operator", "POST", at+"/renew", "", 202, "status", "renewal_triggered")
	h.settles(t, id)
	h.expect(t, "operator", "PUT", at, `{"target_ids":["tgt-own","tgt-two"]}`, 200, "", "")
	out := h.expect(t, "operator", "POST", at+"/deploy", fmt.Sprintf(`{"target_id":"tgt-two","version_id":%q}`, first), 202, "status", "deployment_triggered")
	jobs := out["job_ids"].([]any)
	if len(jobs) != 1 {
		t.Fatalf("%v", out)
	}
	h.expect(t, "viewer", "GET", "/api/v1/jobs/"+jobs[0].(string), "", 200, "target_id", "tgt-two")
	h.expect(t, "viewer", "GET", "/api/v1/jobs/"+jobs[0].(string), "", 200, "version_id", first)
	h.expect(t, "operator", "POST", at+"/revoke", fmt.Sprintf(`{"reason":"affiliationChanged","version_id":%q}`, first), 200, "status", "revoked")
	_, out, _ = h.send(t, "viewer", "GET", at+"/versions", "")
	for _, row := range out["data"].([]any) {
		v := row.(map[string]any)
		if revoked := v["revocation_reason"] == "affiliationChanged"; revoked != (v["id"] == first) {
			t.Errorf("%v is revoked: %v", v["id"], v["revocation_reason"])
		}
	}
	h.expect(t, "operator", "PUT", at, `{"target_ids":[]}`, 200, "", "")
	out = h.expect(t, "operator", "POST", at+"/revoke", `{"reason":"superseded","replace":true}`, 200, "status", "replacing")
	h.expect(t, "viewer", "GET", "/api/v1/jobs/"+fmt.Sprint(out["job_id"]), "", 200, "type", string(leafward.Renewal))
}
