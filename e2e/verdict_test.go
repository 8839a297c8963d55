//go:build linux

package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki/ocsp"
)

// verdict compares what the clients were told with what the server, its CRL, its OCSP and its audit log say afterwards.
type verdict struct {
	*crashes
	issued  map[string]*certificate // by id
	revoked map[string]*certificate // by serial
	issuing *x509.Certificate
}

func newVerdict(t *testing.T, d *crashes) *verdict {
	t.Helper()
	v := &verdict{crashes: d, issued: map[string]*certificate{}, revoked: map[string]*certificate{}}
	for _, client := range d.clients {
		for _, c := range client.list {
			if v.issued[c.id] != nil {
				t.Errorf("%s and %s were both acknowledged as %s", c.name, v.issued[c.id].name, c.id)
			}
			v.issued[c.id] = c
			if c.revoked != "" {
				v.revoked[c.serial] = c
			}
		}
	}
	der := fetch(t, d.server.plain+"/.well-known/pki/ca/iss-local")
	var err error
	if v.issuing, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return v
}

// plain is a client without TLS and key, whose answers are judged too.
func plain(t testing.TB) *http.Client {
	t.Helper()
	return &http.Client{Transport: newJudge(t, http.DefaultTransport)}
}

// fetch reads what is there for everybody.
func fetch(t testing.TB, url string) []byte {
	t.Helper()
	response, err := plain(t).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v: %s", url, response.Status, err, body)
	}
	return body
}

func (v *verdict) run(t *testing.T) {
	v.certificates(t)
	v.jobs(t)
	v.crl(t)
	v.ocsp(t)
	v.audit(t)
}

// certificates: every one that was acknowledged is there as it was, with one version, and there is no other.
func (v *verdict) certificates(t *testing.T) {
	serials := map[string]string{}
	there := map[string]bool{}
	for _, row := range v.server.admin.rows(t, "/api/v1/certificates") {
		there[text(row, "id")] = true
		if v.issued[text(row, "id")] == nil {
			t.Errorf("nobody was told of the certificate %s", text(row, "name"))
		}
	}
	for id, c := range v.issued {
		if !there[id] {
			t.Errorf("%s, which was acknowledged, is lost from the list", c.name)
		}
		versions := v.server.admin.rows(t, "/api/v1/certificates/"+id+"/versions")
		if len(versions) != 1 {
			t.Errorf("%s was issued %d times", c.name, len(versions))
		}
		for _, version := range versions {
			serial := text(version, "serial_number")
			if other := serials[serial]; other != "" {
				t.Errorf("%s and %s have the serial %s", other, c.name, serial)
			}
			serials[serial] = c.name
			leaf := leafOf(t, text(version, "pem_chain"))
			if serial != c.serial || text(version, "fingerprint_sha256") != c.fingerprint || leaf.SerialNumber.Cmp(number(t, c.serial)) != 0 || leaf.CheckSignatureFrom(v.issuing) != nil {
				t.Errorf("%s was acknowledged with the serial %s and is now %s", c.name, c.serial, serial)
			}
		}
		want := "Active"
		if c.revoked != "" {
			want = "Revoked"
		}
		if row := v.server.admin.get(t, "/api/v1/certificates/"+id); text(row, "status") != want || text(row, "revocation_reason") != c.revoked {
			t.Errorf("%s is %s (%s), not %s (%s)", c.name, text(row, "status"), text(row, "revocation_reason"), want, c.revoked)
		}
	}
}

// number reads a serial as it is written, with or without colons.
func number(t testing.TB, serial string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(strings.ReplaceAll(serial, ":", ""), 16)
	if !ok {
		t.Fatalf("%q is no serial", serial)
	}
	return n
}

// jobs: each certificate had one issuance, and nothing is open.
func (v *verdict) jobs(t *testing.T) {
	roots := map[string]int{}
	for _, j := range v.server.admin.rows(t, "/api/v1/jobs") {
		roots[text(j, "certificate_id")]++
		if text(j, "status") != "Completed" || text(j, "type") != "Issuance" {
			t.Errorf("the job %s of %s is %s %s", text(j, "id"), text(j, "certificate_id"), text(j, "type"), text(j, "status"))
		}
	}
	for id, c := range v.issued {
		if roots[id] != 1 {
			t.Errorf("%s has %d issuances", c.name, roots[id])
		}
	}
}

