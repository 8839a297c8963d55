//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// contract is the API document, by which every answer in these tests is judged.
type contract struct {
	doc *openapi3.T
	mux *http.ServeMux // finds the path of a request
}

// emitted is the document that the binary emits.
var emitted = sync.OnceValues(func() (*contract, error) {
	text, err := exec.Command("../bin/leafward-testhooks", "openapi").Output()
	if err != nil {
		return nil, fmt.Errorf("leafward openapi: %w", err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("the emitted document: %w", err)
	}
	c := &contract{doc: doc, mux: http.NewServeMux()}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			c.mux.Handle(method+" "+path, http.NotFoundHandler())
		}
	}
	return c, nil
})

// violation says what is wrong with the answer; nil when it is as the document says.
func (c *contract) violation(r *http.Request, status int, header http.Header, body []byte) error {
	_, pattern := c.mux.Handler(r)
	method, path, _ := strings.Cut(pattern, " ")
	item := c.doc.Paths.Value(path)
	if item == nil {
		return fmt.Errorf("there is no such operation in the document")
	}
	route := &routers.Route{Spec: c.doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 status, Header: header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if len(body) == 0 && status == http.StatusNoContent {
		in.Options.ExcludeResponseBody = true
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if documented := route.Operation.Responses.Status(status); err == nil && media != "application/json" && documented != nil {
		// Lines, DER and PEM have no schema; that they may come at all is in the document.
		if documented.Value.Content[media] == nil {
			return fmt.Errorf("the document does not have %s there", media)
		}
		in.Options.ExcludeResponseBody = true
	}
	return openapi3filter.ValidateResponse(context.Background(), in.SetBodyBytes(body))
}

// judge is a transport that fails the test when an answer is not what the document says.
type judge struct {
	t    testing.TB
	next http.RoundTripper
	law  *contract
}

func newJudge(t testing.TB, next http.RoundTripper) *judge {
	t.Helper()
	law, err := emitted()
	if err != nil {
		t.Fatal(err)
	}
	return &judge{t: t, next: next, law: law}
}

// RoundTrip reads the answer whole: nothing in these tests is larger than memory.
func (j *judge) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := j.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	if err := j.law.violation(r, answer.StatusCode, answer.Header, body); err != nil {
		j.t.Errorf("%s %s answered %d: %v\n%.2000s", r.Method, r.URL.Path, answer.StatusCode, err, body)
	}
	return answer, nil
}

func TestAnAnswerThatTheDocumentDoesNotHaveIsFound(t *testing.T) {
	law, err := emitted()
	if err != nil {
		t.Fatal(err)
	}
	const team = `"id":"t-a","number":1,"uuid":"u","revision":1,"name":"a","description":"","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z"`
	for name, c := range map[string]struct {
		method, path string
		status       int
		media, body  string
		fine         bool
	}{
		"as it is written":          {"GET", "/api/v1/teams/t-a", 200, "application/json", "{" + team + "}", true},
		"a CRL":                     {"GET", "/.well-known/pki/crl/iss-local", 200, "application/pkix-crl", "DER", true},
		"a certificate as PEM":      {"GET", "/.well-known/pki/ca/root", 200, "application/x-pem-file", "PEM", true},
		"nothing":                   {"DELETE", "/api/v1/teams/t-a", 204, "", "", true},
		"another status":            {"GET", "/api/v1/teams/t-a", 206, "application/json", "{" + team + "}", false},
		"another path":              {"GET", "/api/v1/colours", 200, "application/json", "{}", false},
		"another method":            {"PUT", "/.well-known/pki/crl/iss-local", 200, "application/pkix-crl", "DER", false},
		"another media type":        {"GET", "/.well-known/pki/crl/iss-local", 200, "text/plain", "DER", false},
		"a missing property":        {"GET", "/api/v1/teams/t-a", 200, "application/json", strings.Replace("{"+team+"}", `"name":"a",`, "", 1), false},
		"a property more":           {"GET", "/api/v1/teams/t-a", 200, "application/json", `{"colour":"red",` + team + "}", false},
		"another type":              {"GET", "/api/v1/teams/t-a", 200, "application/json", strings.Replace("{"+team+"}", `"number":1`, `"number":"1"`, 1), false},
		"a null in place of a list": {"GET", "/api/v1/teams", 200, "application/json", `{"data":null,"total":0,"page":1,"per_page":50}`, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "https://localhost"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		if c.media != "" {
			header.Set("Content-Type", c.media)
		}
		if err := law.violation(r, c.status, header, []byte(c.body)); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
