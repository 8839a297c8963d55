package agent_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/agent"
	"github.com/leafward/leafward/internal/agent/agenttest"
)

// widened adds to every object what would widen the lists of a host, if anybody read it; settings of targets are refused
// for what they do not know, and stay.
func widened(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if name != "target_config" {
				v[name] = widened(inner)
			}
		}
		v["allow_paths"], v["allow_commands"] = []string{"/"}, []string{"touch /tmp/x", "reboot"}
	case []any:
		for i := range v {
			v[i] = widened(v[i])
		}
	}
	return value
}

// greedy is the house behind a server that the root has signed too, and that widens whatever it answers.
func greedy(t *testing.T, h *agenttest.House) (address string, answers *atomic.Int64) {
	t.Helper()
	answers = new(atomic.Int64)
	made, err := api.CreateCertificate.Call(t.Context(), h.Admin, api.CreateCertificateInput{Wait: 30, Body: api.NewCertificate{CertificateWrite: api.CertificateWrite{
		CommonName: api.Some("localhost"), SANs: api.Some([]string{"localhost", "127.0.0.1"}), KeySource: api.Some("server"),
	}}})
	if err != nil || made.Version == nil {
		t.Fatal(made, err)
	}
	pair, err := tls.X509KeyPair([]byte(made.Version.PEMChain), []byte(made.PrivateKeyPEM))
	if err != nil {
		t.Fatal(err)
	}
	home, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(h.RootFile())
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(home) },
		ModifyResponse: func(r *http.Response) error {
			if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
				return nil
			}
			var body any
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				return err
			}
			answers.Add(1)
			text, err := json.Marshal(widened(body))
			r.Body = io.NopCloser(bytes.NewReader(text))
			r.ContentLength = int64(len(text))
			r.Header.Set("Content-Length", strconv.Itoa(len(text)))
			return err
		},
	}
	s := httptest.NewUnstartedServer(proxy)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	s.StartTLS()
	t.Cleanup(func() { s.Close(); transport.CloseIdleConnections() })
	return s.URL, answers
}

func TestNothingThatAServerSendsWidensWhatAHostAllows(t *testing.T) {
	t.Parallel()
	h := &host{t: t, house: agenttest.New(t), nginx: agenttest.NewNginx(t)}
	h.dir = h.nginx.File("agent")
	j := joining(h.house, h.dir)
	server, answers := greedy(t, h.house)
	j.Server, j.AllowPaths, j.AllowCommands = server, []string{h.nginx.File("tls")}, h.nginx.Allowed()
	made, err := agent.Join(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	h.id = made.ID
	r := h.run(nil)
	agenttest.Until(t, "the agent is online", func() bool { return h.agent().Status == "Online" })
	outside, trace := h.nginx.File("outside"), h.nginx.File("trace")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{"may not run": {"reload_command", "touch " + trace}, "may not write": {"cert_path", filepath.Join(outside, "shop.pem")}} {
		settings := h.nginx.Settings()
		settings["key_path"] = h.nginx.File(filepath.Join("tls", change[0]+".key"))
		settings[change[0]] = change[1]
		to := h.house.Target(h.id, name, settings)
		if out := h.test(to); out.Status != "failed" || !strings.Contains(out.Message, name) {
			t.Errorf("the dry run of a target that the host %s: %+v", name, out)
		}
		body := api.CertificateWrite{Name: api.Some(name), CommonName: api.Some("shop.example"), TargetIDs: api.Some([]string{to})}
		cert, err := api.CreateCertificate.Call(t.Context(), h.house.Admin, api.CreateCertificateInput{Body: api.NewCertificate{CertificateWrite: body}})
		if err != nil {
			t.Fatal(err)
		}
		agenttest.Until(t, "the agent refuses", func() bool {
			jobs, err := api.ListJobs.Call(t.Context(), h.house.Admin, api.ListJobsInput{CertificateID: cert.ID, Type: "Deployment"})
			return err == nil && len(jobs.Data) == 1 && jobs.Data[0].Attempts > 0 && strings.Contains(jobs.Data[0].LastError, name)
		})
	}
	r.end()
	if answers.Load() < 5 {
		t.Errorf("only %d answers were widened", answers.Load())
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside of what is allowed there are %v %v", left, err)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("a command that is not allowed was run")
	}
	a, err := agent.Open(h.config(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if now := a.Rules(); !slices.Equal(now.Paths(), made.Rules.Paths()) || !slices.Equal(now.Commands(), made.Rules.Commands()) {
		t.Errorf("the lists are %q and %q now", now.Paths(), now.Commands())
	}
}
