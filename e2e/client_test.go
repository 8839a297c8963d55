//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// client calls a server as a stranger would: JSON, a key, and the root it was told to trust.
type client struct {
	base string // https://host:port
	key  string
	http *http.Client

	plain *http.Client // the same without a judge of its answers; nil where there is none
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// object is a JSON object.
type object = map[string]any

// newClient trusts the root only; its answers are judged.
func newClient(t testing.TB, base, key string, root []byte) *client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		t.Fatalf("the root is not a certificate:\n%s", root)
	}
	over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16}
	t.Cleanup(over.CloseIdleConnections)
	return &client{base: base, key: key, http: &http.Client{Transport: newJudge(t, over)}, plain: &http.Client{Transport: over, Timeout: patience}}
}

// overSocket speaks to the local socket, which needs no key.
func overSocket(path string) *client {
	return &client{base: "http://leafward", http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}}
}

// as is the same client with another key.
func (c *client) as(key string) *client {
	return &client{base: c.base, key: key, http: c.http, plain: c.plain}
}

// quick is the same client for what is measured: nobody holds its answers against the document, which takes longer than most
// of them.
func (c *client) quick() *client { return &client{base: c.base, key: c.key, http: c.plain} }

// send makes one request; the body is JSON, or raw when it is bytes. Headers come in pairs of name and value.
func (c *client) send(ctx context.Context, method, path string, body any, headers ...string) (answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return answer{}, err
	}
	if reader != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, text}, err
}

// expect makes one request that must be answered with the status, and returns the body when it is an object.
func (c *client) expect(t testing.TB, status int, method, path string, body any, headers ...string) object {
	t.Helper()
	a, err := c.send(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a.object()
}

// get reads one thing.
func (c *client) get(t testing.TB, path string) object {
	t.Helper()
	return c.expect(t, http.StatusOK, "GET", path, nil)
}

// rows reads all pages of a list.
func (c *client) rows(t testing.TB, path string) (rows []object) {
	t.Helper()
	mark := "?"
	if bytes.ContainsRune([]byte(path), '?') {
		mark = "&"
	}
	for cursor := ""; ; {
		page := c.get(t, path+mark+"per_page=500"+cursor)
		for _, row := range page["data"].([]any) {
			rows = append(rows, row.(object))
		}
		next, _ := page["next_cursor"].(string)
		if next == "" {
			return rows
		}
		cursor = "&cursor=" + next
	}
}

// object is the body, nil when it is not an object.
func (a answer) object() (o object) {
	_ = json.Unmarshal(a.body, &o) // lists of lines are none
	return o
}

// text is the property at a path, "" when it is not there.
func text(o object, path ...string) string {
	for _, name := range path[:len(path)-1] {
		o, _ = o[name].(object)
	}
	switch v := o[path[len(path)-1]].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}
