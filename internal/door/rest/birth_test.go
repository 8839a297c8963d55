package rest_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// prefixes are those of the ids of things, by the list that they stand in.
func prefixes() map[string]string {
	return map[string]string{
		"/api/v1/teams": "t-", "/api/v1/owners": "o-", "/api/v1/profiles": "prof-", "/api/v1/issuers": "iss-", "/api/v1/certificates": "mc-", "/api/v1/agents": "ag-",
		"/api/v1/targets": "tgt-", "/api/v1/jobs": "job-", "/api/v1/audit": "ev-",
	}
}

// born is a new thing of a list.
func (c crowd) born(t *testing.T, base string) string {
	t.Helper()
	if base == "/api/v1/teams" {
		return posted(base, `"name":"t #"`)(t, c.house, "")
	}
	return makers()[base](t, c.house, leafward.DefaultTeam)
}

func TestAnIdIsThePrefixOfItsNounAndAUUIDOfItsTime(t *testing.T) {
	c := newCrowd(t)
	uuid7 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for base, prefix := range prefixes() {
		last := 0.0
		for range 2 {
			id := c.born(t, base)
			if rest, found := strings.CutPrefix(id, prefix); !found || !uuid7.MatchString(rest) {
				t.Errorf("%s has the id %s", base, id)
			}
			out := c.ask(t, "admin", "GET", base+"/"+id, "").json(t)
			if own, ok := out["uuid"].(string); ok && (!uuid.MatchString(own) || seen[own]) {
				t.Errorf("%s has the uuid %s", base, own)
			} else {
				seen[own] = true
			}
			if number, ok := out["number"].(float64); ok && number <= last {
				t.Errorf("%s has the number %v behind %v", base, number, last)
			} else {
				last = number
			}
		}
	}
	c.expect(t, "admin", "POST", "/api/v1/renewal-policies", `{"name":"Ünter den Linden, 7"}`, 201, "id", "rp-nter-den-linden-7")
	made := c.make(t, "/api/v1/certificates?wait=30", `{"common_name":"v.example.com","key_source":"server"}`)
	if version := made["version"].(map[string]any); !uuid7.MatchString(strings.TrimPrefix(version["id"].(string), "cv-")) || !uuid.MatchString(version["uuid"].(string)) || version["number"] == 0.0 {
		t.Errorf("%v", version)
	}
}

func TestAWordOfAPathIsNoId(t *testing.T) {
	c := newCrowd(t)
	for _, create := range api.Operations() {
		body, takes := c.doc.body(create)
		if _, chosen := body.Properties["id"]; !takes || !chosen || create.Method != http.MethodPost {
			continue
		}
		words := []string{"Capital", "a/b", "-a", ".", "ä", strings.Repeat("a", 129)}
		for _, op := range api.Operations() {
			if word, below := strings.CutPrefix(op.Path, create.Path+"/"); below && !strings.HasPrefix(word, "{") {
				words = append(words, strings.Split(word, "/")[0])
			}
		}
		for _, word := range words {
			status, out, _ := c.send(t, writer(create.Path), "POST", create.Path, fmt.Sprintf(`{%s,"id":%q}`, fill(c.properties(t)[create.Path]), word))
			if status != 400 || !strings.Contains(fmt.Sprint(out["fields"]), "field:id") {
				t.Errorf("%s with the id %q: %d %v", create.ID, word, status, out)
			}
		}
	}
}

func TestANameIsTakenInItsTeamOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		h.make(t, "/api/v1/teams", `{"id":"t-other","name":"other"}`)
		h.expect(t, "admin", "POST", "/api/v1/teams", `{"name":"other"}`, 409, "error", "conflict")
		h.make(t, "/api/v1/agents", `{"id":"ag-shared","name":"shared"}`)
		for path, properties := range map[string]string{
			"owners": "", "profiles": "", "renewal-policies": "", "agents": "", "issuers": `,"type":"GenericCA"`, "certificates": `,"common_name":"a.example.com"`,
			"targets": `,"type":"NGINX","agent_id":"ag-shared","config":{"cert_path":"/etc/c#.pem","key_path":"/etc/k#.pem"}`,
		} {
			body := func(name, team string) string {
				return fmt.Sprintf(`{"name":%q,"team_id":%q%s}`, name, team, fill(properties))
			}
			path = "/api/v1/" + path
			first := h.make(t, path, body("same", leafward.DefaultTeam))
			h.expect(t, "admin", "POST", path, body("same", leafward.DefaultTeam), 409, "error", "conflict")
			h.make(t, path, body("same", "t-other"))
			second := h.make(t, path, body("different", leafward.DefaultTeam)) // certificates may share a common name
			if path != "/api/v1/agents" {
				h.expect(t, "admin", "PUT", path+"/"+second["id"].(string), `{"name":"same"}`, 409, "error", "conflict")
				h.expect(t, "admin", "PUT", path+"/"+first["id"].(string), `{"name":"free"}`, 200, "name", "free")
			}
		}
	})
}

func TestWhatIsNotSaidOnCreateIsTheSeedsAndSwitchedOn(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for name, body := range map[string]string{"a.example.com": `{"common_name":"a.example.com"}`, "b.example.com": `{"sans":["b.example.com"]}`} {
		made := h.make(t, "/api/v1/certificates", body)
		for property, want := range map[string]string{
			"name": name, "owner_id": "o-default", "team_id": "t-default", "issuer_id": "iss-local", "certificate_profile_id": "prof-server", "renewal_policy_id": "rp-default", "key_source": "agent",
			"reuse_key": "false", "ttl_seconds": "0", "target_ids": "[]", "tags": "map[]", "status": "Pending",
		} {
			if fmt.Sprint(made[property]) != want {
				t.Errorf("%s: %s is %v", name, property, made[property])
			}
		}
	}
	agent := h.make(t, "/api/v1/agents", `{"name":"a"}`)["id"].(string)
	for path, body := range map[string]string{
		"issuers": `{"name":"i","type":"GenericCA"}`, "profiles": `{"name":"p"}`, "targets": `{"name":"t","type":"NGINX","agent_id":"` + agent + `","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`,
	} {
		if made := h.make(t, "/api/v1/"+path, body); made["enabled"] != true {
			t.Errorf("%s: %v", path, made)
		}
	}
}

func TestTheSeedsAreThere(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for path, want := range map[string]map[string]string{
		"issuers/iss-local": {"type": "GenericCA", "enabled": "true", "team_id": ""},
		"profiles/prof-server": {
			"max_ttl_seconds": "7.776e+06", "default_ttl_seconds": "7.776e+06", "allowed_ekus": "[serverAuth]", "enabled": "true", "team_id": "", "required_san_patterns": "[]",
			"allowed_key_algorithms": "[map[algorithm:ECDSA min_size:256] map[algorithm:RSA min_size:2048] map[algorithm:Ed25519]]",
		},
		"renewal-policies/rp-default": {"renewal_window_days": "30", "auto_renew": "true", "max_retries": "3", "retry_interval_seconds": "3600", "alert_thresholds_days": "[30 14 7 0]", "team_id": ""},
		"owners/o-default":            {"team_id": "t-default"},
		"teams/t-default":             {},
	} {
		out := h.expect(t, "viewer", "GET", "/api/v1/"+path, "", 200, "", "")
		for property, value := range want {
			if fmt.Sprint(out[property]) != value {
				t.Errorf("%s: %s is %v", path, property, out[property])
			}
		}
	}
	made := h.make(t, "/api/v1/renewal-policies", `{"name":"plain"}`)
	if made["max_retries"] != 3.0 || made["renewal_window_days"] != 30.0 || made["auto_renew"] != true || made["literal_window"] != false || made["certificate_profile_id"] != nil {
		t.Errorf("%v", made)
	}
}

