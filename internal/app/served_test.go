package app_test

import (
	"crypto/x509"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/pgtest"
)

func TestEverythingIsServedOverHTTPSAndOverPlainHTTPWhatNeedsNoKey(t *testing.T) {
	settings := fresh(t)
	settings.PublicURL = "http://pki.example.com"
	s := start(t, settings)
	client, key := s.https(t), s.key(t, "all", "viewer", "")
	for path, c := range map[string]struct {
		kind  string
		plain bool
	}{
		"/health":                               {"application/json", false},
		"/ready":                                {"application/json", false},
		"/metrics":                              {"text/plain", false},
		"/api/openapi.json":                     {"application/json", false},
		"/api/v1/certificates":                  {"application/json", false},
		"/.well-known/pki/crl/iss-local":        {"application/pkix-crl", true},
		"/.well-known/pki/ca/iss-local":         {"application/pkix-cert", true},
		"/.well-known/pki/ca/root":              {"application/pkix-cert", true},
		"/.well-known/pki/ocsp/iss-local/0abcd": {"application/ocsp-response", true},
	} {
		got := do(t, client, http.MethodGet, "https://"+s.API+path, key, "")
		if kind := got.header.Get("Content-Type"); got.status != 200 || !strings.HasPrefix(kind, c.kind) {
			t.Errorf("over HTTPS %s is %d %s", path, got.status, kind)
		}
		want := 404
		if c.plain {
			want = 200
		}
		if got := do(t, client, http.MethodGet, "http://"+s.Public+path, key, ""); got.status != want {
			t.Errorf("over plain HTTP %s is %d, not %d", path, got.status, want)
		}
	}
	issuing, err := x509.ParseCertificate([]byte(get(t, client, "http://"+s.Public+"/.well-known/pki/ca/iss-local").body))
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range append(issuing.CRLDistributionPoints, issuing.IssuingCertificateURL...) {
		if !strings.HasPrefix(address, "http://pki.example.com/.well-known/pki/") {
			t.Errorf("the certificate leads to %s", address)
		}
	}
	if len(issuing.CRLDistributionPoints) == 0 || len(issuing.IssuingCertificateURL) == 0 {
		t.Error("the certificate leads nowhere")
	}
}

// figures are the metrics by name and labels.
func (s *server) figures(t *testing.T) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(get(t, s.owner(t), "http://local/metrics").body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		n, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[line[:at]] = n
	}
	return all
}

func TestEveryFamilyOfMetricsTellsItsFigure(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		key := s.key(t, "admin", "admin", "")
		const issued, revoked = `leafward_events_total{action="certificate.issued"}`, `leafward_events_total{action="certificate.revoked"}`
		until(t, "the server's own certificate is counted", func() bool { return s.figures(t)[issued] == 1 })
		post := func(path, body string, want int) answer {
			got := do(t, s.https(t), http.MethodPost, "https://"+s.API+path, key, body)
			if got.status != want {
				t.Fatalf("%s: %+v", path, got)
			}
			return got
		}
		made := post("/api/v1/certificates?wait=30", `{"common_name":"m.example.com","key_source":"server"}`, 201)
		post("/api/v1/certificates/"+made.json("id").(string)+"/revoke", `{"reason":"superseded"}`, 200)
		post("/api/v1/certificates", `{"common_name":"waits.example.com"}`, 201)
		until(t, "what happened is counted and published", func() bool {
			f := s.figures(t)
			return f[issued] == 2 && f[revoked] == 1 && f["leafward_crl_waiting"] == 0 && f["leafward_ocsp_responders"] == 2 && f["leafward_audit_unnumbered"] == 0 && f["leafward_ledger_behind"] == 0
		})
		got := s.figures(t)
		const day = 24 * 3600.0
		for name, bounds := range map[string][2]float64{
			`leafward_jobs{status="Pending"}`: {0, 0}, `leafward_jobs{status="Running"}`: {0, 0}, `leafward_jobs{status="AwaitingCSR"}`: {2, 2}, // a root and its order
			`leafward_jobs{status="AwaitingApproval"}`: {0, 0}, "leafward_job_oldest_due_seconds": {0, 0},
			"leafward_crls": {2, 2}, "leafward_crls_stale": {0, 0}, "leafward_crl_next_update_seconds": {day - 600, day},
			"leafward_ocsp_responder_expiry_seconds": {13 * day, 14 * day}, "leafward_audit_lag_seconds": {0, 0}, "leafward_tls_expiry_seconds": {88 * day, 90 * day},
			"leafward_scrape_failed": {0, 0}, "process_resident_memory_bytes": {1, math.Inf(1)},
		} {
			if n, ok := got[name]; !ok || n < bounds[0] || n > bounds[1] {
				t.Errorf("%s is %v (told: %t), not within %v", name, n, ok, bounds)
			}
		}
	})
}

