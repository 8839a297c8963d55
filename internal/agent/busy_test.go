package agent

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

func TestABusyServerIsAskedAgainWhenItSays(t *testing.T) {
	var status atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(int(status.Load()))
	}))
	defer s.Close()
	l := &link{client: &api.Client{Base: s.URL, HTTP: s.Client()}, id: "ag-1"}
	for _, code := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		status.Store(int64(code))
		_, err := l.work(t.Context(), 0)
		if leafward.KindOf(err) != leafward.Later && leafward.KindOf(err) != leafward.RateLimited {
			t.Errorf("%d is %v", code, err)
		}
		if wait := DefaultPace().backoff(0, err); wait != 17*time.Second {
			t.Errorf("after %d it waits %v", code, wait)
		}
	}
}
