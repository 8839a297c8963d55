//go:build linux

package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// One address asks without a key far more often than it may, at every door that needs none: it is told when to come back, and
// whoever has a key or another address does not notice.
func TestWhoAsksTooOftenKeepsNobodyElseAway(t *testing.T) {
	d := newDrill(t, "R25", "sqlite")
	s := serve(t, "")
	f := &fairness{t: t, server: s, stop: time.Now().Add(time.Duration(sized(2, 20)) * time.Second)}
	var working sync.WaitGroup
	paths := []string{"/api/v1/teams", "/api/v1/auth/info", "/health", "/api/openapi.json"}
	for hand := range 8 { // as fast as it goes
		working.Go(func() {
			c := f.from("127.0.0.66")
			for n := 0; f.going(); n++ {
				f.abuse(c, paths[(n+hand)%len(paths)])
			}
		})
	}
	working.Go(func() { f.others(f.from("127.0.0.1"), "/api/v1/teams", s.admin.key, time.Millisecond) })
	for i := range 5 { // each within its rate
		working.Go(func() { f.others(f.from("127.0.0."+strconv.Itoa(70+i)), "/health", "", 100*time.Millisecond) })
	}
	working.Wait()
	if f.refused.Load() == 0 || f.refused.Load() < 5*f.passed.Load() {
		t.Errorf("of the abuser's requests %d passed and %d were refused", f.passed.Load(), f.refused.Load())
	}
	d.measured("the abuser was refused %d times and heard %d times; others: %d of %d requests answered", f.refused.Load(), f.passed.Load(), f.well.Load(), f.all.Load())
	if lost := f.all.Load() - f.well.Load(); lost*1000 > f.all.Load() {
		t.Errorf("%d of %d requests of others were not answered", lost, f.all.Load())
	}
}

// fairness is one run of the drill.
type fairness struct {
	t      *testing.T
	server *server
	stop   time.Time

	refused, passed atomic.Int64 // the abuser's
	all, well       atomic.Int64 // everybody else's
}

func (f *fairness) going() bool { return time.Now().Before(f.stop) && !f.t.Failed() }

// from is a client at an address.
func (f *fairness) from(address string) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(f.server.root(f.t))
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	over := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}
	f.t.Cleanup(over.CloseIdleConnections)
	return &http.Client{Transport: over}
}

func (f *fairness) ask(c *http.Client, path, key string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.server.url+path, nil)
	if err != nil {
		return nil, err
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := c.Do(request)
	if err == nil {
		response.Body.Close()
	}
	return response, err
}

func (f *fairness) abuse(c *http.Client, path string) {
	response, err := f.ask(c, path, "")
	switch {
	case err != nil:
		f.t.Errorf("the abuser is not answered at all: %v", err)
	case response.StatusCode != http.StatusTooManyRequests:
		f.passed.Add(1)
	case response.Header.Get("Retry-After") == "":
		f.t.Error("the abuser is not told when to come back")
	default:
		f.refused.Add(1)
	}
}

// others asks at a bearable pace.
func (f *fairness) others(c *http.Client, path, key string, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for f.going() {
		<-tick.C
		f.all.Add(1)
		if response, err := f.ask(c, path, key); err == nil && response.StatusCode == http.StatusOK {
			f.well.Add(1)
		}
	}
}
