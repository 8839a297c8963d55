package revocation_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/door/revocation"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// world is a server with one certificate and the door.
type world struct {
	ca     *ca.CA
	db     *store.DB
	ctx    context.Context
	url    string
	issued ca.Issued
}

func start(t testing.TB) *world {
	t.Helper()
	linter, err := lint.New()
	check(t, err)
	w := &world{db: storetest.SQLite(t, nil), ctx: storetest.Admin(t.Context())}
	w.ca, err = ca.New(ca.Config{DB: w.db, Master: keys.GenerateMaster(), Lint: linter, Dummy: pki.NewDummy()})
	check(t, err)
	check(t, w.ca.Bootstrap(w.ctx))
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	check(t, err)
	w.issued, err = w.ca.Issue(w.ctx, ca.Order{Authority: ca.LocalIssuer, Request: "r-1", Subject: pki.Subject{CommonName: "a.example.com"}, PublicKey: key.Public(), TTL: time.Hour})
	check(t, err)
	check(t, w.db.Write(w.ctx, func(tx *store.Tx) error {
		tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: "iss-acme"}, Name: "acme", Type: "ACME", Config: []byte("{}"), Secrets: []string{}})
		return ca.MarkIssued(tx, w.issued.Authority, w.issued.Serial)
	}))
	server := httptest.NewServer(revocation.New(w.ca, slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	*http.Response
	body []byte
}

func (w *world) do(t testing.TB, method, path string, body []byte, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, w.url, bytes.NewReader(body))
	check(t, err)
	request.URL.Opaque = w.url + path // exactly as it stands
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	check(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	check(t, err)
	return answer{response, content}
}

func (w *world) issuing(t testing.TB) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(w.issued.Chain[0])
	check(t, err)
	return cert
}

// ask is a request about the certificate.
func (w *world) ask(t testing.TB, nonce []byte) []byte {
	t.Helper()
	serial, _ := new(big.Int).SetString(w.issued.Serial, 16)
	id, err := ocsp.NewCertID(crypto.SHA1, w.issuing(t), serial)
	check(t, err)
	der, err := ocsp.EncodeRequest([]ocsp.CertID{id}, nonce)
	check(t, err)
	return der
}

func status(t testing.TB, a answer) ocsp.Status {
	t.Helper()
	if kind := a.Header.Get("Content-Type"); a.StatusCode != http.StatusOK || kind != "application/ocsp-response" {
		t.Fatalf("%d %s: %s", a.StatusCode, kind, a.body)
	}
	response, err := ocsp.ParseResponse(a.body)
	check(t, err)
	if response.Code != ocsp.Successful {
		t.Fatalf("the answer is %v", response.Code)
	}
	return response.Singles[0].Status
}

func TestEveryFormOfAnOCSPRequestIsAnswered(t *testing.T) {
	w := start(t)
	der := w.ask(t, nil)
	text := base64.StdEncoding.EncodeToString(der)
	for _, id := range []string{w.issued.Authority, ca.LocalIssuer} {
		door := "/.well-known/pki/ocsp/" + id
		for name, path := range map[string]string{
			"base64": door + "/" + text, "escaped": door + "/" + url.QueryEscape(text), "more slashes": door + "//" + text, "without padding": door + "/" + strings.TrimRight(text, "="),
			"serial": door + "/" + w.issued.Serial, "leading zero": door + "/00" + strings.ToUpper(w.issued.Serial),
		} {
			a := w.do(t, "GET", path, nil)
			if status(t, a) != ocsp.Good || !strings.Contains(a.Header.Get("Cache-Control"), "max-age=300") || a.Header.Get("ETag") == "" {
				t.Errorf("%s: %v %v", name, status(t, a), a.Header)
			}
			if again := w.do(t, "GET", path, nil, "If-None-Match", a.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
				t.Errorf("%s: with the tag it is %d", name, again.StatusCode)
			}
			if head := w.do(t, "HEAD", path, nil); head.StatusCode != http.StatusOK || len(head.body) > 0 || head.ContentLength != int64(len(a.body)) {
				t.Errorf("%s: HEAD is %d with %d of %d octets", name, head.StatusCode, head.ContentLength, len(a.body))
			}
		}
		a := w.do(t, "POST", door, der, "Content-Type", "application/ocsp-request")
		if status(t, a) != ocsp.Good {
			t.Errorf("POST: %v", status(t, a))
		}
	}
	a := w.do(t, "GET", "/.well-known/pki/ocsp/"+w.issued.Authority+"/"+base64.StdEncoding.EncodeToString(w.ask(t, []byte("01234567"))), nil)
	if status(t, a) != ocsp.Good || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("with a nonce: %v", a.Header)
	}
}

