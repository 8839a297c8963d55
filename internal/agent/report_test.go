package agent

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/target"
)

func TestAStepThatIsBeingSentWhenTheWorkEndsIsSentOnce(t *testing.T) {
	var r *report
	var sent atomic.Int32
	asked, ready, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if sent.Add(1) == 1 {
			<-ready
			close(asked)
			<-over
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"updated"}`))
	}))
	defer s.Close()
	a := &Agent{link: &link{client: &api.Client{Base: s.URL, HTTP: s.Client()}, id: "ag-web1"}}
	r = newReport(t.Context(), a, &shift{item: item{ID: "job-1"}})
	stop := r.stop
	r.stop = func() { stop(); close(over) }
	close(ready)
	r.tell(target.Step{Name: "prove", OK: true, Message: "the new certificate is served"})
	<-asked
	r.close()
	if err := r.flush(t.Context()); err != nil || sent.Load() != 1 {
		t.Errorf("it was sent %d times: %v", sent.Load(), err)
	}
}
