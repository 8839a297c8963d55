//go:build linux

package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

// maxRenewals is how many renewals a jump of the clock may begin.
const maxRenewals = 4

// The clock jumps forward and back by an hour and by years: nothing begins in its future, lists and answers are of its present,
// no more renewals begin than may, everybody is told, and what was promised for a time holds for that time.
func TestTheClockJumps(t *testing.T) {
	flags := []string{"--clock=" + ago(3*day), "--max-renewals-per-hour=" + strconv.Itoa(maxRenewals)}
	t.Run("sqlite", func(t *testing.T) {
		newJumps(t, "sqlite", []*server{serve(t, "", flags...)}).run()
	})
	t.Run("postgres", func(t *testing.T) {
		x := newJumps(t, "postgres", replicas(t, 2, flags...))
		x.apart()
		x.run()
	})
}

// jumps is one run of the drill.
type jumps struct {
	*drill
	servers []*server
	ids     []string
	issued  []*certificate
	offset  time.Duration // of the clock, from the real one
	begun   int           // renewals begun so far
	most    int           // renewals that one jump began
}

func newJumps(t *testing.T, on string, servers []*server) *jumps {
	for _, s := range servers { // whose authorities are a few days old
		s.setClock(t, time.Now())
		s.ledger.await(t, "clock.jumped", "")
	}
	x := &jumps{drill: newDrill(t, "R11", on), servers: servers}
	for n := range sized(10, 100) {
		made := servers[0].admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": fmt.Sprintf("j%d.example.com", n), "key_source": "server"})
		x.ids = append(x.ids, text(made, "id"))
	}
	return x
}

func (x *jumps) run() {
	rounds := sized(1, 5)
	for range rounds {
		for _, by := range []time.Duration{time.Hour, -time.Hour, 400 * day, -400 * day, -day, day} {
			x.jump(by)
		}
	}
	a, err := x.servers[0].local().send(x.Context(), "GET", "/api/v1/audit/export", nil)
	if err != nil || a.status != http.StatusOK {
		x.Fatalf("%d %v", a.status, err)
	}
	if report, err := audit.Verify(bytes.NewReader(a.body)); err != nil {
		x.Errorf("the audit log does not verify after record %d: %v", report.Last, err)
	}
	x.measured("%d jumps of %d servers, each told by each, %d renewals begun by one at most, nothing of the future", 6*rounds, len(x.servers), x.most)
}

// now is what the clocks show.
func (x *jumps) now() time.Time { return time.Now().Add(x.offset) }

// jump moves the clocks and looks at everything.
func (x *jumps) jump(by time.Duration) {
	invitation := text(x.servers[0].local().expect(x.T, 201, "POST", "/api/v1/agents/invitations", object{}), "token")
	key := fmt.Sprintf("once-%d", time.Now().UnixNano())
	asked := object{"common_name": key + ".example.com", "key_source": "server"}
	first := x.servers[0].local().expect(x.T, 201, "POST", "/api/v1/certificates?wait=30", asked, "Idempotency-Key", key)
	x.offset += by
	for _, s := range x.servers {
		s.advance(x.T, by)
	}
	for _, s := range x.servers {
		s.ledger.next(x.T, fmt.Sprintf("clock.jumped by %s", by), func(e event) bool {
			told, _ := e.Event.Details["by_seconds"].(float64)
			return e.Event.Action == "clock.jumped" && (time.Duration(told)*time.Second-by).Abs() < 5*time.Second
		})
	}
	x.begins(by)
	x.lists(by)
	if by.Abs() < day {
		again := x.servers[0].local().expect(x.T, 201, "POST", "/api/v1/certificates?wait=30", asked, "Idempotency-Key", key)
		if text(again, "id") != text(first, "id") {
			x.Errorf("after %s a repeated request made %s, not %s", by, text(again, "id"), text(first, "id"))
		}
	}
	x.invited(by, invitation)
	x.renewals(by)
}

