package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leafward/leafward/api"
)

// answering is a transport that gives the same answer again and again.
type answering struct {
	status int
	after  string
	asked  int
}

func (a *answering) RoundTrip(*http.Request) (*http.Response, error) {
	a.asked++
	r := &http.Response{StatusCode: a.status, Status: "said so", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"message":"busy"}`))}
	if a.after != "" {
		r.Header.Set("Retry-After", a.after)
	}
	return r, nil
}

func TestTheWaitForABusyServerHasAnEnd(t *testing.T) {
	for name, c := range map[string]struct {
		status      int
		after, path string
		asked       int
		waited      time.Duration
	}{
		"again and again":        {429, "20", "/x", 4, time.Minute},
		"unavailable":            {503, "45", "/x", 2, 45 * time.Second},
		"longer than patience":   {503, "61", "/x", 1, 0},
		"for ever":               {429, "4294967295", "/x", 1, 0},
		"without saying when":    {503, "", "/x", 1, 0},
		"with nonsense":          {503, "soon", "/x", 1, 0},
		"at once":                {503, "0", "/x", 1, 0},
		"another refusal":        {409, "5", "/x", 1, 0},
		"not ready is an answer": {503, "5", api.GetReady.Path, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			left, told, begun := patience, 0, time.Now()
			server := &answering{status: c.status, after: c.after}
			p := patient{server, &left, func(_ time.Duration, why string) {
				if told++; why != "busy" {
					t.Errorf("%s: told %q", name, why)
				}
			}}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server"+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := p.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if text, _ := io.ReadAll(response.Body); response.StatusCode != c.status || string(text) != `{"message":"busy"}` {
				t.Errorf("%s: the last word is %d %s", name, response.StatusCode, text)
			}
			if waited := time.Since(begun); server.asked != c.asked || waited != c.waited || told != c.asked-1 {
				t.Errorf("%s: asked %d times, told %d times, within %v", name, server.asked, told, waited)
			}
		})
	}
}

func TestAWaitEndsWithTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		left := patience
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := patient{&answering{status: 503, after: "30"}, &left, func(time.Duration, string) {}}.RoundTrip(request)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v %v", response, err)
		}
	})
}
