package rest_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// maker makes something that belongs to a team ("": to all) and returns its id.
type maker func(t *testing.T, h house, team string) string

// makers say how to make what the operations below a path are about.
func makers() map[string]maker {
	return map[string]maker{
		"/api/v1/teams":            func(_ *testing.T, _ house, team string) string { return team },
		"/api/v1/owners":           posted("/api/v1/owners", `"name":"o #"`),
		"/api/v1/profiles":         posted("/api/v1/profiles", `"name":"p #"`),
		"/api/v1/renewal-policies": posted("/api/v1/renewal-policies", `"name":"r #"`),
		"/api/v1/issuers":          posted("/api/v1/issuers", `"type":"GenericCA","name":"i #"`),
		"/api/v1/authorities":      authorityOf,
		"/api/v1/certificates":     posted("/api/v1/certificates", `"common_name":"c#.example.com"`),
		"/api/v1/keys":             posted("/api/v1/keys", `"role":"viewer","name":"k #"`),
		"/api/v1/audit":            eventOf,
		"/api/v1/jobs":             jobOf,
		"/api/v1/batches":          batchOf,

		"/api/v1/agents":             agentOf,
		"/api/v1/agents/invitations": invitationOf,
		"/api/v1/targets":            targetOf,
	}
}

// bodies are those of operations that refuse an empty object before they look for what they are about.
func bodies() map[string]string {
	return map[string]string{
		"agentReportJobStatus": `{"status":"Running"}`, "agentLeaseJob": `{"seconds":60}`, "agentAddJobSteps": `[]`, "agentSubmitCSR": `{"csr_pem":"none"}`, "submitCertificateCSR": `{"csr_pem":"none"}`,
		"copyAuthorityKey": `{"recipients":["none"]}`, "takeAuthorityOffline": `{"copy_sha256":"none"}`, "bringAuthorityOnline": `{"sealed_key":"none"}`,
	}
}

// properties are enough to make a thing by a POST to the path.
func (c crowd) properties(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"/api/v1/teams":                      `"name":"t #"`,
		"/api/v1/owners":                     `"name":"o #"`,
		"/api/v1/profiles":                   `"name":"p #"`,
		"/api/v1/renewal-policies":           `"name":"r #"`,
		"/api/v1/issuers":                    `"type":"GenericCA","name":"i #"`,
		"/api/v1/keys":                       `"role":"viewer","name":"k #"`,
		"/api/v1/certificates":               `"common_name":"c#.example.com"`,
		"/api/v1/certificates/bulk-revoke":   `"reason":"superseded","certificate_ids":["mc-#"]`,
		"/api/v1/certificates/bulk-renew":    `"certificate_ids":["mc-#"]`,
		"/api/v1/certificates/bulk-reassign": `"certificate_ids":["mc-#"],"owner_id":"o-default"`,
		"/api/v1/certificates/import":        `"environment":"lab"`,
		"/api/v1/agents":                     `"name":"a #"`,
		"/api/v1/agents/invitations":         `"name":"a #"`,
		"/api/v1/targets":                    fmt.Sprintf(`"name":"w #","type":"NGINX","agent_id":%q,"config":{"cert_path":"/etc/c#.pem","key_path":"/etc/k#.pem"}`, c.agents[leafward.DefaultTeam]),
	}
}

// fill puts something that no other thing has where # stands.
func fill(properties string) string {
	return strings.ReplaceAll(properties, "#", strings.ToLower(rand.Text()))
}

// posted makes a thing through the API, as an administrator of all teams.
func posted(path, properties string) maker {
	return func(t *testing.T, h house, team string) string {
		t.Helper()
		body := "{" + fill(properties)
		if team != "" {
			body += fmt.Sprintf(`,"team_id":%q`, team)
		}
		status, out, _ := h.send(t, "admin", "POST", path, body+"}")
		if status != 201 {
			t.Fatalf("%s %s: %d %v", path, body, status, out)
		}
		return out["id"].(string)
	}
}