func TestAServerThatLostItsDatabaseIsAliveAndNotReady(t *testing.T) {
	cluster := pgtest.Cluster(t, pgtest.Fast)
	settings := fresh(t)
	settings.Database = config.Secret(cluster.URL())
	s := start(t, settings)
	until(t, "it is ready", func() bool { return get(t, s.owner(t), "http://local/ready").status == 200 })
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	got := get(t, s.owner(t), "http://local/ready")
	if got.status != 503 || got.json("error") != "unavailable" || got.header.Get("Retry-After") == "" ||
		!strings.Contains(got.body, `"field":"database","problem":"the database cannot be reached"`) {
		t.Errorf("readiness: %+v", got)
	}
	if got := get(t, s.owner(t), "http://local/health"); got.status != 200 {
		t.Errorf("health: %+v", got)
	}
}

func TestTheSeedsAreMadeOnce(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		want := map[string][]string{
			"/api/v1/teams/t-default":             {`"name":"default"`},
			"/api/v1/owners/o-default":            {`"team_id":"t-default"`},
			"/api/v1/issuers/iss-local":           {`"type":"GenericCA"`, `"enabled":true`},
			"/api/v1/renewal-policies/rp-default": {`"renewal_window_days":30`, `"auto_renew":true`, `"max_retries":3`, `"retry_interval_seconds":3600`, `"alert_thresholds_days":[30,14,7,0]`},
			"/api/v1/agents/server-scanner":       {`"id":"server-scanner"`},
			"/api/v1/profiles/prof-server": {
				`"max_ttl_seconds":7776000`, `"default_ttl_seconds":7776000`, `"allowed_ekus":["serverAuth"]`, `"enabled":true`,
				`{"algorithm":"ECDSA","min_size":256}`, `{"algorithm":"RSA","min_size":2048}`, `{"algorithm":"Ed25519"`,
			},
		}
		for path, words := range want {
			got := get(t, s.owner(t), "http://local"+path)
			for _, word := range words {
				if got.status != 200 || !strings.Contains(got.body, word) {
					t.Errorf("%s: %s is not in %d %s", path, word, got.status, got.body)
				}
			}
		}
		key := s.key(t, "admin", "admin", "")
		if got := do(t, s.https(t), http.MethodPut, "https://"+s.API+"/api/v1/renewal-policies/rp-default", key, `{"max_retries":5}`); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		s = start(t, settings)
		if got := get(t, s.owner(t), "http://local/api/v1/renewal-policies"); !strings.Contains(got.body, `"max_retries":5`) || got.json("total") != 1.0 {
			t.Errorf("the second start made the seeds again: %s", got.body)
		}
	})
}

func TestWithJSONTheServerLogsInsteadOfSpeakingToAPerson(t *testing.T) {
	settings := fresh(t)
	settings.JSON = true
	s := start(t, settings)
	until(t, "it says that it is ready", func() bool { return strings.Contains(s.log.String(), `"msg":"ready"`) })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if words := s.out.String(); words != "" {
		t.Errorf("it speaks:\n%s", words)
	}
	for line := range strings.Lines(s.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%q is no JSON: %v", line, err)
		}
		if entry["msg"] == "ready" {
			for _, name := range []string{"data", "authority", "root_sha256", "url", "public"} {
				if entry[name] == "" || entry[name] == nil {
					t.Errorf("%s is not told in %s", name, line)
				}
			}
		}
	}
}
