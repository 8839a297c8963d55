//go:build linux

package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

// lostDatabase: a server whose database is gone says tryLater of what it would have to look up, and what it looked up just
// before is still true for a second.
func lostDatabase(t *testing.T) {
	cluster := pgtest.Cluster(t, pgtest.Fast)
	r := newRelying(t, serve(t, cluster.URL()))
	der := r.ask(t, crypto.SHA256, nil, r.good)
	r.says(t, "before", r.post(t, der), ocsp.Good)
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	look, deadline := time.NewTicker(100*time.Millisecond), time.After(patience)
	defer look.Stop()
	for body := r.post(t, der).body; ; body = r.post(t, der).body {
		if response, err := ocsp.ParseResponse(body); err != nil || response.Code != ocsp.Successful {
			break
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatal("it answers without its database")
		}
	}
	r.refuses(t, "without its database", r.post(t, der), ocsp.TryLater)
}

// responder is the certificate of who signed an answer.
func (r *relying) responder(t testing.TB, a ocsp.Response) *x509.Certificate {
	t.Helper()
	if len(a.Certs) != 1 {
		t.Fatalf("the answer brings %d certificates", len(a.Certs))
	}
	return a.Certs[0]
}

func (r *relying) responderPoints() []point {
	ask := func(t *testing.T) ocsp.Response {
		return r.verified(t, r.post(t, r.ask(t, crypto.SHA256, nil, r.good)))
	}
	return []point{
		{name: "a delegate signs, for OCSP alone and with nocheck", shown: func(t *testing.T) {
			cert := r.responder(t, ask(t))
			if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}) || extensionOf(cert, "1.3.6.1.5.5.7.48.1.5") == nil || cert.IsCA || cert.CheckSignatureFrom(r.issuing) != nil {
				t.Errorf("it is %+v", cert)
			}
		}},
		{name: "the delegate lives for 30 days at most and is replaced before its end", shown: func(t *testing.T) { rotated(t) }},
		{name: "what a delegate signed stays right when the next one has come", shown: func(t *testing.T) {
			before, after, kept := rotated(t)
			if !after.NotBefore.Before(before.NotAfter) || after.NotBefore.Before(before.NotBefore) {
				t.Errorf("one ends on %s, the next begins on %s", before.NotAfter, after.NotBefore)
			}
			if err := kept.response.Verify(kept.issuing, after.NotBefore.Add(time.Minute)); err != nil && !kept.response.Singles[0].NextUpdate.Before(after.NotBefore) {
				t.Errorf("what was signed before: %v", err)
			}
		}},
	}
}

// answered is an answer and whose it is.
type answered struct {
	response ocsp.Response
	issuing  *x509.Certificate
}

// rotated lets the time pass until the delegate is replaced, and returns both and what the first one signed last.
func rotated(t *testing.T) (before, after *x509.Certificate, last answered) {
	t.Helper()
	s := serve(t, "", "--clock="+ago(20*day))
	r := newRelying(t, s)
	ask := func() ocsp.Response {
		response, err := ocsp.ParseResponse(r.post(t, r.ask(t, crypto.SHA256, nil, r.good)).body)
		if err != nil || response.Code != ocsp.Successful {
			t.Fatalf("%v %v", response.Code, err)
		}
		return response
	}
	before = r.responder(t, ask())
	if life := before.NotAfter.Sub(before.NotBefore); life > 30*day {
		t.Errorf("it lives %s", life)
	}
	half := before.NotAfter.Sub(before.NotBefore) / 2
	s.advance(t, half-time.Hour)
	last = answered{ask(), r.issuing}
	if !r.responder(t, last.response).Equal(before) {
		t.Error("it is replaced before half of its life is over")
	}
	s.advance(t, 2*time.Hour)
	after = r.responder(t, ask())
	if after.Equal(before) || !after.NotAfter.After(before.NotAfter) {
		t.Errorf("it is not replaced after half of its life: one ends on %s, the other on %s", before.NotAfter, after.NotAfter)
	}
	return before, after, last
}

