package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// make sends a POST as an administrator and returns the answer.
func (h house) make(t *testing.T, path, body string) map[string]any {
	t.Helper()
	status, out, _ := h.send(t, "admin", "POST", path, body)
	if status != 201 {
		t.Fatalf("%s %s: %d %v", path, body, status, out)
	}
	return out
}

// expect sends a request and checks status and, where it is not empty, the text of one property.
func (h house) expect(t *testing.T, who, method, path, body string, status int, property, value string) map[string]any {
	t.Helper()
	got, out, _ := h.send(t, who, method, path, body)
	if got != status || property != "" && fmt.Sprint(out[property]) != value {
		t.Errorf("%s %s %s as %s: %d %v, want %d with %s %s", method, path, body, who, got, out, status, property, value)
	}
	return out
}

// joined makes a host join with an invitation; its key is kept under the name.
func (h house) joined(t *testing.T, name, more string) string {
	t.Helper()
	token := h.make(t, "/api/v1/agents/invitations", `{"name":"`+name+`"}`)["token"].(string)
	h.keys["token of "+name] = token
	status, out, header := h.send(t, "token of "+name, "POST", "/api/v1/agents", `{"hostname":"`+name+`.example"`+more+`}`)
	if status != 201 || header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %v", status, out, header)
	}
	h.keys[name] = out["api_key"].(string)
	return out["id"].(string)
}

// bound stores a certificate whose version is to be deployed to a target, with the deployment.
func (h house) bound(t *testing.T, target, agent string) (version leafward.Version, deployment leafward.Job) {
	t.Helper()
	err := h.db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		tx.AddCertificate(&leafward.Certificate{
			Row: leafward.Row{ID: "mc-shop"}, Team: leafward.DefaultTeam, Name: "shop", CommonName: "shop.example", SANs: []string{"shop.example"}, Owner: leafward.DefaultOwner,
			Profile: leafward.ServerProfile, Issuer: leafward.DefaultIssuer, Policy: leafward.DefaultPolicy, Tags: map[string]string{}, KeySource: leafward.AgentKey, Spec: 1,
		})
		version = leafward.Version{Certificate: "mc-shop", Team: leafward.DefaultTeam, Slot: agent, Issuer: leafward.DefaultIssuer, Serial: "1", SHA256: strings.Repeat("ab", 32), NotAfter: tx.Now.AddDate(0, 1, 0), DER: []byte{0x30, 0}, Chain: tx.AddChain(nil)}
		tx.AddVersion(&version)
		tx.AddInstallation(&leafward.Installation{Row: leafward.Row{ID: "in-1"}, Certificate: "mc-shop", Target: target, Desired: version.ID, Proof: leafward.ProofNone})
		deployment = leafward.Job{
			Kind: leafward.DeployJob, Type: leafward.Deployment, Subject: "in-1", Team: leafward.DefaultTeam, Certificate: "mc-shop", Target: target, Agent: agent, Installation: "in-1", Version: version.ID,
		}
		_, err := job.Enqueue(tx, &deployment)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return version, deployment
}

