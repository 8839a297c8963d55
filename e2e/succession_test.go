//go:build linux

package e2e_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

// While certificates are issued, the issuing authority comes near its end and is succeeded: no request fails, no certificate
// outlives its authority, every chain verifies, and both authorities answer for what they signed.
func TestAnAuthorityIsSucceededUnderLoad(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R45", engineOf(dsn))
		s := serve(t, dsn)
		old, err := x509.ParseCertificate(fetch(t, s.plain+"/.well-known/pki/ca/iss-local"))
		if err != nil {
			t.Fatal(err)
		}
		l := &succession{server: s, many: sized(15, 400)}
		before := l.load(t, "before", nil)
		s.setClock(t, old.NotAfter.Add(-181*day))
		meanwhile := l.load(t, "meanwhile", func() {
			s.setClock(t, old.NotAfter.Add(-179*day))
			s.ledger.await(t, "authority.succeeded", "")
		})
		after := l.load(t, "after", nil)
		if t.Failed() {
			return
		}
		by := map[string]int{}
		for _, c := range before {
			l.judge(t, c, time.Now(), by)
		}
		for _, c := range append(meanwhile, after...) {
			l.judge(t, c, old.NotAfter.Add(-179*day), by)
		}
		heir, err := x509.ParseCertificate(fetch(t, s.plain+"/.well-known/pki/ca/iss-local"))
		if err != nil {
			t.Fatal(err)
		}
		if heir.Subject.String() == old.Subject.String() || by[heir.Subject.CommonName] == 0 || by[old.Subject.CommonName] == 0 {
			t.Errorf("signed by %v", by)
		}
		d.measured("%d certificates by the old authority, %d by its successor, 0 requests refused", by[old.Subject.CommonName], by[heir.Subject.CommonName])
	})
}

// succession is one run of the drill.
type succession struct {
	server *server
	many   int
}

// load issues many certificates with eight hands, and does something in the midst of that. It speaks over the socket, since
// the clock of the server is years ahead of that of its clients.
func (l *succession) load(t *testing.T, what string, midst func()) (chains []string) {
	t.Helper()
	var working sync.WaitGroup
	var mu sync.Mutex
	half := make(chan struct{}, 8*l.many)
	for hand := range 8 {
		working.Go(func() {
			for n := range l.many {
				host := fmt.Sprintf("%s-%d-%d.example.com", what, hand, n)
				_, csr := newCSR(t, host)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				a, err := l.server.local().send(ctx, "POST", "/api/v1/certificates?wait=20", object{"common_name": host, "csr_pem": csr})
				cancel()
				if err != nil || a.status != http.StatusCreated || text(a.object(), "version", "pem_chain") == "" {
					t.Errorf("%s: %d %v %s", host, a.status, err, a.body)
				}
				mu.Lock()
				chains = append(chains, text(a.object(), "version", "pem_chain"))
				mu.Unlock()
				half <- struct{}{}
			}
		})
	}
	if midst != nil {
		for range 3 * l.many {
			<-half
		}
		midst()
	}
	working.Wait()
	return chains
}

// judge holds one chain against the root at a moment, and asks its authority for it.
func (l *succession) judge(t *testing.T, text string, at time.Time, by map[string]int) {
	t.Helper()
	chain, err := pki.ParseChainPEM([]byte(text))
	if err != nil || len(chain) != 2 {
		t.Fatalf("the chain is %v %v", chain, err)
	}
	leaf, issuer := chain[0], chain[1]
	block, _ := pem.Decode(l.server.root(t))
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	between.AddCert(issuer)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at}); err != nil {
		t.Errorf("%s: %v", leaf.Subject, err)
	}
	if leaf.NotAfter.After(issuer.NotAfter) {
		t.Errorf("%s outlives its authority", leaf.Subject)
	}
	v := &verdict{crashes: &crashes{server: l.server}, issuing: issuer}
	if status, err := v.ask(t, &certificate{serial: leaf.SerialNumber.Text(16)}); err != nil || status != ocsp.Good {
		t.Errorf("OCSP says that %s is %v: %v", leaf.Subject, status, err)
	}
	by[issuer.Subject.CommonName]++
}