func (r *relying) answerPoints() []point {
	return []point{
		{name: "an answer is produced when its status was known, or later", shown: func(t *testing.T) {
			a := r.verified(t, r.post(t, r.ask(t, crypto.SHA256, nil, r.good)))
			if one := a.Singles[0]; a.ProducedAt.Before(one.ThisUpdate) || one.ThisUpdate.After(time.Now()) || !one.NextUpdate.After(time.Now()) {
				t.Errorf("produced at %s for %s to %s", a.ProducedAt, one.ThisUpdate, one.NextUpdate)
			}
		}},
		{name: "caches keep an answer no longer than it holds, and have a tag to ask with", shown: func(t *testing.T) {
			text := base64.StdEncoding.EncodeToString(r.ask(t, crypto.SHA1, nil, r.good))
			a := r.get(t, text)
			left := time.Until(r.verified(t, a).Singles[0].NextUpdate)
			if age, err := maxAge(a.header); err != nil || age <= 0 || age > left {
				t.Errorf("it may be kept %s (%v) and holds %s more", age, err, left)
			}
			again := r.send(t, "GET", r.door()+"/"+text, nil, http.Header{"If-None-Match": {a.header.Get("ETag")}})
			if a.header.Get("ETag") == "" || again.status != http.StatusNotModified {
				t.Errorf("with the tag %q it is %d", a.header.Get("ETag"), again.status)
			}
		}},
		{name: "time and reason of a revocation are those of the CRL", shown: func(t *testing.T) {
			one := r.verified(t, r.post(t, r.ask(t, crypto.SHA256, nil, r.revoked))).Singles[0]
			entry := r.server.listed(t, "iss-local", r.revoked).entry(r.revoked)
			if !one.RevokedAt.Equal(entry.RevocationTime) || int(one.Reason) != entry.ReasonCode || entry.ReasonCode != 1 {
				t.Errorf("OCSP says %s %s, the CRL %s %d", one.RevokedAt, one.Reason, entry.RevocationTime, entry.ReasonCode)
			}
		}},
		{name: "a revocation is seen at every replica within 5 seconds, although answers were kept", shown: hotReplicas},
		{name: "an answer for P-256 has at most 2 kB", shown: func(t *testing.T) {
			nonce := make([]byte, 32)
			for _, serial := range []*big.Int{r.good, r.revoked} {
				if a := r.post(t, r.ask(t, crypto.SHA256, nonce, serial)); len(a.body) > 2048 {
					t.Errorf("it has %d octets", len(a.body))
				}
			}
		}},
	}
}