func TestAnAgentOfAnotherMakeWorksUnchanged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		made := h.make(t, "/api/v1/agents", `{"name":"edge","hostname":"edge.example","status":"Online","unknown":{"ignored":true}}`)
		h.keys["edge"] = made["api_key"].(string)
		id := made["id"].(string)
		at := "/api/v1/agents/" + id
		h.expect(t, "edge", "POST", at+"/heartbeat", `{"architecture":"amd64","hostname":"edge.example","ip_address":"192.0.2.7","os":"linux","version":"2.0.1"}`, 200, "status", "heartbeat_recorded")
		h.expect(t, "edge", "POST", at+"/heartbeat", "", 200, "status", "heartbeat_recorded")
		h.expect(t, "viewer", "GET", at, "", 200, "status", "Online")
		h.expect(t, "viewer", "GET", at, "", 200, "version", "2.0.1")
		h.expect(t, "edge", "GET", at+"/work", "", 200, "count", "0")
		target := h.make(t, "/api/v1/targets", `{"name":"web","type":"NGINX","agent_id":"`+id+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem","port":8443}}`)["id"].(string)
		version, deployment := h.bound(t, target, id)
		item := h.expect(t, "edge", "GET", at+"/work", "", 200, "count", "1")["jobs"].([]any)[0].(map[string]any)
		config, _ := item["target_config"].(map[string]any)
		if item["type"] != "Deployment" || item["id"] != deployment.ID || item["target_id"] != target || item["target_type"] != "NGINX" || config["cert_path"] != "/etc/c.pem" || config["port"] != 8443.0 || item["fingerprint"] != version.SHA256 {
			t.Errorf("%v", item)
		}
		h.expect(t, "edge", "POST", at+"/jobs/"+deployment.ID+"/status", `{"status":"Running","more":1}`, 200, "status", "updated")
		out := h.expect(t, "edge", "GET", at+"/certificates/mc-shop", "", 200, "version_id", version.ID)
		if pem, _ := out["certificate_pem"].(string); !strings.HasPrefix(pem, "-----BEGIN CERTIFICATE-----") || out["private_key_pem"] != nil {
			t.Errorf("%v", out)
		}
		h.expect(t, "edge", "POST", at+"/jobs/"+deployment.ID+"/status", `{"status":"Completed"}`, 200, "status", "updated")
		h.expect(t, "viewer", "GET", "/api/v1/jobs/"+deployment.ID, "", 200, "status", "Completed")
	})
}

func TestAHostJoinsOnceAndIsToldWhenItIsRetired(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		id := h.joined(t, "web1", `,"protocol":"leafward/1"`)
		at := "/api/v1/agents/" + id
		h.expect(t, "token of web1", "POST", "/api/v1/agents", `{"name":"web1"}`, 401, "error", "unauthorized")
		h.expect(t, "web1", "GET", at+"/work", "", 200, "count", "0")
		h.expect(t, "viewer", "GET", at, "", 200, "leafward", "true")
		h.expect(t, "admin", "DELETE", at+"?force=true", "", 400, "error", "invalid_request")
		h.expect(t, "admin", "DELETE", at+"?force=perhaps", "", 200, "cascade", "false")
		if status, out, _ := h.send(t, "admin", "DELETE", at, ""); status != 204 || out != nil {
			t.Errorf("%d %v", status, out)
		}
		h.expect(t, "web1", "POST", at+"/heartbeat", `{}`, 410, "error", "gone")
		h.expect(t, "web1", "GET", at+"/work", "", 410, "error", "gone")
		h.expect(t, "web1", "GET", at+"/certificates/mc-shop", "", 410, "error", "gone")
		h.expect(t, "admin", "POST", at+"/heartbeat", `{}`, 410, "error", "gone")
		h.expect(t, "viewer", "GET", "/api/v1/agents", "", 200, "total", "0")
		h.expect(t, "viewer", "GET", "/api/v1/agents/retired", "", 200, "total", "1")
		h.expect(t, "admin", "DELETE", "/api/v1/agents/server-scanner?force=true&reason=x", "", 403, "error", "forbidden")
		h.expect(t, "admin", "DELETE", "/api/v1/agents/ag-none", "", 404, "error", "not_found")
	})
}

func TestARetirementThatIsBlockedSaysByWhat(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.joined(t, "web1", "")
	target := h.make(t, "/api/v1/targets", `{"name":"web","type":"NGINX","agent_id":"`+id+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)["id"].(string)
	h.bound(t, target, id)
	out := h.expect(t, "admin", "DELETE", "/api/v1/agents/"+id, "", 409, "error", "blocked_by_dependencies")
	want := map[string]any{"active_targets": 1.0, "active_certificates": 1.0, "pending_jobs": 1.0}
	if fmt.Sprint(out["counts"]) != fmt.Sprint(want) {
		t.Errorf("%v", out)
	}
	out = h.expect(t, "admin", "DELETE", "/api/v1/agents/"+id+"?force=1&reason=burnt", "", 200, "cascade", "true")
	if fmt.Sprint(out["counts"]) != fmt.Sprint(want) {
		t.Errorf("%v", out)
	}
	h.expect(t, "viewer", "GET", "/api/v1/agents/"+id, "", 200, "retired_reason", "burnt")
}