// crl: it lists what was acknowledged as revoked, at the latest two seconds after the last of it, and besides only serials
// that a kill left reserved and nobody was ever given, at most one for each request that was under way.
func (v *verdict) crl(t *testing.T) {
	deadline := time.Now().Add(2 * time.Second)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		list, err := x509.ParseRevocationList(fetch(t, v.server.plain+"/.well-known/pki/crl/iss-local"))
		if err != nil {
			t.Fatal(err)
		}
		if err := list.CheckSignatureFrom(v.issuing); err != nil {
			t.Fatal(err)
		}
		listed := map[string]int{}
		for _, e := range list.RevokedCertificateEntries {
			listed[e.SerialNumber.Text(16)]++
		}
		var missing []string
		for serial, c := range v.revoked {
			if listed[number(t, serial).Text(16)] != 1 {
				missing = append(missing, c.name)
			}
		}
		if len(missing) == 0 {
			v.others(t, listed)
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the CRL lacks %q", missing)
			return
		}
		<-look.C
	}
}

// others judges what a CRL lists besides what was revoked.
func (v *verdict) others(t *testing.T, listed map[string]int) {
	for _, c := range v.issued {
		if hex := number(t, c.serial).Text(16); c.revoked == "" && listed[hex] > 0 {
			t.Errorf("the CRL lists %s, which nobody revoked", c.name)
		}
	}
	if besides, most := len(listed)-len(v.revoked), v.kills*len(v.clients); besides > most {
		t.Errorf("the CRL lists %d serials that nobody revoked; kills can have left %d at most", besides, most)
	}
}

// ocsp: every certificate is what its client was told, asked one by one.
func (v *verdict) ocsp(t *testing.T) {
	var asking sync.WaitGroup
	todo := make(chan *certificate)
	for range 8 {
		asking.Go(func() {
			for c := range todo {
				want := ocsp.Good
				if c.revoked != "" {
					want = ocsp.Revoked
				}
				if got, err := v.ask(t, c); err != nil || got != want {
					t.Errorf("OCSP says that %s is %v (%v), not %v", c.name, got, err, want)
				}
			}
		})
	}
	for _, c := range v.issued {
		todo <- c
	}
	close(todo)
	asking.Wait()
}

func (v *verdict) ask(t *testing.T, c *certificate) (status ocsp.Status, err error) {
	id, err := ocsp.NewCertID(crypto.SHA256, v.issuing, number(t, c.serial))
	if err != nil {
		return status, err
	}
	der, err := ocsp.EncodeRequest([]ocsp.CertID{id}, nil)
	if err != nil {
		return status, err
	}
	body, err := v.post(t, der)
	if err != nil {
		return status, err
	}
	parsed, err := ocsp.ParseResponse(body)
	if err != nil {
		return status, err
	}
	if parsed.Code != ocsp.Successful || len(parsed.Singles) != 1 {
		return status, fmt.Errorf("the answer is %v", parsed.Code)
	}
	return parsed.Singles[0].Status, nil
}

// post sends an OCSP request, and sends it again where an address asks more often than it may.
func (v *verdict) post(t *testing.T, der []byte) ([]byte, error) {
	for {
		response, err := plain(t).Post(v.server.plain+"/.well-known/pki/ocsp/iss-local", "application/ocsp-request", bytes.NewReader(der))
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusTooManyRequests {
			return body, err
		}
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if err != nil {
			return nil, fmt.Errorf("429 that does not say when to come back: %w", err)
		}
		select {
		case <-time.After(time.Duration(seconds) * time.Second):
		case <-t.Context().Done():
			return nil, t.Context().Err()
		}
	}
}

// audit: the exported log verifies, and has one event for each thing that was acknowledged.
func (v *verdict) audit(t *testing.T) {
	count := map[string]int{}
	for line := range bytes.Lines(v.server.auditVerifies(t)) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		count[e.Event.Action+" "+e.Event.Resource]++
	}
	for id, c := range v.issued {
		want := []string{"certificate.requested", "certificate.issued"}
		if c.revoked != "" {
			want = append(want, "certificate.revoked")
		}
		for _, action := range []string{"certificate.requested", "certificate.issued", "certificate.revoked"} {
			if n := count[action+" "+id]; (n == 1) != slices.Contains(want, action) || n > 1 {
				t.Errorf("the audit log has %s of %s %d times", action, c.name, n)
			}
		}
	}
}
