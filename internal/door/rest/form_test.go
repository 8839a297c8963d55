package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/store/storetest"
)

// reply is what a request got.
type reply struct {
	status int
	header http.Header
	text   string
}

// ask makes a request with headers, in pairs of name and value.
func (h house) ask(t *testing.T, who, method, path, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.URL+path, strings.NewReader(body))
	check(t, err)
	if key := h.keys[who]; key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := h.Client().Do(req)
	check(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	check(t, err)
	return reply{res.StatusCode, res.Header, string(text)}
}

// json is the body as an object.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(r.text), &out); err != nil {
		t.Errorf("%d %s: %v", r.status, r.text, err)
	}
	return out
}

// refusal fails the test unless a reply is an error in the one form of all of them.
func (r reply) refusal(t *testing.T, status int, code string) map[string]any {
	t.Helper()
	out := r.json(t)
	for name := range out {
		if !slices.Contains([]string{"error", "message", "request_id", "fix", "docs", "fields", "counts"}, name) {
			t.Errorf("%s: an error has the property %s", code, name)
		}
	}
	if r.status != status || out["error"] != code || out["message"] == "" || out["request_id"] == "" || out["request_id"] != r.header.Get("X-Request-ID") || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("want %d %s: %d %s %v", status, code, r.status, r.text, r.header)
	}
	if asks := r.header.Get("WWW-Authenticate"); (asks == "Bearer") != (status == http.StatusUnauthorized) {
		t.Errorf("%d asks for %q", status, asks)
	}
	return out
}

