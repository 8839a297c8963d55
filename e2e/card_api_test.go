//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// The API of a running server against the OWASP API Security Top 10 (2023), five points for each of the ten.
func TestTheAPIKeepsItsScoreCard(t *testing.T) {
	a := &apiCard{newEstate(t, serve(t, ""))}
	score(t, "OWASP API Top 10", 50, slices.Concat(
		a.objects(), a.authentication(), a.properties(), a.consumption(), a.functions(), a.flows(), a.forgery(), a.configuration(), a.inventory(), a.others(),
	))
}

// apiCard is what the card looks at.
type apiCard struct{ *estate }

// answers holds an answer against a status and returns it.
func (a *apiCard) answers(t *testing.T, status int, who, method, path, body string, headers ...string) answer {
	t.Helper()
	got := a.call(t, a.caller(who), method, path, body, headers...)
	if got.status != status {
		t.Errorf("%s %s as %s with %.100q: %d, want %d: %.300s", method, path, who, body, got.status, status, got.body)
	}
	return got
}

// matrixOf tries the operations that a condition picks, as some callers.
func (a *apiCard) matrixOf(t *testing.T, pick func(api.Info) bool, callers ...string) {
	t.Helper()
	m := &matrix{estate: a.estate, routes: map[string]bool{}}
	var some []caller
	for _, name := range callers {
		some = append(some, a.caller(name))
	}
	for _, op := range api.Operations() {
		if op.Elsewhere == nil && pick(op) {
			m.try(t, op, some)
		}
	}
	if m.refused == 0 {
		t.Error("nobody was refused anything")
	}
}

func one(op api.Info) bool { return strings.Contains(op.Path, "{") }

// objects: API1, broken object level authorization.
func (a *apiCard) objects() []point {
	return []point{
		{name: "API1 what another team has is not there for who reads", shown: func(t *testing.T) {
			a.matrixOf(t, func(op api.Info) bool { return one(op) && op.Method == http.MethodGet }, "team viewer", "team admin", "other admin")
		}},
		{name: "API1 what another team has is not there for who changes", shown: func(t *testing.T) {
			a.matrixOf(t, func(op api.Info) bool { return one(op) && op.Method != http.MethodGet }, "team admin", "other admin")
		}},
		{name: "API1 lists, totals and searches have the own team's alone", shown: func(t *testing.T) {
			for _, base := range []string{"/api/v1/certificates", "/api/v1/owners", "/api/v1/jobs", "/api/v1/targets", "/api/v1/agents"} {
				id := a.make(t, base, ownTeam)
				row := a.admin.get(t, base+"/"+id)
				queries := []string{"?per_page=500"}
				if name := text(row, "name"); name != "" {
					queries = append(queries, "?per_page=500&q="+name)
				}
				for _, query := range queries {
					got := a.answers(t, 200, "other admin", "GET", base+query, "")
					if bytes.Contains(got.body, []byte(`"`+id+`"`)) {
						t.Errorf("%s%s shows %s", base, query, id)
					}
					if got.object()["data"] != nil && int(got.object()["total"].(float64)) != len(got.object()["data"].([]any)) {
						t.Errorf("%s%s counts more than it shows: %v", base, query, got.object()["total"])
					}
				}
			}
		}},
		{name: "API1 an agent reaches its own work alone", shown: func(t *testing.T) {
			a.matrixOf(t, func(op api.Info) bool { return op.Role == leafward.RoleAgent }, "agent", "other agent")
		}},
		{name: "API1 nothing is put into another team or bound to what it has", shown: func(t *testing.T) {
			for path, body := range map[string]string{
				"/api/v1/owners": `{"name":"x","team_id":"t-default"}`, "/api/v1/profiles": `{"name":"x","team_id":"t-default"}`, "/api/v1/keys": `{"name":"x","role":"viewer","team_id":"t-default"}`,
				"/api/v1/certificates": `{"common_name":"x.example.com","team_id":"t-default"}`, "/api/v1/agents": `{"name":"x","team_id":"t-default"}`,
			} {
				a.answers(t, 400, "other admin", "POST", path, body)
			}
			target := a.make(t, "/api/v1/targets", ownTeam)
			a.answers(t, 400, "other admin", "POST", "/api/v1/certificates", fmt.Sprintf(`{"common_name":"x.example.com","target_ids":[%q]}`, target))
		}},
	}
}

