package ocsp

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki"
)

// authority is an issuer with a delegated responder and one certificate.
type authority struct {
	dir                string
	issuer, responder  *x509.Certificate
	issuerKey, respKey crypto.Signer
	leaf               *x509.Certificate
	now                time.Time
}

// newAuthority makes an authority whose keys are of a kind and whose certificate has the serial, with files for openssl.
func newAuthority(t testing.TB, kind string, serial *big.Int) authority {
	t.Helper()
	a := authority{dir: t.TempDir(), now: time.Now()}
	a.issuerKey, a.respKey = newKey(t, kind), newKey(t, kind)
	a.issuer = a.certify(t, "issuer", &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Issuing CA", Organization: []string{"Test"}},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, a.issuerKey)
	a.responder = a.certify(t, "responder", &x509.Certificate{
		SerialNumber: pki.NewSerial(), Subject: pkix.Name{CommonName: "Test OCSP"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		ExtraExtensions: []pkix.Extension{{Id: []int{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}},
	}, a.respKey)
	a.leaf = a.certify(t, "leaf", &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "leaf"}}, newKey(t, "ed25519"))
	return a
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	k, err := pki.ParseKeyKind(kind)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.GenerateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certify makes a certificate, valid for an hour on either side of now, and writes it to NAME.pem. The first is its own
// issuer.
func (a authority) certify(t testing.TB, name string, template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template.NotBefore, template.NotAfter = a.now.Add(-time.Hour), a.now.Add(time.Hour)
	parent := a.issuer
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".key", text)
	return cert
}

func (a authority) write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a authority) read(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// openssl runs `openssl ocsp` in the authority's directory and gives what it prints.
func (a authority) openssl(t testing.TB, args string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", append([]string{"ocsp"}, strings.Fields(args)...)...)
	cmd.Dir = a.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl ocsp %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// request has openssl make a request and reads it.
func (a authority) request(t testing.TB, args string) Request {
	t.Helper()
	a.openssl(t, args+" -reqout request.der")
	request, err := ParseRequest(a.read(t, "request.der"))
	if err != nil {
		t.Fatalf("openssl ocsp %s: %v", args, err)
	}
	return request
}

// serve answers POSTed requests over HTTP until the test ends, and gives the URL.
func (a authority) serve(t testing.TB, answer func(Request) []byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		request, err := ParseRequest(body)
		if err != nil {
			t.Error(err)
			return
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(answer(request))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// good is the answer that a certificate is good.
func (a authority) good(id CertID) Single {
	return Single{ID: id, Status: Good, ThisUpdate: a.now, NextUpdate: a.now.Add(time.Minute)}
}

// answer signs single responses with the delegated responder.
func (a authority) answer(t testing.TB, nonce []byte, singles ...Single) []byte {
	t.Helper()
	template := ResponseTemplate{Responder: a.responder, ProducedAt: a.now, Singles: singles, Nonce: nonce}
	der, err := template.Sign(a.respKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a authority) id(t testing.TB, hash crypto.Hash) CertID {
	t.Helper()
	id, err := NewCertID(hash, a.issuer, a.leaf.SerialNumber)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serials are those that go wrong most easily: short, with the first bit set, of 20 octets with and without it.
func serials() []*big.Int {
	top := new(big.Int).Lsh(big.NewInt(1), 159)
	return []*big.Int{
		big.NewInt(1), big.NewInt(127), big.NewInt(128), big.NewInt(255), big.NewInt(256), big.NewInt(0x00ff00),
		new(big.Int).SetBytes(bytes.Repeat([]byte{0x7f}, 20)), new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, 20)), top,
		new(big.Int).Rsh(top, 8),
	}
}