func TestWrongRequestsAreToldWhatIsWrong(t *testing.T) {
	w := start(t)
	door, kind := "/.well-known/pki/ocsp/"+w.issued.Authority, "application/ocsp-request"
	for name, c := range map[string]struct {
		method, path, kind string
		body               []byte
		status             int
		word               string
	}{
		"unknown CRL":         {"GET", "/.well-known/pki/crl/ca-none", "", nil, 404, "not_found"},
		"CRL of others":       {"GET", "/.well-known/pki/crl/iss-acme", "", nil, 501, "unsupported_type"},
		"no CRL":              {"GET", "/.well-known/pki/crl/", "", nil, 404, "not_found"},
		"odd CRL":             {"GET", "/.well-known/pki/crl/..%2fa", "", nil, 404, "not_found"},
		"nothing there":       {"GET", "/.well-known/pki/x", "", nil, 404, "not_found"},
		"CRL by POST":         {"POST", "/.well-known/pki/crl/iss-local", "", nil, 405, "method_not_allowed"},
		"unknown OCSP":        {"POST", "/.well-known/pki/ocsp/ca-none", kind, w.ask(t, nil), 404, "not_found"},
		"OCSP of others":      {"GET", "/.well-known/pki/ocsp/iss-acme/12", "", nil, 501, "unsupported_type"},
		"wrong content type":  {"POST", door, "text/plain", w.ask(t, nil), 415, "unsupported_media_type"},
		"no content type":     {"POST", door, "", w.ask(t, nil), 415, "unsupported_media_type"},
		"too large":           {"POST", door, kind, make([]byte, 10_000), 413, "too_large"},
		"GET without request": {"GET", door, "", nil, 405, "method_not_allowed"},
		"POST with serial":    {"POST", door + "/12", kind, nil, 405, "method_not_allowed"},
		"PUT":                 {"PUT", door + "/12", "", nil, 405, "method_not_allowed"},
		"serial zero":         {"GET", door + "/00", "", nil, 400, "invalid_request"},
		"serial of 21 octets": {"GET", door + "/1" + strings.Repeat("00", 20), "", nil, 400, "invalid_request"},
		"serial too long":     {"GET", door + "/" + strings.Repeat("0", 200), "", nil, 400, "invalid_request"},
		"odd format":          {"GET", "/.well-known/pki/ca/root?format=jks", "", nil, 400, "invalid_request"},
		"unknown authority":   {"GET", "/.well-known/pki/ca/ca-none", "", nil, 404, "not_found"},
	} {
		headers := []string{}
		if c.kind != "" {
			headers = append(headers, "Content-Type", c.kind)
		}
		a := w.do(t, c.method, c.path, c.body, headers...)
		var told struct {
			Error, Message string
			Fields         []leafward.Field
		}
		if err := json.Unmarshal(a.body, &told); err != nil || a.StatusCode != c.status || told.Error != c.word || told.Message == "" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		if strings.HasPrefix(name, "serial ") && (len(told.Fields) != 1 || told.Fields[0].Field != "serial" || told.Fields[0].Fix == "") {
			t.Errorf("%s: the serial is not named in %s", name, a.body)
		}
	}
	for name, body := range map[string][]byte{"nothing": {}, "garbage": []byte("hello"), "trailing": append(w.ask(t, nil), 0)} {
		a := w.do(t, "POST", door, body, "Content-Type", kind)
		if a.StatusCode != http.StatusOK || !bytes.Equal(a.body, ocsp.ErrorResponse(ocsp.MalformedRequest)) || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %x", name, a.StatusCode, a.body)
		}
	}
	if a := w.do(t, "GET", door+"/MEUC!", nil); !bytes.Equal(a.body, ocsp.ErrorResponse(ocsp.MalformedRequest)) {
		t.Errorf("odd base64: %d %x", a.StatusCode, a.body)
	}
}