// authentication: API2, broken authentication.
func (a *apiCard) authentication() []point {
	return []point{
		{name: "API2 what is no key opens nothing, in whatever form", shown: func(t *testing.T) {
			key := a.caller("viewer").key
			for _, header := range []string{"", "Bearer", "Bearer ", "Bearer lwk_", "Bearer " + key[:len(key)-1], "Bearer " + key + "A", "Bearer " + strings.ToUpper(key), "Basic " + key, key, "Bearer " + key + " " + key} {
				got := a.call(t, caller{name: "nobody"}, "GET", "/api/v1/teams", "", "Authorization", header)
				if got.status != 401 || got.header.Get("WWW-Authenticate") == "" || text(got.object(), "error") != "unauthorized" {
					t.Errorf("%.40q: %d %s", header, got.status, got.body)
				}
			}
			for _, query := range []string{"?key=", "?token=", "?access_token="} {
				if got := a.call(t, caller{name: "nobody"}, "GET", "/api/v1/teams"+query+key, ""); got.status != 401 {
					t.Errorf("a key in the query: %d", got.status)
				}
			}
		}},
		{name: "API2 a revoked key is refused at once", shown: func(t *testing.T) {
			made := a.admin.expect(t, 201, "POST", "/api/v1/keys", object{"name": "short", "role": "admin"})
			who := caller{name: "short", role: leafward.RoleAdmin, key: text(made, "key")}
			if got := a.call(t, who, "GET", "/api/v1/teams", ""); got.status != 200 {
				t.Errorf("before: %d", got.status)
			}
			a.admin.expect(t, 204, "DELETE", "/api/v1/keys/"+text(made, "id"), nil)
			if got := a.call(t, who, "GET", "/api/v1/teams", ""); got.status != 401 {
				t.Errorf("afterwards: %d", got.status)
			}
		}},
		{name: "API2 keys are 256 random bits, told once and kept as their hashes", shown: func(t *testing.T) {
			seen := map[string]bool{}
			for n := range 8 {
				made := a.admin.expect(t, 201, "POST", "/api/v1/keys", object{"name": fmt.Sprintf("random %d", n), "role": "viewer"})
				key := strings.TrimPrefix(text(made, "key"), "lwk_")
				if seen[key] || len(key) < 43 { // letters of base64
					t.Errorf("%q is a key", key)
				}
				seen[key] = true
				if again := a.answers(t, 200, "admin", "GET", "/api/v1/keys?per_page=500", ""); bytes.Contains(again.body, []byte(key)) {
					t.Error("a key is told again")
				}
				a.nowhere(t, key)
			}
		}},
		{name: "API2 who guesses is slowed down", shown: func(t *testing.T) {
			if !a.hammered(t, "127.0.7.7", "/api/v1/teams", true) {
				t.Error("two thousand guesses were all heard")
			}
		}},
		{name: "API2 a key is taken over TLS alone, and an invitation once", shown: a.once},
	}
}

// hammered has eight hands at one address ask until one is told to wait, and for how long; false when none is. They may guess
// keys.
func (a *apiCard) hammered(t *testing.T, address, path string, guess bool) bool {
	t.Helper()
	client := a.from(t, address)
	var told atomic.Bool
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for n := 0; n < 250 && !told.Load(); n++ {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if guess {
					request.Header.Set("Authorization", "Bearer lwk_"+rand.Text()+rand.Text())
				}
				response, err := client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") != "" {
					told.Store(true)
				}
			}
		})
	}
	asking.Wait()
	return told.Load()
}

// nowhere: what must not be kept is in no file of the server.
func (a *apiCard) nowhere(t *testing.T, secret string) {
	t.Helper()
	files := os.DirFS(a.dir)
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := fs.ReadFile(files, path)
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s has it", path)
		}
		if errors.Is(err, fs.ErrNotExist) { // it is gone meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (a *apiCard) once(t *testing.T) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.plain+"/api/v1/teams", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.caller("admin").key)
	response, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("over plain HTTP a key opens %d", response.StatusCode)
	}
	token := text(a.admin.expect(t, 201, "POST", "/api/v1/agents/invitations", object{"name": "once"}), "token")
	var joining sync.WaitGroup
	var mu sync.Mutex
	joined := 0
	for n := range 8 {
		joining.Go(func() {
			got := a.call(t, caller{name: "joiner", key: token}, "POST", "/api/v1/agents", fmt.Sprintf(`{"name":"once","hostname":"h%d"}`, n))
			mu.Lock()
			defer mu.Unlock()
			if got.status == 201 {
				joined++
			}
		})
	}
	joining.Wait()
	if joined != 1 {
		t.Errorf("%d hosts joined with one invitation", joined)
	}
}

