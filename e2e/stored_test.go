//go:build linux

package e2e_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki/ocsp"
)

// What is signed cannot be stored, again and again: the client is told that it failed, and whoever asks again with the same
// Idempotency-Key within five minutes gets what was to be signed then. What nobody asks for again is closed as revoked.
func TestWhatIsSignedAndNotStoredIsOnRecord(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		x := &stored{drill: newDrill(t, "R5", engineOf(dsn)), server: serve(t, dsn)}
		for n := range sized(24, 200) {
			host := fmt.Sprintf("s%d.example.com", n)
			_, csr := newCSR(t, host)
			x.asked = append(x.asked, &signed{host: host, body: object{"common_name": host, "csr_pem": csr}})
		}
		x.run()
	})
}

// signed is a request whose certificate was signed and not stored.
type signed struct {
	host string
	body object
	certificate
	leaf *x509.Certificate
}

// stored is one run of the drill.
type stored struct {
	*drill
	server *server
	asked  []*signed
}

func (x *stored) run() {
	s, half := x.server, len(x.asked)/2
	s.local().expect(x.T, 200, "POST", "/testhooks/failpoint", object{"name": "ca.after-sign", "action": "panic"})
	x.all(x.asked, func(one *signed) {
		if status := x.ask(one); status < 500 {
			x.Errorf("%s was not stored, and is answered %d", one.host, status)
		}
	})
	s.local().expect(x.T, 200, "POST", "/testhooks/failpoint", object{"name": "ca.after-sign", "action": ""})
	failed := time.Now()
	s.advance(x.T, 4*time.Minute)
	x.all(x.asked[:half], func(one *signed) {
		if status := x.ask(one); status != http.StatusCreated {
			x.Errorf("%s is asked for again, and answered %d", one.host, status)
			return
		}
		if first := one.leaf.NotBefore; first.After(failed.Add(-4 * time.Minute)) {
			x.Errorf("%s begins at %s: it is another than that which was signed at %s at the latest", one.host, first, failed)
		}
		serial := one.serial
		if status := x.ask(one); status != http.StatusCreated || one.serial != serial {
			x.Errorf("%s has the serials %s and %s", one.host, serial, one.serial)
		}
	})
	if x.Failed() {
		return
	}
	v := newVerdict(x.T, &crashes{server: s})
	for _, one := range x.asked[:half] {
		x.answers(v, one.serial, ocsp.Good)
	}
	s.advance(x.T, 2*time.Minute)
	closed := x.closed(len(x.asked) - half)
	for serial := range closed {
		x.answers(v, serial, ocsp.Revoked)
	}
	for _, one := range x.asked[:half] {
		if closed[number(x.T, one.serial).Text(16)] {
			x.Errorf("%s was stored, and is closed as revoked", one.host)
		}
		s.admin.expect(x.T, 200, "POST", "/api/v1/certificates/"+one.id+"/revoke", object{"reason": "superseded"})
		x.answers(v, one.serial, ocsp.Revoked)
	}
	x.all(x.asked[half:], func(one *signed) {
		if status := x.ask(one); status != http.StatusCreated || closed[number(x.T, one.serial).Text(16)] {
			x.Errorf("%s is asked for after five minutes, and answered %d with the serial %s", one.host, status, one.serial)
		}
	})
	x.measured("%d signed and not stored, each answered 5xx; %d asked for again in time got the same serial, %d closed as revoked", len(x.asked), half, len(closed))
}

// all does something to all of them with eight hands.
func (x *stored) all(some []*signed, do func(*signed)) {
	var doing sync.WaitGroup
	for hand := range 8 {
		doing.Go(func() {
			for i := hand; i < len(some); i += 8 {
				do(some[i])
			}
		})
	}
	doing.Wait()
}

// ask asks for a certificate under a key that is always the same.
func (x *stored) ask(one *signed) int {
	a, err := x.server.admin.send(x.Context(), "POST", "/api/v1/certificates?wait=30", one.body, "Idempotency-Key", one.host)
	if err != nil {
		x.Error(err)
		return 0
	}
	if a.status == http.StatusCreated {
		one.id, one.serial = text(a.object(), "id"), text(a.object(), "version", "serial_number")
		one.leaf = leafOf(x.T, text(a.object(), "version", "pem_chain"))
	}
	return a.status
}

// answers: OCSP says so of a serial.
func (x *stored) answers(v *verdict, serial string, want ocsp.Status) {
	if got, err := v.ask(x.T, &certificate{serial: serial}); err != nil || got != want {
		x.Errorf("OCSP says of %s %v (%v), not %v", serial, got, err, want)
	}
}

// closed waits until the CRL lists so many serials, all of which nobody was given.
func (x *stored) closed(want int) map[string]bool {
	look, late := time.NewTicker(100*time.Millisecond), time.After(patience)
	defer look.Stop()
	for {
		list, err := x509.ParseRevocationList(fetch(x.T, x.server.plain+"/.well-known/pki/crl/iss-local"))
		if err != nil {
			x.Fatal(err)
		}
		serials := map[string]bool{}
		for _, e := range list.RevokedCertificateEntries {
			serials[e.SerialNumber.Text(16)] = true
		}
		if len(serials) == want {
			return serials
		}
		select {
		case <-look.C:
		case <-late:
			x.Fatalf("the CRL lists %d serials that nobody was given, not %d", len(serials), want)
		}
	}
}