func TestAnInvitationOpensNothingButTheRegistration(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	made := h.make(t, "/api/v1/agents/invitations", `{}`)
	h.keys["token"] = made["token"].(string)
	for _, c := range []struct{ method, path string }{
		{"GET", "/api/v1/agents"}, {"GET", "/api/v1/certificates"}, {"POST", "/api/v1/agents/invitations"}, {"POST", "/api/v1/keys"}, {"GET", "/api/v1/agents/" + made["agent_id"].(string) + "/work"}, {"GET", "/api/v1/audit"},
	} {
		if status, out, _ := h.send(t, "token", c.method, c.path, ""); status != 403 && status != 404 {
			t.Errorf("%s %s: %d %v", c.method, c.path, status, out)
		}
	}
	id := made["id"].(string)
	h.expect(t, "admin", "GET", "/api/v1/agents/invitations", "", 200, "total", "1")
	if status, _, _ := h.send(t, "admin", "DELETE", "/api/v1/agents/invitations/"+id, ""); status != 204 {
		t.Errorf("%d", status)
	}
	h.expect(t, "token", "POST", "/api/v1/agents", `{"name":"web1"}`, 401, "error", "unauthorized")
	again := h.joined(t, "web2", "")
	h.keys["again"] = h.make(t, "/api/v1/agents/invitations", `{"for_agent_id":"`+again+`"}`)["token"].(string)
	h.expect(t, "again", "POST", "/api/v1/agents", `{}`, 201, "id", again)
	h.expect(t, "web2", "GET", "/api/v1/agents/"+again+"/work", "", 401, "error", "unauthorized")
}

func TestAnAgentsKeyOpensItsOwnWorkOnly(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id, other := h.joined(t, "web1", ""), h.joined(t, "web2", "")
	for _, op := range []struct{ method, path, body string }{
		{"POST", "/heartbeat", `{}`},
		{"GET", "/work", ""},
		{"GET", "/certificates/mc-shop", ""},
		{"POST", "/jobs/job-1/status", `{"status":"Running"}`},
		{"POST", "/jobs/job-1/lease", `{"seconds":60}`},
		{"POST", "/jobs/job-1/steps", `[]`},
	} {
		for _, agent := range []string{id, "ag-none"} {
			h.expect(t, "web2", op.method, "/api/v1/agents/"+agent+op.path, op.body, 403, "error", "forbidden")
		}
	}
	for _, path := range []string{"/api/v1/agents", "/api/v1/agents/" + other, "/api/v1/targets", "/api/v1/jobs"} {
		h.expect(t, "web2", "GET", path, "", 403, "error", "forbidden")
	}
}

func TestATargetKeepsItsSecretsAndSaysWhatItIs(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.joined(t, "web1", "")
	made := h.make(t, "/api/v1/targets", `{"name":"web","type":"NGINX","agent_id":"`+id+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)
	at := "/api/v1/targets/" + made["id"].(string)
	h.expect(t, "operator", "PUT", at, `{"config":{"port":8443}}`, 200, "config", fmt.Sprint(map[string]any{"cert_path": "/etc/c.pem", "key_path": "/etc/k.pem", "port": 8443.0}))
	h.expect(t, "operator", "PUT", at, `{"config":{"port":null},"enabled":false}`, 200, "config", fmt.Sprint(map[string]any{"cert_path": "/etc/c.pem", "key_path": "/etc/k.pem"}))
	h.expect(t, "viewer", "GET", at, "", 200, "enabled", "false")
	for body, field := range map[string]string{
		`{"type":"Apache"}`: "type", `{"config":null}`: "config", `{"config":{"key_path":null}}`: "config.key_path", `{"secrets_set":["x"]}`: "secrets_set", `{"agent_id":"ag-none"}`: "agent_id", `{"agent_id":null}`: "agent_id", `{"colour":1}`: "colour",
	} {
		out := h.expect(t, "operator", "PUT", at, body, 400, "error", "invalid_request")
		if !strings.Contains(fmt.Sprint(out["fields"]), "field:"+field) {
			t.Errorf("%s: %v", body, out)
		}
	}
	if out := h.expect(t, "operator", "POST", "/api/v1/targets", `{"name":"x","type":"F5","agent_id":"`+id+`"}`, 400, "error", "unsupported_type"); !strings.Contains(fmt.Sprint(out["fix"]), "NGINX") {
		t.Errorf("the types that are built in are not named: %v", out)
	}
	h.expect(t, "operator", "POST", "/api/v1/targets", `{"name":"x","type":"NGINX","agent_id":"server-scanner","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`, 400, "error", "invalid_request")
	h.expect(t, "operator", "POST", at+"/test", "", 200, "status", "failed")
	h.expect(t, "viewer", "GET", "/api/v1/targets?agent_id="+id+"&type=NGINX", "", 200, "total", "1")
	if status, _, _ := h.send(t, "operator", "DELETE", at, ""); status != 204 {
		t.Errorf("%d", status)
	}
}

