package rest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// lists are the operations that answer with a page.
func (d document) lists() (ops []api.Info) {
	for _, op := range api.Operations() {
		if d.takes(op, "per_page") {
			ops = append(ops, op)
		}
	}
	return ops
}

// takes tells whether an operation has a query parameter.
func (d document) takes(op api.Info, name string) bool {
	return slices.ContainsFunc(d.operations[op.ID].Parameters, func(p parameter) bool { return p.Name == name && p.In == "query" })
}

// of is the path of a list; one that is below a certificate gets one.
func (c crowd) of(t *testing.T, op api.Info) string {
	t.Helper()
	if !strings.Contains(op.Path, "{id}") {
		return op.Path
	}
	base, _, _ := strings.Cut(op.Path, "/{")
	return strings.Replace(op.Path, "{id}", makers()[base](t, c.house, leafward.DefaultTeam), 1)
}

func TestEveryListHasPagesOfOneForm(t *testing.T) {
	c := newCrowd(t)
	if n := len(c.doc.lists()); n < 14 {
		t.Fatalf("%d lists", n)
	}
	for _, op := range c.doc.lists() {
		path := c.of(t, op)
		for query, want := range map[string][2]float64{"": {1, 50}, "?page=2&per_page=500": {2, 500}, "?per_page=1": {1, 1}} {
			r := c.ask(t, "admin", "GET", path+query, "")
			out := r.json(t)
			if _, list := out["data"].([]any); r.status != 200 || !list || out["page"] != want[0] || out["per_page"] != want[1] || out["total"] == nil {
				t.Errorf("%s%s: %d %.300s", op.ID, query, r.status, r.text)
			}
		}
		for query, field := range map[string]string{"?per_page=0": "per_page", "?per_page=501": "per_page", "?per_page=many": "per_page", "?page=0": "page", "?page=-1": "page", "?sort=colour": "sort", "?cursor=x": "cursor"} {
			r := c.ask(t, "admin", "GET", path+query, "")
			if out := r.refusal(t, 400, "invalid_request"); !strings.Contains(fmt.Sprint(out["fields"]), "field:"+field) {
				t.Errorf("%s%s: %s", op.ID, query, r.text)
			}
		}
	}
}

func TestAListOfNothingIsEmptyAndNotNull(t *testing.T) {
	c := crowd{house: newHouse(t, storetest.SQLite(t, nil)), doc: readDocument(t)}
	for _, op := range c.doc.lists() {
		path := c.of(t, op)
		for _, filter := range []string{"name", "action", "team_id", "batch_id"} {
			if c.doc.takes(op, filter) {
				path += "?" + filter + "=nothing"
				break
			}
		}
		if r := c.ask(t, "admin", "GET", path, ""); r.status != 200 || !strings.Contains(r.text, `"data":[]`) || r.json(t)["total"] != 0.0 {
			t.Errorf("%s: %d %.300s", path, r.status, r.text)
		}
	}
}

func TestATimeThatIsNotKnownYetIsNeverTheYearOne(t *testing.T) {
	c := newCrowd(t)
	looked := 0
	for _, op := range api.Operations() {
		if op.Method != http.MethodGet || op.Elsewhere != nil || strings.Contains(op.Path, "{cert_id}") || op.ID == api.GetServer.ID {
			continue
		}
		path := op.Path
		if base, _, one := strings.Cut(op.Path, "/{"); one {
			path = strings.Replace(path, "{id}", makers()[base](t, c.house, leafward.DefaultTeam), 1)
		}
		looked++
		if r := c.ask(t, "admin", "GET", path, ""); strings.Contains(r.text, "0001-01-01") || r.status >= 500 {
			t.Errorf("%s: %d %.1000s", op.ID, r.status, r.text)
		}
	}
	if looked < 30 {
		t.Errorf("%d answers were looked at", looked)
	}
}