func TestEveryRefusalHasOneForm(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	gone := h.make(t, "/api/v1/agents", `{"name":"gone"}`)["id"].(string)
	h.send(t, "admin", "DELETE", "/api/v1/agents/"+gone, "")
	const teams, one = "/api/v1/teams", "/api/v1/teams/t-default"
	for _, c := range []struct {
		who, method, path, body, header, value string
		status                                 int
		code                                   string
	}{
		{"admin", "POST", teams, `{"name":""}`, "", "", 400, "invalid_request"},
		{"admin", "POST", teams, `{"name":`, "", "", 400, "invalid_request"},
		{"admin", "GET", teams + "?page=x", "", "", "", 400, "invalid_request"},
		{"admin", "POST", issuersPath, `{"name":"x","type":"ACME"}`, "", "", 400, "unsupported_type"},
		{"nobody", "GET", teams, "", "", "", 401, "unauthorized"},
		{"stranger", "GET", teams, "", "", "", 401, "unauthorized"},
		{"viewer", "POST", teams, `{"name":"x"}`, "", "", 403, "forbidden"},
		{"admin", "GET", teams + "/t-none", "", "", "", 404, "not_found"},
		{"admin", "GET", "/api/v1/colours", "", "", "", 404, "not_found"},
		{"nobody", "GET", "/api/v1/colours", "", "", "", 404, "not_found"},
		{"admin", "PATCH", one, `{}`, "", "", 405, "method_not_allowed"},
		{"admin", "POST", teams, `{"name":"default"}`, "", "", 409, "conflict"},
		{"admin", "DELETE", one, "", "", "", 409, "conflict"},
		{"admin", "POST", "/api/v1/agents/" + gone + "/heartbeat", `{}`, "", "", 410, "gone"},
		{"admin", "PUT", one, `{"description":"x"}`, "If-Match", `"77"`, 412, "precondition_failed"},
		{"admin", "POST", teams, `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, "", "", 413, "too_large"},
		{"admin", "POST", teams, `{"name":"x"}`, "Content-Type", "text/plain", 415, "unsupported_media_type"},
	} {
		headers := []string{"X-Request-ID", "mine-1"}
		if c.header != "" {
			headers = append(headers, c.header, c.value)
		}
		out := h.ask(t, c.who, c.method, c.path, c.body, headers...).refusal(t, c.status, c.code)
		if out["request_id"] != "mine-1" {
			t.Errorf("%s: the client's own id became %v", c.code, out["request_id"])
		}
		if again := h.ask(t, c.who, c.method, c.path, c.body, append([]string{"X-Request-ID", "a b\tc"}, headers[2:]...)...).refusal(t, c.status, c.code); again["request_id"] == "a b\tc" {
			t.Errorf("%s: an odd id is kept", c.code)
		}
	}
	if id := h.ask(t, "admin", "GET", one, "").header.Get("X-Request-ID"); id == "" {
		t.Error("a success has no X-Request-ID")
	}
}

func TestWhatBreaksInsideIsToldInTheFormOfAllErrors(t *testing.T) {
	db, log := storetest.SQLite(t, nil), slog.New(slog.DiscardHandler)
	a := auth.New(db, log)
	key, _, err := a.CreateKey(storetest.Admin(t.Context()), "viewer", leafward.RoleViewer, "")
	check(t, err)
	checks := []rest.Check{
		{Name: "disk", Test: func(context.Context) error {
			return leafward.Errorf(leafward.StorageFull, "make room", "the disk is full")
		}},
		{Name: "moon", Test: func(context.Context) error { return errors.New("a secret of the moon") }},
		{Name: "sun", Test: func(context.Context) error { return nil }},
	}
	h := house{keys: map[string]string{"viewer": key, "nobody": ""}}
	h.Server = httptest.NewServer(a.Identify(rest.New(rest.Deps{DB: db, Auth: a, Log: log, Checks: checks, Server: func() api.Server { panic("a secret of the server") }})))
	defer h.Close()
	if r := h.ask(t, "viewer", "GET", "/api/v1/server", ""); r.refusal(t, 500, "internal")["fix"] == nil || strings.Contains(r.text, "secret") {
		t.Errorf("a panic: %s", r.text)
	}
	r := h.ask(t, "nobody", "GET", "/ready", "")
	fields := fmt.Sprint(r.refusal(t, 503, "unavailable")["fields"])
	if r.header.Get("Retry-After") == "" || !strings.Contains(fields, "the disk is full") || !strings.Contains(fields, "field:moon") || strings.Contains(fields, "sun") || strings.Contains(r.text, "secret") {
		t.Errorf("what is not ready: %v %s", r.header, r.text)
	}
	check(t, db.Close())
	if r := h.ask(t, "viewer", "GET", "/api/v1/teams", ""); r.refusal(t, 503, "unavailable") == nil || r.header.Get("Retry-After") == "" {
		t.Errorf("without a database: %v", r.header)
	}
}

func TestAClientThatLeavesIsNoReasonNotToBeReady(t *testing.T) {
	var log bytes.Buffer
	db := storetest.SQLite(t, nil)
	asked, text := make(chan struct{}), slog.New(slog.NewTextHandler(&log, nil))
	checks := []rest.Check{{Name: "slow", Test: func(ctx context.Context) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}}}
	a := auth.New(db, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(a.Identify(rest.New(rest.Deps{DB: db, Auth: a, Log: text, Checks: checks})))
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-asked
		leave()
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/ready", nil)
	check(t, err)
	if response, err := s.Client().Do(request); err == nil {
		check(t, response.Body.Close())
		t.Errorf("who left was answered %d", response.StatusCode)
	}
	if s.Close(); log.Len() != 0 { // it waits for the request
		t.Errorf("the log says %s", &log)
	}
}

// somewhere is an operation's path about things that do not exist.
func somewhere(op api.Info) string {
	return strings.NewReplacer("{id}", "no-such", "{cert_id}", "no-such", "{job_id}", "no-such").Replace(op.Path)
}

func TestAParameterThatAnOperationDoesNotHaveIsRefusedByName(t *testing.T) {
	c := newCrowd(t)
	for _, op := range api.Operations() {
		if op.Elsewhere != nil {
			continue
		}
		body := bodies()[op.ID]
		if _, takes := c.doc.body(op); takes && body == "" {
			body = "{}"
		}
		r := c.ask(t, "admin", op.Method, somewhere(op)+"?colour=red", body)
		if r.status != 400 || !strings.Contains(r.text, `"field":"colour"`) {
			t.Errorf("%s: %d %s", op.ID, r.status, r.text)
		}
	}
}

func TestABodyThatAnOperationDoesNotHaveIsIgnored(t *testing.T) {
	c := newCrowd(t)
	tried := 0
	for _, op := range api.Operations() {
		if _, takes := c.doc.body(op); takes || op.Elsewhere != nil {
			continue
		}
		tried++
		without := c.ask(t, "admin", op.Method, somewhere(op), "")
		with := c.ask(t, "admin", op.Method, somewhere(op), "{ no JSON", "Content-Type", "text/plain")
		if with.status != without.status {
			t.Errorf("%s: %d instead of %d: %s", op.ID, with.status, without.status, with.text)
		}
	}
	if tried < 30 {
		t.Errorf("%d operations were tried", tried)
	}
}

func TestWhatACertificateDoesNotHaveIsNamedAndOtherwiseIgnored(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	made := h.make(t, "/api/v1/certificates", `{"common_name":"a.example.com","shape":{"x":[1]},"colour":null}`)
	if fmt.Sprint(made["ignored_properties"]) != "[colour shape]" {
		t.Errorf("%v", made)
	}
	at := "/api/v1/certificates/" + made["id"].(string)
	if _, told := h.ask(t, "viewer", "GET", at, "").json(t)["ignored_properties"]; told {
		t.Error("what was ignored is shown later")
	}
	h.expect(t, "admin", "PUT", at, `{"colour":"red"}`, 400, "error", "invalid_request")
	if _, told := h.make(t, "/api/v1/certificates", `{"common_name":"b.example.com"}`)["ignored_properties"]; told {
		t.Error("nothing was ignored, and something is named")
	}
}

func TestTheServerAndTheKeyAreAskedAboutWithoutAnEvent(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	events := func() any {
		return h.ask(t, "admin", "GET", "/api/v1/audit?per_page=1", "").json(t)["total"]
	}
	before := events()
	for _, c := range []struct {
		who, path string
		want      map[string]any // nil: any text
	}{
		{"nobody", "/health", map[string]any{"status": "healthy"}},
		{"nobody", "/ready", map[string]any{"status": "ready"}},
		{"nobody", "/api/v1/auth/info", map[string]any{"auth_type": "api-key", "required": true}},
		{"nobody", "/api/v1/version", map[string]any{"version": "test", "commit": nil, "modified": nil, "build_time": nil, "go_version": nil}},
		{"viewer", "/api/v1/auth/check", map[string]any{"status": "authenticated", "user": "viewer", "role": "viewer", "admin": false}},
		{"admin", "/api/v1/auth/check", map[string]any{"status": "authenticated", "user": "admin", "role": "admin", "admin": true}},
	} {
		r := h.ask(t, c.who, "GET", c.path, "")
		out := r.json(t)
		if r.status != 200 || !slices.Equal(slices.Sorted(maps.Keys(out)), slices.Sorted(maps.Keys(c.want))) {
			t.Errorf("%s as %s: %d %s", c.path, c.who, r.status, r.text)
		}
		for name, value := range c.want {
			if value != nil && out[name] != value {
				t.Errorf("%s as %s: %s is %v", c.path, c.who, name, out[name])
			}
		}
	}
	h.ask(t, "nobody", "GET", "/api/v1/auth/check", "").refusal(t, 401, "unauthorized")
	if after := events(); after != before {
		t.Errorf("%v events became %v", before, after)
	}
}

func TestTheDocumentIsServedToEverybody(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	r := h.ask(t, "nobody", "GET", "/api/openapi.json", "")
	text, err := rest.Document("test")
	check(t, err)
	var want any
	check(t, json.Unmarshal(text, &want))
	if r.status != 200 || r.header.Get("Content-Type") != "application/json" || fmt.Sprint(r.json(t)) != fmt.Sprint(want) {
		t.Errorf("%d %v: it is not the document", r.status, r.header)
	}
}
