package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/issuer/local"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// house is a server over a real store, with a key for each role.
type house struct {
	*httptest.Server
	keys map[string]string
	ca   *ca.CA
	db   *store.DB
}

func newHouse(t *testing.T, db *store.DB) house {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	a := auth.New(db, log)
	h := house{db: db, keys: map[string]string{"nobody": "", "stranger": "lwk_unknown"}}
	master := keys.GenerateMaster()
	linter, err := lint.New()
	if err != nil {
		t.Fatal(err)
	}
	if h.ca, err = ca.New(ca.Config{DB: db, Master: master, Lint: linter, Dummy: pki.NewDummy(), BaseURL: "http://pki.example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := h.ca.Bootstrap(storetest.Admin(t.Context())); err != nil {
		t.Fatal(err)
	}
	issuers := lifecycle.NewIssuers(db, master, []issuer.Plugin{local.Plugin(h.ca)})
	for _, k := range []struct {
		name string
		role leafward.Role
		team string
	}{{"viewer", leafward.RoleViewer, ""}, {"operator", leafward.RoleOperator, ""}, {"admin", leafward.RoleAdmin, ""}, {"team admin", leafward.RoleAdmin, leafward.DefaultTeam}} {
		secret, _, err := a.CreateKey(storetest.Admin(t.Context()), k.name, k.role, k.team)
		if err != nil {
			t.Fatal(err)
		}
		h.keys[k.name] = secret
	}
	deps := rest.Deps{DB: db, Auth: a, Settings: lifecycle.NewSettings(db, lifecycle.Replan), Issuers: issuers, Authorities: lifecycle.NewAuthorities(h.ca), Build: rest.Build{Version: "test"}, Log: log, Server: func() api.Server { return api.Server{Version: "test", URLs: []string{}} }}
	work(t, &deps, master)
	h.Server = httptest.NewServer(a.Identify(rest.New(deps)))
	t.Cleanup(h.Close)
	return h
}

func (h house) client(who string) *api.Client {
	return &api.Client{Base: h.URL, Key: h.keys[who], HTTP: h.Client(), Name: "test"}
}

// send makes one raw request and returns status and body.
func (h house) send(t *testing.T, who, method, path, body string) (int, map[string]any, http.Header) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, h.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if key := h.keys[who]; key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := h.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	var out map[string]any
	if len(bytes.TrimSpace(text)) > 0 && res.Header.Get("Content-Type") != "application/jsonl" {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%s %s answered %q", method, path, text)
		}
	}
	return res.StatusCode, out, res.Header
}

func TestATeamLivesThroughTheClient(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		c, ctx := h.client("admin"), t.Context()
		made, err := api.CreateTeam.Call(ctx, c, api.Make[api.TeamWrite]{Body: api.TeamWrite{Name: api.Some("shop"), Description: api.Some("sells")}})
		if err != nil || made.Name != "shop" || !strings.HasPrefix(made.ID, "t-") {
			t.Fatalf("%+v %v", made, err)
		}
		changed, err := api.UpdateTeam.Call(ctx, c, api.Update[api.TeamWrite]{ID: made.ID, Body: api.TeamWrite{Description: api.Opt[string]{Set: true, Null: true}}})
		if err != nil || changed.Name != "shop" || changed.Description != "" {
			t.Fatalf("absent must keep and null must clear: %+v %v", changed, err)
		}
		page, err := api.ListTeams.Call(ctx, c, api.ListTeamsInput{Listing: api.Listing{Sort: "-name", PerPage: 1}})
		if err != nil || page.Total != 2 || page.Data[0].Name != "shop" || page.NextCursor == "" {
			t.Fatalf("%+v %v", page, err)
		}
		if _, err := api.DeleteTeam.Call(ctx, c, api.ByID{ID: made.ID}); err != nil {
			t.Fatal(err)
		}
		if _, err := api.GetTeam.Call(ctx, c, api.ByID{ID: made.ID}); !strings.Contains(err.Error(), "no team") {
			t.Fatal(err)
		}
	})
}