// keysOf are the keys that a list says it sorts by.
func (c crowd) keysOf(t *testing.T, path string) []string {
	t.Helper()
	fields := c.ask(t, "admin", "GET", path+"?sort=colour", "").json(t)["fields"].([]any)
	_, words, _ := strings.Cut(fields[0].(map[string]any)["fix"].(string), "use one of ")
	words, _, _ = strings.Cut(words, ", with - in front")
	return strings.Split(words, ", ")
}

// less compares two values of a property; what is not there comes first.
func less(a, b any) bool {
	x, y := fmt.Sprint(a), fmt.Sprint(b)
	p, errP := time.Parse(time.RFC3339Nano, x)
	q, errQ := time.Parse(time.RFC3339Nano, y)
	switch {
	case errP == nil && errQ == nil:
		return p.Before(q)
	case a == nil || b == nil:
		return a == nil && b != nil
	}
	return x < y
}

func TestEveryListSortsByEachOfItsKeysBothWays(t *testing.T) {
	c := newCrowd(t)
	for _, op := range c.doc.lists() {
		base := strings.TrimSuffix(op.Path, "/retired")
		path := c.of(t, op)
		for range 3 {
			if makers()[base] != nil && base != "/api/v1/teams" {
				makers()[base](t, c.house, leafward.DefaultTeam)
			}
		}
		for _, key := range c.keysOf(t, path) {
			var ids [2][]string
			for i, sign := range []string{"", "-"} {
				r := c.ask(t, "admin", "GET", path+"?per_page=500&sort="+sign+key, "")
				rows, _ := r.json(t)["data"].([]any)
				var last any
				for n, row := range rows {
					value := row.(map[string]any)[key]
					if n > 0 && (i == 0 && less(value, last) || i == 1 && less(last, value)) {
						t.Errorf("%s by %s%s: %v stands behind %v", op.ID, sign, key, value, last)
					}
					last = value
					ids[i] = append(ids[i], fmt.Sprint(row.(map[string]any)["id"]))
				}
				if r.status != 200 {
					t.Errorf("%s by %s%s: %d %s", op.ID, sign, key, r.status, r.text)
				}
			}
			if slices.Reverse(ids[1]); !slices.Equal(ids[0], ids[1]) {
				t.Errorf("%s by %s and back: %v and %v", op.ID, key, ids[0], ids[1])
			}
		}
	}
}

// filters are, for each list, the values by which the furniture is found, and nothing else.
func filters() map[string]map[string]string {
	own := map[string]string{"name": "own", "team_id": "t-only"}
	return map[string]map[string]string{
		"listTeams":           {"name": "own"},
		"listOwners":          {"name": "own", "team_id": "t-only", "email": "own@example.com"},
		"listProfiles":        own,
		"listRenewalPolicies": own,
		"listIssuers":         {"name": "own", "team_id": "t-only", "type": "GenericCA", "enabled": "false"},
		"listTargets":         {"name": "own", "team_id": "t-only", "type": "NGINX", "agent_id": "ag-only"},
		"listAgents":          {"name": "own", "team_id": "t-only", "status": "Online"},
		"listRetiredAgents":   own,
		"listKeys":            own,
		"listCertificates": {
			"name": "own", "team_id": "t-only", "common_name": "own.example.com", "environment": "live", "owner_id": "o-only", "issuer_id": "iss-only", "certificate_profile_id": "prof-only",
			"renewal_policy_id": "rp-only", "target_id": "tgt-only", "agent_id": "ag-only", "status": "Archived", "version_revoked": "true",
		},
	}
}

// filteredElsewhere are lists whose filters have tests of their own.
func filteredElsewhere() []string {
	return []string{"listJobs", "listAuditEvents", "listAgentInvitations"}
}

