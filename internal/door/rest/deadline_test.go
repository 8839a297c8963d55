package rest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/store/storetest"
)

// deadlines is an answer that notes the read deadlines which its request was given.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// A deadline that ends while the handler waits is taken by the server for a client that went away.
func TestNoDeadlineIsLeftOnARequestWhoseBodyWasRead(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for path, body := range map[string]string{"/api/v1/certificates?wait=1": `{"common_name":"a.example.com","key_source":"server"}`, "/api/v1/teams": `{"name":"shop"}`} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+h.keys["admin"])
		h.Config.Handler.ServeHTTP(w, req)
		if w.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		for _, at := range w.set {
			if !at.IsZero() {
				t.Errorf("%s: what the client sends must have come by %v", path, at)
			}
		}
	}
}