// hotReplicas has two servers keep an answer, and then revokes at one of them.
func hotReplicas(t *testing.T) {
	servers := replicas(t, 2)
	first := newRelying(t, servers[0])
	der := first.ask(t, crypto.SHA1, nil, first.good)
	at := make([]*relying, 2)
	for i, s := range servers {
		one := *first
		one.server = s
		at[i] = &one
		for range 3 {
			at[i].says(t, "before", at[i].post(t, der), ocsp.Good)
		}
	}
	for _, row := range servers[0].admin.rows(t, "/api/v1/certificates") {
		servers[0].admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(row, "id")+"/revoke", object{"reason": "superseded"})
	}
	begun := time.Now()
	for _, one := range at {
		look, deadline := time.NewTicker(20*time.Millisecond), time.After(patience)
		for one.verified(t, one.post(t, der)).Singles[0].Status != ocsp.Revoked {
			select {
			case <-look.C:
			case <-deadline:
				t.Fatalf("%s still says good", one.server.url)
			}
		}
		look.Stop()
		one.says(t, "afterwards", one.post(t, der), ocsp.Revoked)
	}
	if took := time.Since(begun); *long && took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func (r *relying) clientPoints() []point {
	return []point{
		{name: "nginx staples it with ssl_stapling_verify", shown: r.stapled},
		{name: "OpenSSL, GnuTLS's ocsptool and NSS's client take it", shown: func(t *testing.T) {
			installed(t, "openssl", "ocsptool", "certutil")
			dir := r.files(t)
			in := func(name string) string { return filepath.Join(dir, name) }
			said, err := exec.CommandContext(t.Context(), "openssl", "ocsp", "-issuer", in("issuing.pem"), "-cert", in("leaf.pem"), "-nonce", "-url", r.door(), "-CAfile", in("root.pem"), "-verify_other", in("issuing.pem")).CombinedOutput()
			if err != nil || !bytes.Contains(said, []byte("leaf.pem: good")) || !bytes.Contains(said, []byte("Response verify OK")) || bytes.Contains(said, []byte("WARNING")) {
				t.Errorf("OpenSSL: %v\n%s", err, said)
			}
			said, err = exec.CommandContext(t.Context(), "ocsptool", "--ask="+r.door(), "--nonce", "--load-cert", in("leaf.pem"), "--load-issuer", in("issuing.pem"), "--load-trust", in("issuing.pem")).CombinedOutput()
			if err != nil || !bytes.Contains(said, []byte("Certificate Status: good")) || !bytes.Contains(said, []byte("Verifying OCSP Response: Success")) {
				t.Errorf("GnuTLS: %v\n%s", err, said)
			}
			store := "sql:" + dir
			tool(t, nil, "certutil", "-N", "-d", store, "--empty-password")
			tool(t, nil, "certutil", "-A", "-d", store, "-n", "root", "-t", "CT,CT,CT", "-i", in("root.pem"))
			tool(t, nil, "certutil", "-A", "-d", store, "-n", "issuing", "-t", ",,", "-i", in("issuing.pem"))
			tool(t, nil, "certutil", "-A", "-d", store, "-n", "leaf", "-t", ",,", "-i", in("leaf.pem"))
			delegate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.responder(t, r.verified(t, r.post(t, r.ask(t, crypto.SHA1, nil, r.good)))).Raw})
			tool(t, delegate, "certutil", "-A", "-d", store, "-n", "delegate", "-t", "P,P,P")
			said, err = exec.CommandContext(t.Context(), "ocspclnt", "-d", store, "-S", "leaf", "-l", r.door(), "-t", "delegate").CombinedOutput()
			if err != nil || !bytes.Contains(said, []byte(`Check of certificate "leaf" succeeded`)) {
				t.Errorf("NSS: %v\n%s", err, said)
			}
			tool(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.gone.Raw}), "certutil", "-A", "-d", store, "-n", "gone", "-t", ",,")
			said, err = exec.CommandContext(t.Context(), "ocspclnt", "-d", store, "-S", "gone", "-l", r.door(), "-t", "delegate").CombinedOutput()
			if !bytes.Contains(said, []byte("has been revoked")) {
				t.Errorf("NSS of one that is revoked: %v\n%s", err, said)
			}
		}},
	}
}

// stapled has a real nginx fetch and verify the answer, and a client look at what it staples.
func (r *relying) stapled(t *testing.T) {
	n := startNginx(t)
	pair, made := r.server.issue(t, "stapled.example.com")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var trusted []byte
	for _, cert := range []*x509.Certificate{r.root, r.issuing} {
		trusted = append(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	for name, content := range map[string][]byte{
		"site.pem": []byte(text(made, "version", "pem_chain")), "site.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "trusted.pem": trusted,
	} {
		if err := os.WriteFile(filepath.Join(n.tls(), name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.configure(t, fmt.Sprintf("server {\nlisten %s ssl;\nssl_certificate %s;\nssl_certificate_key %s;\nssl_trusted_certificate %s;\nssl_stapling on;\nssl_stapling_verify on;\nssl_stapling_responder %s;\n}\n",
		n.addr, n.file("tls/site.pem"), n.file("tls/site.key"), n.file("tls/trusted.pem"), r.door()))
	tool(t, nil, "nginx", n.args("-s", "reload")...)
	roots := x509.NewCertPool()
	roots.AddCert(r.root)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{RootCAs: roots, ServerName: "stapled.example.com"}}
	look, deadline := time.NewTicker(50*time.Millisecond), time.After(patience)
	defer look.Stop()
	for { // it fetches when somebody has come, and staples for the next
		if conn, err := dialer.DialContext(t.Context(), "tcp", n.addr); err == nil {
			staple := conn.(*tls.Conn).OCSPResponse()
			_ = conn.Close()
			if len(staple) > 0 {
				r.says(t, "the staple", reply{http.StatusOK, http.Header{"Content-Type": {"application/ocsp-response"}}, staple}, ocsp.Good)
				return
			}
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatal("nginx staples nothing")
		}
	}
}
