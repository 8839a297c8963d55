//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A CRL that names very many is published soon after each revocation, nobody who wants a certificate meanwhile waits for it,
// and who has it already is told so.
func TestAVeryLongCRLIsPublishedBesideIssuance(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R24", engineOf(dsn))
		many := sized(300, 100_000)
		s := serve(t, dsn)
		_, model := s.issue(t, "revoked.example.com")
		s.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(model, "id")+"/revoke", object{"reason": "keyCompromise"})
		s.multiply(t, dsn, many-1, text(model, "id"))
		c := &longCRL{server: s}
		c.revoke(t, "first.example.com")
		c.names(t, many+1)
		alone := c.issueFor(t, "alone", sized(20, 1000), nil)
		rounds := sized(3, 20)
		var waits []time.Duration
		var beside time.Duration
		var issuing sync.WaitGroup
		done := make(chan struct{})
		issuing.Go(func() { beside = c.issueFor(t, "beside", sized(20, 1000), done) })
		for n := range rounds {
			waits = append(waits, c.revoke(t, fmt.Sprintf("next-%d.example.com", n)))
		}
		close(done)
		issuing.Wait()
		c.names(t, many+1+rounds)
		c.unchanged(t)
		most := slices.Max(waits)
		if *long && most > 2*time.Second {
			t.Errorf("a revocation was on the CRL after %s", most)
		}
		if *long && beside > alone+alone/5 {
			t.Errorf("99 of 100 certificates were issued within %s, and within %s while nothing was published", beside, alone)
		}
		d.measured("a CRL of %d published %d times, each revocation on it after %s at most; 99 of 100 certificates meanwhile within %s, else %s",
			many+1, rounds, most.Round(time.Millisecond), beside.Round(time.Millisecond), alone.Round(time.Millisecond))
	})
}

// longCRL follows the CRL of a server.
type longCRL struct {
	*server
	tag  string // of the list that was read last
	last []byte
}

// revoke issues and revokes a certificate and waits until the CRL names it. The list is not read for it, which would take longer
// than to make it: a serial number is found in it as it is encoded.
func (c *longCRL) revoke(t *testing.T, name string) (took time.Duration) {
	_, made := c.issue(t, name)
	serial, err := asn1.Marshal(number(t, text(made, "version", "serial_number")))
	if err != nil {
		t.Error(err)
		return 0
	}
	c.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(made, "id")+"/revoke", object{"reason": "superseded"})
	for begun := time.Now(); time.Since(begun) < patience; <-time.After(10 * time.Millisecond) {
		if der, fresh := c.read(t); fresh && bytes.Contains(der, serial) {
			c.last = der
			return time.Since(begun)
		}
	}
	t.Errorf("%s is not on the CRL", name)
	return 0
}

// names reads the list that was fetched last, and counts whom it names.
func (c *longCRL) names(t *testing.T, want int) {
	t.Helper()
	list, err := x509.ParseRevocationList(c.last)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(list.RevokedCertificateEntries); n != want {
		t.Fatalf("the CRL names %d, not %d", n, want)
	}
}

// read fetches the CRL unless it is the one that was read last.
func (c *longCRL) read(t *testing.T) (der []byte, fresh bool) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.plain+"/.well-known/pki/crl/iss-local", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("If-None-Match", c.tag)
	response, err := plain(t).Do(request)
	if err != nil {
		t.Error(err)
		return nil, false
	}
	defer response.Body.Close()
	der, err = io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK && (response.StatusCode != http.StatusNotModified || len(der) > 0) {
		t.Errorf("the CRL: %s, %d bytes, %v", response.Status, len(der), err)
	}
	if fresh = response.StatusCode == http.StatusOK; fresh {
		c.tag = response.Header.Get("ETag")
	}
	return der, fresh
}

// unchanged: whoever has the list is told 304.
func (c *longCRL) unchanged(t *testing.T) {
	t.Helper()
	for range 10 {
		if _, fresh := c.read(t); !fresh {
			return
		}
	}
	t.Error("the CRL was sent ten times to somebody who has it")
}

// issueFor has at least so many certificates issued by one client, and more until the channel is closed, and returns the
// wait of 99 in 100.
func (c *longCRL) issueFor(t *testing.T, prefix string, least int, until <-chan struct{}) time.Duration {
	var waits []time.Duration
	going := func(n int) bool {
		select {
		case <-until:
			return n < least
		default:
			return n < least || until != nil
		}
	}
	quick := c.admin.quick()
	for n := 0; going(n) && !t.Failed(); n++ {
		_, csr := newCSR(t, fmt.Sprintf("%s-%d.example.com", prefix, n))
		begun := time.Now()
		a, err := quick.send(t.Context(), "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr})
		if err != nil || a.status != http.StatusCreated {
			t.Errorf("%d %v: %s", a.status, err, a.body)
			return 0
		}
		waits = append(waits, time.Since(begun))
	}
	if len(waits) == 0 {
		return 0
	}
	slices.Sort(waits)
	return waits[len(waits)*99/100]
}
