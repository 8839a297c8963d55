package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/leafward/leafward/internal/pki"
)

// busy is a TLS server that has its own certificate as its root, and whose first answer to each operation is that it is
// busy; after tells until when.
func busy(t *testing.T, after string) (env map[string]string, keys func() []string) {
	t.Helper()
	var mu sync.Mutex
	var der []byte
	var posted []string
	seen := map[string]bool{}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/.well-known/pki/ca/root" {
			_, _ = w.Write(der)
			return
		}
		what := r.Method + " " + r.URL.Path
		if r.Method == http.MethodPost {
			posted = append(posted, r.Header.Get("Idempotency-Key"))
		}
		w.Header().Set("Content-Type", "application/json")
		if !seen[what] {
			seen[what] = true
			w.Header().Set("Retry-After", after)
			w.WriteHeader(map[string]int{http.MethodGet: http.StatusTooManyRequests, http.MethodPost: http.StatusServiceUnavailable}[r.Method])
			fmt.Fprint(w, `{"error":"rate_limited","message":"too many ask at once","fix":"wait"}`)
			return
		}
		fmt.Fprint(w, `{"data":[],"total":0,"id":"key-1","name":"ci","role":"viewer","key":"lwk_1"}`)
	}))
	t.Cleanup(s.Close)
	der = s.Certificate().Raw
	env = map[string]string{"LEAFWARD_SERVER": strings.Replace(s.URL, "localhost", "127.0.0.1", 1), "LEAFWARD_KEY": "lwk_x", "LEAFWARD_ROOT": pki.Fingerprint(der)}
	return env, func() []string { mu.Lock(); defer mu.Unlock(); return posted }
}

func TestABusyServerIsAskedAgainWhenItSays(t *testing.T) {
	t.Parallel()
	env, posted := busy(t, "1")
	s := typed(t, env, "key", "list")
	s.has(t, 0, "… the server is asked again in 1", "too many ask at once", "there are no API keys")
	made := typed(t, env, "key", "create", "ci", "--role", "viewer", "--json")
	if made.code != 0 || made.err != "" || !strings.Contains(made.out, `"lwk_1"`) {
		t.Errorf("a script hears %+v", made)
	}
	if keys := posted(); len(keys) != 2 || keys[0] == "" || keys[0] != keys[1] {
		t.Errorf("what is posted twice is not told to be the same: %q", keys)
	}
}

func TestAServerThatIsBusyForLongIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	env, _ := busy(t, "3600")
	s := typed(t, env, "key", "list")
	s.has(t, 1, "✖ rate_limited", "too many ask at once", "fix   wait; come back in 60m", "read  docs/errors.md")
	if strings.Contains(s.err, "asked again") {
		t.Errorf("it waits: %s", s.err)
	}
	env, _ = busy(t, "3600")
	if s := typed(t, env, "key", "list", "--json"); s.code != 1 || !strings.Contains(s.err, `"retry_after": 3600`) {
		t.Errorf("a script hears %+v", s)
	}
}