func TestAPutKeepsWhatIsAbsentClearsWhatIsNullAndReplacesTheRestWhole(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for _, c := range []struct{ path, create, put, property, want string }{
		{"certificates", `{"common_name":"a.example.com","environment":"live","tags":{"a":"1","b":"2"}}`, `{"tags":{"c":"3"}}`, "tags", "map[c:3]"},
		{"certificates", `{"common_name":"b.example.com","environment":"live","tags":{"a":"1"}}`, `{"tags":{"c":"3"}}`, "environment", "live"},
		{"certificates", `{"common_name":"c.example.com","environment":"live","tags":{"a":"1"}}`, `{"tags":null}`, "tags", "map[]"},
		{"certificates", `{"common_name":"d.example.com","environment":"live"}`, `{"environment":null}`, "environment", ""},
		{"certificates", `{"common_name":"e.example.com","sans":["e1.example.com","e2.example.com"]}`, `{"sans":["e3.example.com"]}`, "sans", "[e3.example.com]"},
		{"certificates", `{"common_name":"f.example.com","sans":["f1.example.com"]}`, `{"sans":null}`, "sans", "[]"},
		{"certificates", `{"common_name":"g.example.com","ttl_seconds":2592000}`, `{"ttl_seconds":null}`, "ttl_seconds", "0"},
		{"profiles", `{"name":"a","allowed_ekus":["serverAuth","clientAuth"]}`, `{"allowed_ekus":["codeSigning"]}`, "allowed_ekus", "[codeSigning]"},
		{"profiles", `{"name":"b","allowed_ekus":["clientAuth"],"max_ttl_seconds":864000}`, `{"description":"x"}`, "max_ttl_seconds", "864000"},
		{"profiles", `{"name":"c","required_san_patterns":["*.example.com"]}`, `{"required_san_patterns":null}`, "required_san_patterns", "[]"},
		{"profiles", `{"name":"d","enabled":false}`, `{"description":"x"}`, "enabled", "false"},
		{"renewal-policies", `{"name":"a","max_retries":7}`, `{"max_retries":null}`, "max_retries", "3"},
		{"renewal-policies", `{"name":"b","alert_thresholds_days":[9,4]}`, `{"alert_thresholds_days":[5]}`, "alert_thresholds_days", "[5]"},
		{"renewal-policies", `{"name":"c","max_retries":7}`, `{"auto_renew":false}`, "max_retries", "7"},
		{"owners", `{"name":"a","email":"a@example.com"}`, `{"email":null}`, "email", ""},
		{"owners", `{"name":"b","email":"b@example.com"}`, `{"name":"bb"}`, "email", "b@example.com"},
	} {
		at := "/api/v1/" + c.path + "/" + h.make(t, "/api/v1/"+c.path, c.create)["id"].(string)
		h.expect(t, "admin", "PUT", at, c.put, 200, c.property, c.want)
		h.expect(t, "viewer", "GET", at, "", 200, c.property, c.want)
	}
}

// changeable are the lists whose things a PUT changes.
func changeable() (bases []string) {
	for _, op := range api.Operations() {
		if op.Method == http.MethodPut {
			bases = append(bases, strings.TrimSuffix(op.Path, "/{id}"))
		}
	}
	return bases
}

func TestWhatWasAnsweredMayBeSentBackAndChangesNothing(t *testing.T) {
	c := newCrowd(t)
	issued := c.make(t, "/api/v1/certificates?wait=30", `{"common_name":"a.example.com","key_source":"server"}`)["id"].(string)
	if n := len(changeable()); n != 7 {
		t.Errorf("%d lists", n)
	}
	for _, base := range changeable() {
		ids := []string{c.born(t, base)}
		if base == "/api/v1/certificates" {
			ids = append(ids, issued)
		}
		for _, id := range ids {
			before := c.ask(t, "admin", "GET", base+"/"+id, "")
			after := c.ask(t, "admin", "PUT", base+"/"+id, before.text)
			if before.status != 200 || after.status != 200 || after.text != before.text || before.header.Get("ETag") == "" || after.header.Get("ETag") != before.header.Get("ETag") {
				t.Errorf("%s: %d %s became %d %s", base, before.status, before.text, after.status, after.text)
			}
		}
	}
}

