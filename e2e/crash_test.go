//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crashClients is how many clients work at once while the server is killed.
const crashClients = 8

// maxRestart is how long a server may take to be ready again.
const maxRestart = 2 * time.Second

// A server that is killed at any moment loses nothing that it acknowledged, and does nothing twice. The judge is the
// clients' own list of what was acknowledged to them.
func TestNothingAcknowledgedIsLostWhenTheServerIsKilled(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := &crashes{drill: newDrill(t, "R1", engineOf(dsn)), server: serve(t, dsn), kills: sized(6, 40), target: int64(sized(240, 10_000)), shared: dsn != "", up: make(chan struct{})}
		close(d.up)
		var working sync.WaitGroup
		for i := range crashClients {
			c := &crasher{crashes: d, t: t, name: fmt.Sprintf("c%d", i), random: d.random(i)}
			d.clients = append(d.clients, c)
			working.Go(c.work)
		}
		worst := d.killAgainAndAgain(t)
		working.Wait()
		if t.Failed() {
			return
		}
		v := newVerdict(t, d)
		v.run(t)
		d.measured("%d certificates and %d revocations acknowledged, %d requests sent again, %d kills, ready again after %s at most",
			len(v.issued), len(v.revoked), d.again.Load(), d.kills, worst.Round(time.Millisecond))
		if worst > maxRestart {
			t.Errorf("the server was ready again after %s; the limit is %s", worst, maxRestart)
		}
	})
}

// crashes is one run of the crash test.
type crashes struct {
	*drill
	server  *server
	kills   int
	target  int64 // certificates in all
	shared  bool  // the database could have other servers
	clients []*crasher

	begun atomic.Int64 // certificates begun
	acked atomic.Int64 // acknowledgements of any kind
	again atomic.Int64 // requests sent again

	mu sync.Mutex
	up chan struct{} // closed while the server is up
}

// killAgainAndAgain ends the server at random moments while the clients work, and returns the longest time that it took
// to be ready again.
func (d *crashes) killAgainAndAgain(t *testing.T) (worst time.Duration) {
	random := d.random(1 << 32)
	for k := range d.kills {
		// Spread over the work, in acknowledgements, and then anywhere within one of them.
		mark := d.target * int64(k+1) / int64(d.kills+1)
		if !d.reached(t, mark) {
			return worst
		}
		<-time.After(time.Duration(random.IntN(60_000)) * time.Microsecond)
		d.mu.Lock()
		d.up = make(chan struct{})
		d.mu.Unlock()
		d.server.kill()
		var flags []string
		if d.shared { // as if another server might still work: its leases have to end first
			flags = append(flags, "--clock="+ago(time.Duration(-2*(k+1))*time.Minute))
		}
		took := d.server.start(t, flags...)
		worst = max(worst, took)
		close(d.up)
	}
	return worst
}

// reached waits until the clients have begun so many certificates; false when they have failed.
func (d *crashes) reached(t *testing.T, mark int64) bool {
	look, deadline := time.NewTicker(time.Millisecond), time.After(10*time.Minute)
	defer look.Stop()
	for d.begun.Load() < mark {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("the clients have begun %d certificates and come no further", d.begun.Load())
		}
		if t.Failed() {
			return false
		}
	}
	return true
}

// alive is closed while the server is up.
func (d *crashes) alive() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.up
}

// certificate is what a client was told of one.
type certificate struct {
	id, name, serial, fingerprint string
	revoked                       string // the reason, "" while it is not
}

// crasher is one client: it issues and revokes, sends again what was not answered, and writes down what was acknowledged.
type crasher struct {
	*crashes
	t      *testing.T
	name   string
	random *rand.Rand
	list   []*certificate
}

func (c *crasher) work() {
	for n := 0; c.begun.Add(1) <= c.target && !c.t.Failed(); n++ {
		c.issue(n)
		if c.random.IntN(10) < 3 && len(c.list) > 0 {
			c.revoke(c.list[c.random.IntN(len(c.list))])
		}
	}
}

// issue gets one certificate and writes it down once the server has said that it is issued.
func (c *crasher) issue(n int) {
	host := fmt.Sprintf("%s-%d.crash.example.com", c.name, n)
	_, csr := newCSR(c.t, host)
	body := object{"name": host, "common_name": host, "csr_pem": csr}
	var made object
	ok := c.until("issue "+host, func(ctx context.Context) (done bool, err error) {
		a, err := c.server.admin.send(ctx, "POST", "/api/v1/certificates?wait=20", body, "Idempotency-Key", "issue-"+host)
		if err != nil || retry(a) {
			return false, err
		}
		if a.status != http.StatusCreated {
			return false, refusal(a)
		}
		made = a.object()
		return text(made, "version", "serial_number") != "", nil
	})
	if !ok {
		return
	}
	c.acked.Add(1)
	c.list = append(c.list, &certificate{id: text(made, "id"), name: host, serial: text(made, "version", "serial_number"), fingerprint: text(made, "version", "fingerprint_sha256")})
}

// revoke revokes one and writes it down once the server has said so.
func (c *crasher) revoke(cert *certificate) {
	if cert.revoked != "" {
		return
	}
	reason := []string{"superseded", "cessationOfOperation", "keyCompromise", "unspecified"}[c.random.IntN(4)]
	if c.until("revoke "+cert.name, func(ctx context.Context) (bool, error) {
		a, err := c.server.admin.send(ctx, "POST", "/api/v1/certificates/"+cert.id+"/revoke", object{"reason": reason}, "Idempotency-Key", "revoke-"+cert.id)
		if err != nil || retry(a) {
			return false, err
		}
		if a.status != http.StatusOK {
			return false, refusal(a)
		}
		return true, nil
	}) {
		c.acked.Add(1)
		cert.revoked = reason
	}
}

// refused ends the attempts: the server understood and said no.
type refused struct{ error }

func refusal(a answer) error { return refused{fmt.Errorf("%d: %s", a.status, a.body)} }

// retry tells an answer that says to come again.
func retry(a answer) bool {
	return a.status == http.StatusServiceUnavailable || a.status == http.StatusConflict && a.header.Get("Retry-After") != ""
}

// until sends a request until it is done, as a client does whose server goes away: with the same Idempotency-Key.
func (c *crasher) until(what string, attempt func(context.Context) (bool, error)) bool {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	for tries := 0; ; tries++ {
		select {
		case <-c.alive():
		case <-ctx.Done():
			c.t.Errorf("%s: the server did not come back", what)
			return false
		}
		done, err := attempt(ctx)
		if done {
			return true
		}
		if no, ok := errors.AsType[refused](err); ok || tries == 200 {
			c.t.Errorf("%s: attempt %d: %v, %v", what, tries+1, no.error, err)
			return false
		}
		c.again.Add(1)
		select {
		case <-time.After(time.Duration(10+c.random.IntN(40)) * time.Millisecond): // as Retry-After asks, in small
		case <-ctx.Done():
		}
	}
}