// properties: API3, broken object property level authorization.
func (a *apiCard) properties() []point {
	return []point{
		{name: "API3 properties that do not exist are refused by name", shown: func(t *testing.T) {
			for _, path := range []string{"/api/v1/owners", "/api/v1/profiles", "/api/v1/issuers", "/api/v1/teams", "/api/v1/keys", "/api/v1/targets", "/api/v1/renewal-policies"} {
				if got := a.answers(t, 400, "admin", "POST", path, `{"name":"x","is_admin":true}`); !bytes.Contains(got.body, []byte("is_admin")) {
					t.Errorf("%s does not name it: %s", path, got.body)
				}
			}
		}},
		{name: "API3 what the server sets cannot be written", shown: func(t *testing.T) {
			id := a.make(t, "/api/v1/certificates", ownTeam)
			for _, body := range []string{`{"status":"Active"}`, `{"revoked_at":"2026-01-01T00:00:00Z"}`, `{"expires_at":"2099-01-01T00:00:00Z"}`, `{"id":"mc-other"}`, `{"number":1}`, `{"uuid":"x"}`} {
				a.answers(t, 400, "admin", "PUT", "/api/v1/certificates/"+id, body)
			}
			if text(a.admin.get(t, "/api/v1/certificates/"+id), "status") == "Active" {
				t.Error("the status was written")
			}
		}},
		{name: "API3 no answer has a secret", shown: func(t *testing.T) {
			for _, path := range []string{"/api/v1/issuers", "/api/v1/issuers/iss-local", "/api/v1/keys", "/api/v1/agents", "/api/v1/targets", "/api/v1/audit", "/api/v1/server", "/api/v1/audit/checkpoint"} {
				got := a.answers(t, 200, "admin", "GET", path, "")
				for _, word := range []string{"PRIVATE KEY", "lwk_", "master_key\":\"", "password"} {
					if bytes.Contains(got.body, []byte(word)) {
						t.Errorf("%s has %q", path, word)
					}
				}
			}
		}},
		{name: "API3 a key that the server made is told once, and to nobody who only reads", shown: func(t *testing.T) {
			made := a.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": "made.example.com", "key_source": "server"})
			if !strings.Contains(text(made, "private_key_pem"), "PRIVATE KEY") {
				t.Fatal("there is no key")
			}
			for _, who := range []string{"admin", "viewer"} {
				for _, path := range []string{"", "/versions", "/export/pem"} {
					if got := a.answers(t, 200, who, "GET", "/api/v1/certificates/"+text(made, "id")+path, ""); bytes.Contains(got.body, []byte("PRIVATE KEY")) {
						t.Errorf("%s tells it to %s", path, who)
					}
				}
			}
			a.answers(t, 410, "admin", "POST", "/api/v1/certificates/"+text(made, "id")+"/key", "")
			a.answers(t, 403, "viewer", "POST", "/api/v1/certificates/"+text(made, "id")+"/key", "")
		}},
		{name: "API3 an agent writes facts of its host and nothing else of itself", shown: func(t *testing.T) {
			who := a.caller("agent")
			body := `{"architecture":"amd64","hostname":"h","ip_address":"192.0.2.1","os":"linux","version":"1","status":"Online","team_id":"t-other","name":"root","role":"admin","registered_at":"2001-01-01T00:00:00Z"}`
			a.answers(t, 200, "agent", "POST", "/api/v1/agents/"+who.id+"/heartbeat", body)
			row := a.admin.get(t, "/api/v1/agents/"+who.id)
			if text(row, "team_id") != ownTeam || text(row, "name") != "agent" || strings.HasPrefix(text(row, "registered_at"), "2001") {
				t.Errorf("it is %v", row)
			}
			a.answers(t, 403, "agent", "GET", "/api/v1/teams", "")
		}},
	}
}