// begins: what is signed now begins now or before, on every road and server.
func (x *jumps) begins(by time.Duration) {
	for i, s := range x.servers {
		host := fmt.Sprintf("b%d-%d.example.com", i, time.Now().UnixNano())
		_, csr := newCSR(x.T, host)
		straight := s.local().expect(x.T, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": host, "csr_pem": csr})
		byJob := s.local().expect(x.T, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": "job-" + host, "key_source": "server"})
		for _, made := range []object{straight, byJob} {
			if made["version"] == nil {
				x.Fatalf("after %s it is not issued: %v; %v", by, made, s.local().rows(x.T, "/api/v1/jobs?certificate_id="+text(made, "id")))
			}
			leaf := leafOf(x.T, text(made, "version", "pem_chain"))
			if now := x.now(); leaf.NotBefore.After(now) || leaf.NotAfter.Before(now) {
				x.Errorf("after %s, at %s, a certificate is valid from %s to %s", by, now, leaf.NotBefore, leaf.NotAfter)
			}
			x.issued = append(x.issued, &certificate{id: text(made, "id"), serial: text(made, "version", "serial_number")})
		}
		conn, err := tls.Dial("tcp", s.listen, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			x.Fatal(err)
		}
		if own := conn.ConnectionState().PeerCertificates[0]; own.NotBefore.After(x.now()) {
			s.ledger.next(x.T, "a certificate of the server's own", func(e event) bool {
				return e.Event.Resource != "" && e.Event.Action == "certificate.issued" && e.Event.Details["names"] != nil
			})
		}
		conn.Close()
	}
}

// lists: every CRL and every OCSP answer is of the present, soon.
func (x *jumps) lists(by time.Duration) {
	for _, s := range x.servers {
		late := time.Now().Add(5 * time.Second)
		for {
			list, err := x509.ParseRevocationList(fetch(x.T, s.plain+"/.well-known/pki/crl/iss-local"))
			if err != nil {
				x.Fatal(err)
			}
			now := x.now()
			if !list.ThisUpdate.After(now) && list.NextUpdate.After(now) {
				break
			}
			if time.Now().After(late) {
				x.Errorf("after %s, at %s, the CRL is of %s to %s", by, now, list.ThisUpdate, list.NextUpdate)
				break
			}
			<-time.After(50 * time.Millisecond)
		}
		v := newVerdict(x.T, &crashes{server: s})
		for _, c := range x.issued {
			id, err := ocsp.NewCertID(crypto.SHA256, v.issuing, number(x.T, c.serial))
			if err != nil {
				x.Fatal(err)
			}
			request, err := ocsp.EncodeRequest([]ocsp.CertID{id}, nil)
			if err != nil {
				x.Fatal(err)
			}
			body, err := v.post(x.T, request)
			if err != nil {
				x.Fatal(err)
			}
			parsed, err := ocsp.ParseResponse(body)
			if err != nil || len(parsed.Singles) != 1 {
				x.Fatalf("%v %+v", err, parsed)
			}
			now := x.now()
			if one := parsed.Singles[0]; one.Status != ocsp.Good || one.ThisUpdate.After(now) || one.NextUpdate.Before(now) || parsed.ProducedAt.After(now) {
				x.Errorf("after %s, at %s, an OCSP answer says %v and is of %s to %s, made %s", by, now, one.Status, one.ThisUpdate, one.NextUpdate, parsed.ProducedAt)
			}
			if len(parsed.Certs) > 0 && parsed.Certs[0].NotBefore.After(now) {
				x.Errorf("after %s the responder's certificate begins at %s", by, parsed.Certs[0].NotBefore)
			}
		}
	}
}

// invited: an invitation is good for its hour, and not for the years that a clock was ahead; a key stays one.
func (x *jumps) invited(by time.Duration, token string) {
	want := http.StatusUnauthorized
	if by == -time.Hour {
		want = http.StatusCreated
	}
	s := x.servers[0]
	unjudged := &client{base: s.url, http: &http.Client{Transport: &http.Transport{ // its certificate is of the server's time, not of ours
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}}
	unjudged.as(s.admin.key).expect(x.T, http.StatusOK, "GET", "/api/v1/auth/check", nil)
	unjudged.as(token).expect(x.T, want, "POST", "/api/v1/agents", object{"name": fmt.Sprintf("agent-%d", time.Now().UnixNano()), "hostname": "host"})
}

// renewals: no more were begun than may be.
func (x *jumps) renewals(by time.Duration) {
	x.Helper()
	roots := x.servers[0].local().rows(x.T, "/api/v1/jobs?type=Renewal")
	began := len(roots) - x.begun
	x.begun, x.most = len(roots), max(x.most, began)
	if began > maxRenewals {
		x.Errorf("%d renewals began after %s", began, by)
	}
	if open := slices.ContainsFunc(roots, func(j object) bool { return text(j, "status") == "Failed" }); open {
		x.Errorf("after %s a renewal has failed", by)
	}
}

// apart sets the clock of the last server's machine alone 90 s ahead of the others and the database: it takes no work, says why,
// and what it signs for callers begins by the database's clock.
func (x *jumps) apart() {
	s := x.servers[len(x.servers)-1]
	s.local().expect(x.T, 200, "POST", "/testhooks/clock", object{"skew": "90s"})
	s.ledger.await(x.T, "clock.jumped", "")
	late := time.Now().Add(patience)
	for {
		a, err := s.local().send(x.Context(), "GET", "/ready", nil)
		if err != nil {
			x.Fatal(err)
		}
		if a.status == http.StatusServiceUnavailable && strings.Contains(string(a.body), "off the database's") {
			break
		}
		if time.Now().After(late) {
			x.Fatalf("a clock that is 90 s off is ready: %d %s", a.status, a.body)
		}
	}
	x.begins(90 * time.Second)
	x.lists(90 * time.Second)
}