func TestBadInputIsRefusedByName(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for name, c := range map[string]struct{ method, path, body, field string }{
		"no name":            {"POST", "/api/v1/teams", `{}`, "name"},
		"unknown property":   {"POST", "/api/v1/teams", `{"name":"a","colour":"red"}`, "colour"},
		"wrong type":         {"POST", "/api/v1/teams", `{"name":5}`, "name"},
		"repeated key":       {"POST", "/api/v1/teams", `{"name":"a","name":"b"}`, "name"},
		"case variant":       {"POST", "/api/v1/teams", `{"name":"a","Name":"b"}`, "Name"},
		"NUL":                {"POST", "/api/v1/teams", `{"name":"a\u0000"}`, "name"},
		"half a character":   {"POST", "/api/v1/teams", `{"name":"a\ud800"}`, "name"},
		"zero width":         {"POST", "/api/v1/teams", `{"name":"a\u200bb"}`, "name"},
		"too long":           {"POST", "/api/v1/teams", `{"name":"` + strings.Repeat("x", 256) + `"}`, "name"},
		"not JSON":           {"POST", "/api/v1/teams", `{"name":`, "body"},
		"two values":         {"POST", "/api/v1/teams", `{} {}`, "body"},
		"no body":            {"POST", "/api/v1/teams", "", "body"},
		"bad id":             {"POST", "/api/v1/teams", `{"name":"a","id":"../x"}`, "id"},
		"own revision":       {"POST", "/api/v1/teams", `{"name":"a","revision":7}`, "revision"},
		"read-only":          {"PUT", "/api/v1/teams/t-default", `{"created_at":"2001-01-01T00:00:00Z"}`, "created_at"},
		"page zero":          {"GET", "/api/v1/teams?page=0", "", "page"},
		"per page":           {"GET", "/api/v1/teams?per_page=501", "", "per_page"},
		"sort":               {"GET", "/api/v1/teams?sort=colour", "", "sort"},
		"unknown parameter":  {"GET", "/api/v1/teams?colour=red", "", "colour"},
		"half a parameter":   {"GET", "/api/v1/certificates?status=Revoked%zz", "", "query"},
		"repeated parameter": {"GET", "/api/v1/teams?page=1&page=2", "", "page"},
	} {
		status, out, _ := h.send(t, "admin", c.method, c.path, c.body)
		fields, _ := out["fields"].([]any)
		found := false
		for _, f := range fields {
			found = found || strings.Contains(f.(map[string]any)["field"].(string), c.field)
		}
		if status != 400 || out["error"] != "invalid_request" || !found || out["fix"] == nil || out["request_id"] == nil {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
}

func TestUnknownPathsMethodsAndMediaAnswerInOneForm(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for _, c := range []struct {
		method, path, code string
		status             int
	}{
		{"GET", "/api/v1/nothing", "not_found", 404},
		{"DELETE", "/api/v1/teams", "method_not_allowed", 405},
		{"GET", "/api/v1/teams/none", "not_found", 404},
		{"GET", "//api/v1/teams", "not_found", 404},
		{"POST", "/api//v1/teams", "not_found", 404},
		{"GET", "/api/v1/jobs/../teams", "not_found", 404},
	} {
		if status, out, _ := h.send(t, "admin", c.method, c.path, ""); status != c.status || out["error"] != c.code {
			t.Errorf("%s %s: %d %v", c.method, c.path, status, out)
		}
	}
	if status, out, _ := h.send(t, "admin", "POST", "/api/v1/teams", `{"name":"`+strings.Repeat("x", 1<<20)+`"}`); status != 413 || out["error"] != "too_large" || !strings.Contains(out["message"].(string), "body") {
		t.Errorf("a body of more than 1 MiB: %d %v", status, out)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/api/v1/teams", strings.NewReader("name\nshop\n"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+h.keys["admin"])
	request.Header.Set("Content-Type", "text/csv")
	answer, err := h.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusUnsupportedMediaType || !strings.Contains(string(text), `"unsupported_media_type"`) {
		t.Errorf("text/csv: %d %s %v", answer.StatusCode, text, err)
	}
}
