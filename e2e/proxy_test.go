//go:build linux

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
)

// newCSR makes a key and asks for names.
func newCSR(t testing.TB, names ...string) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key, csrOf(t, key, names...)
}

// csrOf asks for names with a key that is there.
func csrOf(t testing.TB, key *ecdsa.PrivateKey, names ...string) string {
	t.Helper()
	want := &x509.CertificateRequest{}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			want.IPAddresses = append(want.IPAddresses, ip)
		} else {
			want.DNSNames = append(want.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, want, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// leafOf is the first certificate of a chain in PEM.
func leafOf(t testing.TB, chain string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(chain))
	if block == nil {
		t.Fatalf("it is no chain:\n%s", chain)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// issue gets a certificate for names, with a key that stays here.
func (s *server) issue(t testing.TB, names ...string) (tls.Certificate, object) {
	t.Helper()
	key, csr := newCSR(t, names...)
	made := s.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr})
	chain := text(made, "version", "pem_chain")
	leafOf(t, chain)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(chain), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return pair, made
}

// watch puts a proxy in front of the server that judges every answer which agents and command lines get, and returns its
// URL. Its certificate is the server's own work. When the server is away, so is the proxy.
func (s *server) watch(t testing.TB) string {
	t.Helper()
	pair, _ := s.issue(t, "localhost", "127.0.0.1")
	behind, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.root(t))
	over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}
	silent := log.New(io.Discard, "", 0)
	proxy := &http.Server{ErrorLog: silent, Handler: &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		Transport:    newJudge(t, over),
		ErrorLog:     silent,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = proxy.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = proxy.Close() })
	return "https://" + listener.Addr().String()
}