func TestCRLsAndCertificatesAreGivenOnce(t *testing.T) {
	w := start(t)
	for path, kind := range map[string]string{
		"/.well-known/pki/crl/" + w.issued.Authority: "application/pkix-crl", "/.well-known/pki/crl/iss-local": "application/pkix-crl",
		"/.well-known/pki/ca/" + w.issued.Authority: "application/pkix-cert", "/.well-known/pki/ca/iss-local": "application/pkix-cert",
		"/.well-known/pki/ca/root": "application/pkix-cert", "/.well-known/pki/ca/root?format=pem": "application/x-pem-file",
	} {
		a := w.do(t, "GET", path, nil)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != kind || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
		if again := w.do(t, "GET", path, nil, "If-None-Match", a.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || len(again.body) > 0 {
			t.Errorf("%s: with the tag it is %d", path, again.StatusCode)
		}
	}
	root, err := w.ca.Root(w.ctx)
	check(t, err)
	if a := w.do(t, "GET", "/.well-known/pki/ca/root", nil); sha256.Sum256(a.body) != sha256.Sum256(root) {
		t.Error("it is not the root")
	}
	crl, err := x509.ParseRevocationList(w.do(t, "GET", "/.well-known/pki/crl/iss-local", nil).body)
	check(t, err)
	check(t, crl.CheckSignatureFrom(w.issuing(t)))
}

func TestOpenSSLAsksOverHTTP(t *testing.T) {
	w := start(t)
	dir := t.TempDir()
	root, err := w.ca.Root(w.ctx)
	check(t, err)
	for name, der := range map[string][]byte{"root.pem": root, "issuing.pem": w.issued.Chain[0], "leaf.pem": w.issued.Certificate} {
		check(t, os.WriteFile(filepath.Join(dir, name), pki.EncodeChain(der), 0o600))
	}
	ask := func(digest string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "openssl", "ocsp", "-"+digest, "-issuer", "issuing.pem", "-cert", "leaf.pem", "-nonce",
			"-url", w.url+"/.well-known/pki/ocsp/"+w.issued.Authority, "-CAfile", "root.pem", "-verify_other", "issuing.pem", "-resp_text")
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("Response verify OK")) || bytes.Contains(out, []byte("WARNING")) || !bytes.Contains(out, []byte("OCSP Nonce")) {
			t.Fatalf("%s: %s", digest, out)
		}
		return string(out)
	}
	for _, digest := range []string{"sha1", "sha256"} {
		if out := ask(digest); !strings.Contains(out, "leaf.pem: good") {
			t.Fatal(out)
		}
	}
	check(t, w.db.Write(w.ctx, func(tx *store.Tx) error {
		_, err := ca.Revoke(tx, w.issued.Authority, w.issued.Serial, leafward.KeyCompromise, time.Time{})
		return err
	}))
	if out := ask("sha256"); !strings.Contains(out, "leaf.pem: revoked") {
		t.Fatal(out)
	}
}

func TestOpenSSLVerifiesWithWhatTheDoorGives(t *testing.T) {
	w := start(t)
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "openssl", args...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("openssl %s: %s", strings.Join(args, " "), out)
		}
	}
	for name, path := range map[string]string{"root": "root", "issuing": w.issued.Authority} {
		for _, format := range []string{"der", "pem"} {
			a := w.do(t, "GET", "/.well-known/pki/ca/"+path+"?format="+format, nil)
			check(t, os.WriteFile(filepath.Join(dir, name+"."+format), a.body, 0o600))
			run("x509", "-inform", strings.ToUpper(format), "-in", name+"."+format, "-noout")
		}
		plain := w.do(t, "GET", "/.well-known/pki/ca/"+path, nil) // DER, as caIssuers points to it (RFC 5280 §4.2.2.1)
		check(t, os.WriteFile(filepath.Join(dir, name+".plain"), plain.body, 0o600))
		run("x509", "-inform", "DER", "-in", name+".plain", "-out", name+".made.pem")
		made, err := os.ReadFile(filepath.Join(dir, name+".made.pem"))
		check(t, err)
		given, err := os.ReadFile(filepath.Join(dir, name+".pem"))
		check(t, err)
		if !bytes.Equal(made, given) {
			t.Errorf("the PEM of %s is not openssl's", name)
		}
	}
	check(t, os.WriteFile(filepath.Join(dir, "leaf.pem"), pki.EncodeChain(w.issued.Certificate), 0o600))
	run("verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem")
}

func FuzzRequests(f *testing.F) {
	w := start(f)
	door := "/.well-known/pki/ocsp/" + w.issued.Authority
	f.Add("POST", door, w.ask(f, nil))
	f.Add("GET", door+"/"+base64.StdEncoding.EncodeToString(w.ask(f, []byte("0123456789abcdef"))), []byte{})
	f.Add("GET", door+"/"+w.issued.Serial, []byte{})
	f.Add("HEAD", "/.well-known/pki/crl/iss-local", []byte{})
	f.Add("GET", "/.well-known/pki/ca/root?format=pem", []byte{})
	f.Add("GET", "/.well-known/pki/crl/%00", []byte{})
	handler := revocation.New(w.ca, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		target, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		request := httptest.NewRequestWithContext(w.ctx, http.MethodGet, "/", bytes.NewReader(body))
		request.Method, request.URL = method, target
		request.Header.Set("Content-Type", "application/ocsp-request")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if code := recorder.Code; code >= 500 && code != http.StatusNotImplemented {
			t.Fatalf("%q %q gave %d", method, path, code)
		}
	})
}
