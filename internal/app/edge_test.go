package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/config"
)

// key makes an API key through the socket.
func (s *server) key(t *testing.T, name, role, team string) string {
	t.Helper()
	body := `{"name":"` + name + `","role":"` + role + `"`
	if team != "" {
		body += `,"team_id":"` + team + `"`
	}
	client := s.owner(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://local/api/v1/keys", strings.NewReader(body+"}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	got := send(t, client, request)
	secret, _ := got.json("key").(string)
	if secret == "" {
		t.Fatalf("no key: %+v", got)
	}
	return secret
}

func TestWhoAsksTooOftenWithoutAKeyIsToldWhenToComeBack(t *testing.T) {
	s := start(t, fresh(t))
	client := s.https(t)
	key := s.key(t, "busy", "viewer", "")
	limited := 0
	for range 100 {
		if got := get(t, client, "https://"+s.API+"/api/v1/auth/info"); got.status == http.StatusTooManyRequests {
			limited++
			if got.header.Get("Retry-After") == "" || got.json("error") != "rate_limited" || got.json("request_id") == nil {
				t.Fatalf("%+v", got)
			}
		}
	}
	if limited == 0 {
		t.Error("nobody was limited")
	}
	for range 100 {
		if got := do(t, client, http.MethodGet, "https://"+s.API+"/api/v1/auth/check", key, ""); got.status != 200 {
			t.Fatalf("a key is limited: %+v", got)
		}
		if got := get(t, client, "http://"+s.Public+"/.well-known/pki/ca/root"); got.status != 200 {
			t.Fatalf("what relying parties fetch is limited: %+v", got)
		}
	}
}

func TestMetricsAreForThoseWhoMaySeeEverything(t *testing.T) {
	s := start(t, fresh(t))
	client, url := s.https(t), "https://"+s.API+"/metrics"
	all, some := s.key(t, "all", "viewer", ""), s.key(t, "some", "admin", "t-default")
	for name, c := range map[string]struct {
		key    string
		status int
	}{"no key": {"", 401}, "a team's key": {some, 403}, "a viewer": {all, 200}} {
		if got := do(t, client, http.MethodGet, url, c.key, ""); got.status != c.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
	got := do(t, client, http.MethodGet, url, all, "")
	for _, want := range []string{
		`leafward_jobs{status="Pending"} 0`, "leafward_crls 2", "leafward_crls_stale 0", "leafward_audit_unnumbered 0", "leafward_ledger_behind",
		`leafward_http_request_duration_seconds_count{route="POST /api/v1/`, "leafward_scrape_failed 0", "leafward_job_oldest_due_seconds 0",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestPluginsAreListedWithTheSettingsThatTheyTake(t *testing.T) {
	s := start(t, fresh(t))
	for query, want := range map[string][]string{
		"":             {`"kind":"issuer","type":"GenericCA"`, `"kind":"target","type":"NGINX"`, `"cert_path"`, `"validity_days"`, `"total":2`},
		"?kind=target": {`"type":"NGINX"`, `"total":1`},
		"?kind=source": {`"data":[]`, `"total":0`},
	} {
		got := get(t, s.owner(t), "http://local/api/v1/plugins"+query)
		for _, words := range want {
			if got.status != 200 || !strings.Contains(got.body, words) {
				t.Errorf("%q: %s is not in %+v", query, words, got)
			}
		}
	}
}

func TestTheAccessLogTellsTheRouteAndNoSecrets(t *testing.T) {
	s := start(t, fresh(t))
	client := s.https(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.API+"/api/v1/teams/t-default?token=hunter2", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer lwk_hunter2")
	request.Header.Set("X-Request-ID", "my-request")
	if got := send(t, client, request); got.status != 401 || got.header.Get("X-Request-ID") != "my-request" {
		t.Fatalf("%+v", got)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	log := s.log.String()
	for _, want := range []string{`route="GET /api/v1/teams/{id}"`, "status=401", "request_id=my-request", "actor=anonymous", "from=127.0.0.1"} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log, "hunter2") {
		t.Errorf("the log tells a secret:\n%s", log)
	}
}

func TestAKeyOverPlainHTTPIsNotLookedAt(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		key := s.key(t, "clear", "admin", "")
		do(t, s.https(t), http.MethodGet, "http://"+s.Public+"/.well-known/pki/ca/root", key, "")
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		if log := s.log.String(); !strings.Contains(log, "route=/.well-known/pki/ca status=200") || !strings.Contains(log, "actor=anonymous") {
			t.Error(log)
		}
	})
}

func TestBrowsersAreToldToMakeNothingOfAnswers(t *testing.T) {
	s := start(t, fresh(t))
	got := get(t, s.https(t), "https://"+s.API+"/health")
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer"} {
		if got.header.Get(name) != want {
			t.Errorf("%s: %q", name, got.header.Get(name))
		}
	}
}

func TestTheFirstCheckpointOfTheLogCanBeVerified(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		var got answer
		until(t, "there is a checkpoint", func() bool {
			got = get(t, s.owner(t), "http://local/api/v1/audit/checkpoint")
			return got.json("checkpoint") != ""
		})
		text, _ := got.json("checkpoint").(string)
		key, _ := got.json("public_key").(string)
		size, _, err := audit.OpenCheckpoint(text, key)
		if err != nil || size < 4 || float64(size) != got.json("size") {
			t.Errorf("%d %v in %+v", size, err, got)
		}
		if strings.Contains(got.body, "PRIVATE") {
			t.Error("the private key is told")
		}
	})
}