func TestALongPollIsAnsweredWhenWorkComes(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.joined(t, "web1", `,"protocol":"leafward/1"`)
	target := h.make(t, "/api/v1/targets", `{"name":"web","type":"NGINX","agent_id":"`+id+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)["id"].(string)
	h.expect(t, "web1", "GET", "/api/v1/agents/"+id+"/work?wait=61", "", 400, "error", "invalid_request")
	answer := make(chan map[string]any, 1)
	go func() {
		defer close(answer)
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, h.URL+"/api/v1/agents/"+id+"/work?wait=60", http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+h.keys["web1"])
		res, err := h.Client().Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		var out map[string]any
		if err := json.Unmarshal(text, &out); err != nil {
			t.Error(err)
		}
		answer <- out
	}()
	_, deployment := h.bound(t, target, id)
	if out := <-answer; out["count"] != 1.0 || out["jobs"].([]any)[0].(map[string]any)["id"] != deployment.ID {
		t.Errorf("%v", out)
	}
}

func TestALeaseSaysUntilWhenAndIsRenewedByItsHolderAlone(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.joined(t, "web1", `,"protocol":"leafward/1"`)
	h.joined(t, "web2", `,"protocol":"leafward/1"`)
	target := h.make(t, "/api/v1/targets", `{"name":"web","type":"NGINX","agent_id":"`+id+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)["id"].(string)
	_, deployment := h.bound(t, target, id)
	at := "/api/v1/agents/" + id + "/jobs/" + deployment.ID
	until := func(seconds string) time.Time {
		t.Helper()
		out := h.expect(t, "web1", "POST", at+"/lease", `{"seconds":`+seconds+`}`, 200, "epoch", "1")
		end, err := time.Parse(time.RFC3339, out["lease_until"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return end
	}
	first := until("60")
	if left := time.Until(first); left < 50*time.Second || left > time.Minute {
		t.Errorf("a lease of a minute ends in %v", left)
	}
	if second := until("120"); !second.After(first.Add(50 * time.Second)) {
		t.Errorf("renewed it ends at %v, and before at %v", second, first)
	}
	h.expect(t, "web1", "POST", at+"/steps", `[{"name":"write","ok":true}]`, 200, "status", "updated")
	h.expect(t, "web1", "POST", at+"/status", `{"status":"Completed"}`, 200, "status", "updated")
	h.expect(t, "web1", "POST", at+"/lease", `{"seconds":60}`, 409, "error", "conflict")
	h.expect(t, "web2", "POST", at+"/lease", `{"seconds":60}`, 403, "error", "forbidden")
}

func TestAKeyThatTheServerMadeIsPickedUpAndNeverCached(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.joined(t, "web1", "")
	target := h.make(t, "/api/v1/targets", `{"name":"web","type":"NGINX","agent_id":"`+id+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)["id"].(string)
	made := h.make(t, "/api/v1/certificates?wait=30", `{"common_name":"a.example.com","key_source":"server","target_ids":["`+target+`"]}`)
	got := h.ask(t, "web1", "GET", "/api/v1/agents/"+id+"/certificates/"+made["id"].(string), "")
	out := got.json(t)
	if got.status != 200 || out["private_key_pem"] != made["private_key_pem"] || out["certificate_pem"] != made["version"].(map[string]any)["pem_chain"] || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", got.status, got.header, got.text)
	}
	h.expect(t, "viewer", "GET", "/api/v1/audit?action=certificate.key_delivered&resource_id="+made["id"].(string), "", 200, "total", "2") // with the answer, and now
	for _, agent := range h.ask(t, "admin", "GET", "/api/v1/agents", "").json(t)["data"].([]any) {
		if _, shown := agent.(map[string]any)["api_key"]; shown {
			t.Error("a list shows the key of an agent")
		}
	}
}
