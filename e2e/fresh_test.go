//go:build linux

package e2e_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

// Within which time a revocation is seen everywhere.
const (
	maxFresh   = 10 * time.Second // of any
	usualFresh = 5 * time.Second  // of 99 in 100
)

// A revocation is seen in OCSP and on the CRL of every server soon, however often the answers were asked for before, and is
// not taken back.
func TestARevocationIsSeenOnEveryServer(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { fresh(t, newDrill(t, "R39", "sqlite"), []*server{serve(t, "")}) })
	t.Run("postgres", func(t *testing.T) { fresh(t, newDrill(t, "R39", "postgres"), replicas(t, 3)) })
}

// replicas are servers on one PostgreSQL database; the first made it.
func replicas(t *testing.T, n int, flags ...string) []*server {
	t.Helper()
	dsn, master := pgtest.DSN(t), filepath.Join(t.TempDir(), "master.key")
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	if err := os.WriteFile(master, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []*server
	for range n {
		s := newServer(t, dsn, "--master-key-file", master)
		s.start(t, flags...)
		if len(all) == 0 {
			s.open(t)
		} else {
			s.admin = newClient(t, s.url, all[0].admin.key, s.root(t))
			s.ledger = follow(t, filepath.Join(s.dir, "ledger"))
		}
		all = append(all, s)
	}
	return all
}

// revoked is a certificate and when each server was first seen to say that it is revoked.
type revoked struct {
	certificate
	at   time.Time
	seen map[string]time.Time // by server and means
}

func fresh(t *testing.T, d *drill, servers []*server) {
	first := servers[0]
	var all []*revoked
	for n := range sized(40, 500) {
		_, made := first.issue(t, fmt.Sprintf("f%d.example.com", n))
		all = append(all, &revoked{certificate: certificate{id: text(made, "id"), serial: text(made, "version", "serial_number")}, seen: map[string]time.Time{}})
	}
	means := len(servers) * 2
	look(t, servers, all) // so that answers are kept
	for i, c := range all {
		servers[i%len(servers)].admin.expect(t, 200, "POST", "/api/v1/certificates/"+c.id+"/revoke", object{"reason": "superseded"})
		c.at = time.Now()
		if i%10 == 9 {
			look(t, servers, all)
		}
	}
	deadline := time.Now().Add(maxFresh)
	for time.Now().Before(deadline) && slices.ContainsFunc(all, func(c *revoked) bool { return len(c.seen) < means }) {
		look(t, servers, all)
	}
	look(t, servers, all) // nothing is taken back
	var waits []time.Duration
	for _, c := range all {
		if len(c.seen) < means {
			t.Errorf("%s is seen as revoked only by %v", c.serial, c.seen)
			continue
		}
		worst := time.Duration(0)
		for _, at := range c.seen {
			worst = max(worst, at.Sub(c.at))
		}
		waits = append(waits, worst)
	}
	slices.Sort(waits)
	if len(waits) == 0 {
		return
	}
	p99, most := waits[len(waits)*99/100], waits[len(waits)-1]
	if p99 > usualFresh || most > maxFresh {
		t.Errorf("99 of 100 revocations were seen everywhere after %s, the last after %s", p99, most)
	}
	d.measured("%d revocations, %d servers, seen everywhere by OCSP and CRL: p99 %s, max %s", len(all), len(servers), p99.Round(time.Millisecond), most.Round(time.Millisecond))
}

// look asks every server for every certificate, by OCSP and on its CRL.
func look(t *testing.T, servers []*server, all []*revoked) {
	t.Helper()
	for i, s := range servers {
		v := newVerdict(t, &crashes{server: s})
		list, err := x509.ParseRevocationList(fetch(t, s.plain+"/.well-known/pki/crl/iss-local"))
		if err != nil {
			t.Fatal(err)
		}
		listed := map[string]bool{}
		for _, e := range list.RevokedCertificateEntries {
			listed[e.SerialNumber.Text(16)] = true
		}
		for _, c := range all {
			status, err := v.ask(t, &c.certificate)
			if err != nil {
				t.Fatal(err)
			}
			c.note(t, fmt.Sprintf("OCSP of %d", i), status == ocsp.Revoked)
			c.note(t, fmt.Sprintf("CRL of %d", i), listed[number(t, c.serial).Text(16)])
		}
	}
}

// note writes down the first time that it was said to be revoked, and that it is never said otherwise again.
func (c *revoked) note(t *testing.T, by string, said bool) {
	t.Helper()
	_, before := c.seen[by]
	switch {
	case said && c.at.IsZero():
		t.Errorf("%s says that %s is revoked, which it is not", by, c.serial)
	case said && !before:
		c.seen[by] = time.Now()
	case before && !said:
		t.Errorf("%s took the revocation of %s back", by, c.serial)
	}
}