// authorityOf is the root of an issuer of a team, which is switched off, so that the root can go offline.
func authorityOf(t *testing.T, h house, team string) string {
	t.Helper()
	id := posted("/api/v1/issuers", `"type":"GenericCA","enabled":false,"name":"i #"`)(t, h, team)
	status, out, _ := h.send(t, "admin", "GET", "/api/v1/issuers/"+id, "")
	if status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	return out["authority_id"].(string)
}

// jobOf is a deployment of a team.
func jobOf(t *testing.T, h house, team string) string {
	t.Helper()
	j := leafward.Job{Kind: leafward.DeployJob, Type: leafward.Deployment, Subject: "in-" + rand.Text(), Team: team}
	if err := h.db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		_, err := job.Enqueue(tx, &j)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// batchOf is a batch that an administrator of the team asked for.
func batchOf(t *testing.T, h house, team string) string {
	t.Helper()
	who := "other admin"
	if team == leafward.DefaultTeam {
		who = "team admin"
	}
	status, out, _ := h.send(t, who, "POST", "/api/v1/certificates/bulk-renew", `{"certificate_ids":["mc-none"]}`)
	if status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	return out["batch_id"].(string)
}

// agentOf is an agent with a name of its own.
func agentOf(t *testing.T, h house, team string) string {
	t.Helper()
	return posted("/api/v1/agents", fmt.Sprintf(`"name":%q`, "host "+rand.Text()))(t, h, team)
}

func invitationOf(t *testing.T, h house, team string) string {
	t.Helper()
	return posted("/api/v1/agents/invitations", `"name":"`+rand.Text()+`"`)(t, h, team)
}

// targetOf is an nginx on a host of the team.
func targetOf(t *testing.T, h house, team string) string {
	t.Helper()
	return posted("/api/v1/targets", fmt.Sprintf(`"name":"web #","type":"NGINX","agent_id":%q,"config":{"cert_path":"/etc/c#.pem","key_path":"/etc/k#.pem"}`, agentOf(t, h, team)))(t, h, team)
}

// eventOf is the birth of an owner of the team, or that of the first key.
func eventOf(t *testing.T, h house, team string) string {
	t.Helper()
	query := "action=key.created&sort=timestamp"
	if team != "" {
		query = "action=owner.created&resource_id=" + posted("/api/v1/owners", `"name":"o #"`)(t, h, team)
	}
	_, out, _ := h.send(t, "admin", "GET", "/api/v1/audit?"+query, "")
	return out["data"].([]any)[0].(map[string]any)["id"].(string)
}

// alone are the resources that never belong to all teams.
func alone() []string {
	return []string{"/api/v1/teams", "/api/v1/owners", "/api/v1/certificates", "/api/v1/batches"}
}

func TestAListShowsTheOwnTeamAndWhatAllShare(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	other := posted("/api/v1/teams", `"name":"other"`)(t, h, "")
	for _, path := range []string{"/api/v1/profiles", "/api/v1/renewal-policies"} {
		properties := `"name":"listed"`
		theirs := posted(path, properties)(t, h, other)
		own := posted(path, properties)(t, h, leafward.DefaultTeam)
		_, out, _ := h.send(t, "team admin", "GET", path+"?sort=-name", "")
		text := fmt.Sprint(out["data"])
		if !strings.Contains(text, own) || strings.Contains(text, theirs) || out["total"] != 2.0 {
			t.Errorf("%s: %v", path, out)
		}
	}
}

func TestAScopedAdministratorMakesThingsOfTheOwnTeam(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for _, path := range []string{"/api/v1/profiles", "/api/v1/renewal-policies", "/api/v1/owners"} {
		status, out, _ := h.send(t, "team admin", "POST", path, `{"name":"mine"}`)
		if status != 201 || out["team_id"] != leafward.DefaultTeam {
			t.Errorf("%s: %d %v", path, status, out)
		}
		if status, out, _ = h.send(t, "team admin", "POST", path, `{"name":"x","team_id":"t-none"}`); status != 400 {
			t.Errorf("%s in a team that does not exist: %d %v", path, status, out)
		}
	}
}