func TestEveryFilterFindsWhatItNamesAndNothingElse(t *testing.T) {
	c := newCrowd(t)
	c.furnishOnly(t)
	for _, op := range c.doc.lists() {
		if slices.Contains(filteredElsewhere(), op.ID) {
			continue
		}
		for _, p := range c.doc.operations[op.ID].Parameters {
			if slices.Contains([]string{"page", "per_page", "cursor", "sort", "q"}, p.Name) || p.In != "query" {
				continue
			}
			value := filters()[op.ID][p.Name]
			if value == "" {
				t.Errorf("%s: nobody shows the filter %s", op.ID, p.Name)
				continue
			}
			out := c.ask(t, "admin", "GET", op.Path+"?"+p.Name+"="+value, "").json(t)
			if !found(out, p.Name, value) {
				t.Errorf("%s by %s=%s: %v", op.ID, p.Name, value, out)
			}
			if none := c.ask(t, "admin", "GET", op.Path+"?"+p.Name+"=no-such", ""); none.status != 400 && none.json(t)["total"] != 0.0 {
				t.Errorf("%s by %s=no-such: %d %s", op.ID, p.Name, none.status, none.text)
			}
		}
	}
}

// found tells whether a page has the one thing that is called own, and nothing that the filter does not fit.
func found(page map[string]any, filter, value string) (own bool) {
	rows, _ := page["data"].([]any)
	for _, one := range rows {
		row := one.(map[string]any)
		shown, has := row[filter]
		if !has && len(rows) > 1 || has && fmt.Sprint(shown) != value {
			return false
		}
		own = own || row["name"] == "own"
	}
	return own
}