func TestAChangeIsOfWhatTheCallerSaw(t *testing.T) {
	c := newCrowd(t)
	for _, base := range changeable() {
		at := base + "/" + c.born(t, base)
		seen := c.ask(t, "admin", "GET", at, "")
		old := seen.header.Get("ETag")
		if want := fmt.Sprintf("%q", fmt.Sprint(seen.json(t)["revision"])); old != want {
			t.Errorf("%s: the ETag is %s, and the revision %s", base, old, want)
		}
		changed := c.ask(t, "admin", "PUT", at, fill(`{"name":"renamed #"}`), "If-Match", old)
		if changed.status != 200 || changed.header.Get("ETag") == old {
			t.Errorf("%s: %d %s", base, changed.status, changed.text)
		}
		c.ask(t, "admin", "PUT", at, fill(`{"name":"lost #"}`), "If-Match", old).refusal(t, 412, "precondition_failed")
		c.ask(t, "admin", "DELETE", at, "", "If-Match", old).refusal(t, 412, "precondition_failed")
		if now := c.ask(t, "admin", "GET", at, ""); now.text != changed.text {
			t.Errorf("%s: what was refused was done: %s", base, now.text)
		}
		if gone := c.ask(t, "admin", "DELETE", at, "", "If-Match", changed.header.Get("ETag")); gone.status != 204 {
			t.Errorf("%s: %d %s", base, gone.status, gone.text)
		}
	}
}

func TestWhatIsReferredToIsKeptAndTheCountsSayBy(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	h.furnish(t)
	h.make(t, "/api/v1/owners", `{"id":"o-team","name":"team","team_id":"t-own"}`)
	h.make(t, "/api/v1/certificates", `{"common_name":"a.example.com","owner_id":"o-own","issuer_id":"iss-own","certificate_profile_id":"prof-own","renewal_policy_id":"rp-own","target_ids":["tgt-own"]}`)
	for path, by := range map[string]string{
		"teams/t-own": "owners", "owners/o-own": "certificates", "issuers/iss-own": "certificates", "profiles/prof-own": "certificates", "renewal-policies/rp-own": "certificates", "targets/tgt-own": "installations",
	} {
		out := h.expect(t, "admin", "DELETE", "/api/v1/"+path, "", 409, "error", "conflict")
		if counts, _ := out["counts"].(map[string]any); counts[by] != 1.0 || out["fix"] == nil {
			t.Errorf("%s: %v", path, out)
		}
		h.expect(t, "viewer", "GET", "/api/v1/"+path, "", 200, "", "")
	}
}

func TestWhatIsArchivedIsShownWhenItIsAskedForAndKeepsItsHistory(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		id := h.make(t, "/api/v1/certificates?wait=30", `{"common_name":"a.example.com","key_source":"server"}`)["id"].(string)
		at := "/api/v1/certificates/" + id
		h.expect(t, "operator", "DELETE", at, "", 204, "", "")
		h.expect(t, "viewer", "GET", "/api/v1/certificates", "", 200, "total", "0")
		archived := h.expect(t, "viewer", "GET", "/api/v1/certificates?status=Archived", "", 200, "total", "1")
		if archived["data"].([]any)[0].(map[string]any)["id"] != id {
			t.Errorf("%v", archived)
		}
		h.expect(t, "viewer", "GET", at, "", 200, "status", "Archived")
		h.expect(t, "viewer", "GET", at+"/versions", "", 200, "total", "1")
		events := h.ask(t, "viewer", "GET", "/api/v1/audit?resource_id="+id, "").json(t)
		actions := fmt.Sprint(events["data"])
		for _, action := range []string{"certificate.requested", "certificate.issued", "certificate.archived"} {
			if !strings.Contains(actions, action) {
				t.Errorf("%s is not on record", action)
			}
		}
		for _, path := range []string{"/renew", "/deploy"} {
			h.expect(t, "operator", "POST", at+path, "", 409, "error", "conflict")
		}
	})
}

func TestAClientCannotWriteWhatACertificateIsShownAs(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	at := "/api/v1/certificates/" + h.make(t, "/api/v1/certificates", `{"common_name":"a.example.com"}`)["id"].(string)
	for _, status := range leafward.CertificateStatuses() {
		want := 400
		if status == leafward.StatusPending { // as it is
			want = 200
		}
		h.expect(t, "admin", "PUT", at, fmt.Sprintf(`{"status":%q}`, status), want, "", "")
		if want == 400 {
			h.expect(t, "admin", "POST", "/api/v1/certificates", fmt.Sprintf(`{"common_name":"b.example.com","status":%q}`, status), 400, "", "")
		}
	}
}