// furnishOnly makes, for each list, one thing of a team that has nothing else.
func (c crowd) furnishOnly(t *testing.T) {
	t.Helper()
	c.make(t, "/api/v1/teams", `{"id":"t-only","name":"own"}`)
	for _, made := range [][2]string{
		{"owners", `"id":"o-only","email":"own@example.com"`},
		{"profiles", `"id":"prof-only"`},
		{"renewal-policies", `"id":"rp-only"`},
		{"issuers", `"id":"iss-only","type":"GenericCA"`},
		{"agents", `"id":"ag-gone"`},
		{"keys", `"role":"viewer"`},
	} {
		c.make(t, "/api/v1/"+made[0], `{"name":"own","team_id":"t-only",`+made[1]+"}")
	}
	c.send(t, "admin", "DELETE", "/api/v1/agents/ag-gone", "")
	c.keys["own agent"] = c.make(t, "/api/v1/agents", `{"id":"ag-only","name":"own","team_id":"t-only"}`)["api_key"].(string)
	c.expect(t, "own agent", "POST", "/api/v1/agents/ag-only/heartbeat", `{}`, 200, "", "")
	c.make(t, "/api/v1/targets", `{"id":"tgt-only","name":"own","team_id":"t-only","type":"NGINX","agent_id":"ag-only","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)
	for _, base := range []string{"/api/v1/agents", "/api/v1/targets", "/api/v1/certificates", "/api/v1/owners", "/api/v1/issuers", "/api/v1/profiles"} {
		makers()[base](t, c.house, leafward.DefaultTeam)
	}
	id := c.make(t, "/api/v1/certificates", `{"name":"own","team_id":"t-only","common_name":"own.example.com","environment":"live","owner_id":"o-only","issuer_id":"iss-only",
		"certificate_profile_id":"prof-only","renewal_policy_id":"rp-only","target_ids":["tgt-only"]}`)["id"].(string)
	c.make(t, "/api/v1/certificates", `{"id":"mc-archived","name":"own","common_name":"archived.example.com"}`)
	c.expect(t, "admin", "PUT", "/api/v1/issuers/iss-only", `{"enabled":false}`, 200, "", "")
	c.expect(t, "admin", "DELETE", "/api/v1/certificates/mc-archived", "", 204, "", "")
	c.expect(t, "admin", "GET", "/api/v1/certificates/"+id, "", 200, "name", "own")
	struck := c.make(t, "/api/v1/certificates?wait=30", `{"id":"mc-struck","name":"own","common_name":"struck.example.com","key_source":"server"}`)
	c.expect(t, "admin", "POST", "/api/v1/certificates/mc-struck/revoke", fmt.Sprintf(`{"reason":"superseded","version_id":%q}`, struck["version"].(map[string]any)["id"]), 200, "status", "revoked")
}

func TestEventsAreFoundByEachOfTheirFilters(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	owner := h.make(t, "/api/v1/owners", `{"name":"first"}`)["id"].(string)
	h.make(t, "/api/v1/owners", `{"name":"second"}`)
	h.make(t, "/api/v1/profiles", `{"name":"third"}`)
	all := h.ask(t, "admin", "GET", "/api/v1/audit?resource_type=owner&sort=timestamp", "").json(t)
	events := all["data"].([]any)
	if all["total"] != 2.0 {
		t.Fatalf("%v", all)
	}
	first, second := events[0].(map[string]any), events[1].(map[string]any)
	h.expect(t, "viewer", "GET", "/api/v1/audit/"+first["id"].(string), "", 200, "resource_id", owner)
	for query, total := range map[string]float64{
		"action=owner.created": 2, "resource_id=" + owner: 1, "resource_type=profile": 1, "resource_type=shoe": 0, "actor=" + first["actor"].(string): 3, "actor=pr-none": 0,
		"action=owner.created&to=" + second["timestamp"].(string): 1, "action=owner.created&from=" + second["timestamp"].(string): 1, "to=2001-01-01T00:00:00Z": 0, "from=2101-01-01T00:00:00Z": 0,
	} {
		if out := h.ask(t, "viewer", "GET", "/api/v1/audit?"+query, "").json(t); out["total"] != total {
			t.Errorf("%s: %v", query, out)
		}
	}
	h.expect(t, "viewer", "GET", "/api/v1/audit?from=yesterday", "", 400, "error", "invalid_request")
}

func TestInvitationsAreFoundByTheirTeam(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	h.make(t, "/api/v1/teams", `{"id":"t-own","name":"own"}`)
	id := h.make(t, "/api/v1/agents/invitations", `{"name":"a","team_id":"t-own"}`)["id"].(string)
	h.make(t, "/api/v1/agents/invitations", `{"name":"b"}`)
	out := h.expect(t, "admin", "GET", "/api/v1/agents/invitations?team_id=t-own", "", 200, "total", "1")
	if out["data"].([]any)[0].(map[string]any)["id"] != id {
		t.Errorf("%v", out)
	}
	h.expect(t, "admin", "GET", "/api/v1/agents/invitations?team_id=t-none", "", 200, "total", "0")
}

func TestACertificateIsFoundByTheBeginningOfWhateverIsKnownOfIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		made := h.make(t, "/api/v1/certificates?wait=30", `{"name":"Shop front","common_name":"shop.example.com","sans":["www.inner.example.org","192.0.2.77"],"tags":{"app":"bakery"},"key_source":"server"}`)
		h.make(t, "/api/v1/certificates?wait=30", `{"name":"other","common_name":"other.example.net","key_source":"server"}`)
		version := made["version"].(map[string]any)
		serial, print := version["serial_number"].(string), version["fingerprint_sha256"].(string)
		for _, words := range []string{
			made["id"].(string), "shop f", "SHOP", "shop.exa", "inner.ex", "example.or", "www.inner.example.org", "192.0.2.7", "bake", "app=bak", serial, serial[:12], print, strings.ToUpper(print[:16]),
		} {
			out := h.ask(t, "viewer", "GET", "/api/v1/certificates?q="+url.QueryEscape(words), "").json(t)
			rows, _ := out["data"].([]any)
			if len(rows) != 1 || out["total"] != 1.0 || rows[0].(map[string]any)["id"] != made["id"] {
				t.Errorf("%q finds %v", words, out["total"])
			}
		}
		for _, words := range []string{"hop", "front", "xample", "92.0", serial[1:12], "no such"} {
			h.expect(t, "viewer", "GET", "/api/v1/certificates?q="+url.QueryEscape(words), "", 200, "total", "0")
		}
	})
}
