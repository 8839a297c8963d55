package probe_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/probe"
)

// pair makes a self-signed certificate for localhost that ends at an instant.
func pair(t *testing.T, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/web"}}, EmailAddresses: []string{"a@example.org"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf, OCSPStaple: []byte{0x30, 0x00}}
}

// listen serves every connection with handle until the test ends, and is the address.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func serveTLS(t *testing.T, config *tls.Config) string {
	t.Helper()
	return listen(t, func(conn net.Conn) { _ = tls.Server(conn, config).Handshake() })
}

func look(t *testing.T, r probe.Request) probe.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return probe.Look(ctx, r)
}

func TestALookSeesTheCertificateAndItsSurroundings(t *testing.T) {
	cert := pair(t, time.Now().Add(time.Hour))
	address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	got := look(t, probe.Request{Address: address, ServerName: "localhost"})
	sum := sha256.Sum256(cert.Certificate[0])
	if got.Took <= 0 {
		t.Error("a look takes time")
	}
	got.Took = 0
	want := probe.Result{
		Address: address, ServerName: "localhost", Outcome: probe.OK, Fingerprint: hex.EncodeToString(sum[:]), Chain: cert.Certificate,
		TLSVersion: "TLS 1.3", Cipher: got.Cipher, NotBefore: cert.Leaf.NotBefore, NotAfter: cert.Leaf.NotAfter,
		Names: []string{"localhost", "a@example.org", "127.0.0.1", "spiffe://example.org/web"}, OCSPStaple: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Cipher == "" {
		t.Error("the cipher is not named")
	}
}

func TestAnExpiredCertificateIsSeenAndNotVerified(t *testing.T) {
	cert := pair(t, time.Now().Add(-time.Hour))
	got := look(t, probe.Request{Address: serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}})})
	if got.Outcome != probe.OK || !got.NotAfter.Before(time.Now()) {
		t.Fatalf("got %+v", got)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	if err := got.VerifiedBy(roots, time.Now()); err == nil {
		t.Error("an expired certificate is verified")
	}
	if err := got.VerifiedBy(roots, cert.Leaf.NotBefore.Add(time.Minute)); err != nil {
		t.Errorf("while it was valid: %v", err)
	}
	if err := got.VerifiedBy(x509.NewCertPool(), cert.Leaf.NotBefore.Add(time.Minute)); err == nil {
		t.Error("a certificate is verified by roots that do not know it")
	}
	got.ServerName = "elsewhere.example"
	if err := got.VerifiedBy(roots, cert.Leaf.NotBefore.Add(time.Minute)); err == nil {
		t.Error("a certificate is verified for a name it does not have")
	}
	if err := (probe.Result{}).VerifiedBy(roots, time.Now()); err == nil {
		t.Error("nothing is verified")
	}
}

func TestAServerThatWantsAClientCertificateIsSeen(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		got := look(t, probe.Request{Address: serveTLS(t, &tls.Config{
			Certificates: []tls.Certificate{pair(t, time.Now().Add(time.Hour))}, MaxVersion: version, ClientAuth: tls.RequireAndVerifyClientCert,
		})})
		if got.Outcome != probe.OK || !got.WantsClient {
			t.Errorf("%s: got %+v", tls.VersionName(version), got)
		}
	}
}

func TestAnOldProtocolIsSeen(t *testing.T) {
	got := look(t, probe.Request{Address: serveTLS(t, &tls.Config{
		Certificates: []tls.Certificate{pair(t, time.Now().Add(time.Hour))}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
	})})
	if got.Outcome != probe.OK || got.TLSVersion != "TLS 1.0" {
		t.Errorf("got %+v", got)
	}
}

func TestEveryFailureHasItsOutcome(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	taken, err := net.Dial("tcp", plain.Listener.Addr().String()) // nobody can listen where it comes from
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	hello := func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<14)) }
	for name, c := range map[string]struct {
		address string
		want    probe.Outcome
	}{
		"closed port": {taken.LocalAddr().String(), probe.Refused},
		"plain HTTP":  {plain.Listener.Addr().String(), probe.NotTLS},
		"reset": {listen(t, func(conn net.Conn) {
			hello(conn)
			_ = conn.(*net.TCPConn).SetLinger(0)
		}), probe.Reset},
		"closed after the hello": {listen(t, hello), probe.Reset},
		"no certificate for the name": {serveTLS(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, nil
		}}), probe.NoCertificate},
		"no common ground":        {serveTLS(t, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }}), probe.Handshake},
		"unreadable certificate":  {serveTLS(t, &tls.Config{Certificates: []tls.Certificate{garbled(t)}}), probe.Handshake},
		"a flood of tiny records": {listen(t, flood), probe.TooMuch},
		"no port":                 {"127.0.0.1", probe.Unresolved},
		"no such name":            {"nothing.invalid:443", probe.Unresolved},
	} {
		t.Run(name, func(t *testing.T) {
			got := look(t, probe.Request{Address: c.address})
			if got.Outcome != c.want || got.Problem == "" || got.Fingerprint != "" {
				t.Errorf("got %+v, want %s", got, c.want)
			}
		})
	}
}

// garbled is a pair whose certificate no client can read.
func garbled(t *testing.T) tls.Certificate {
	t.Helper()
	cert := pair(t, time.Now().Add(time.Hour))
	cert.Certificate = [][]byte{bytes.Repeat([]byte{0x30}, 200)}
	return cert
}

// flood answers the hello with a TLS 1.2 ServerHello and then a certificate message in records of one byte.
func flood(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1<<14))
	hello := append([]byte{22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3}, make([]byte, 32)...)
	_, _ = conn.Write(append(hello, 0, 0xc0, 0x2f, 0))
	var many []byte
	for _, b := range append([]byte{11, 3, 0xff, 0xff}, make([]byte, 0x3ffff)...) {
		many = append(many, 22, 3, 3, 0, 1, b)
	}
	_, _ = conn.Write(many)
}

func TestATarpitIsGivenUpWhenTheContextEnds(t *testing.T) {
	address := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	for _, upgrade := range []probe.StartTLS{probe.None, probe.SMTP} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if got := probe.Look(ctx, probe.Request{Address: address, StartTLS: upgrade}); got.Outcome != probe.Timeout || got.Took > 3*time.Second {
			t.Errorf("%q: got %+v", upgrade, got)
		}
	}
}

func TestADialerThatRefusesIsAsked(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("not allowed") }
	if got := look(t, probe.Request{Address: "127.0.0.1:443", Dial: refuse}); got.Outcome != probe.Unreachable || got.Problem != "not allowed" {
		t.Errorf("got %+v", got)
	}
}

func TestWhereTheGuardForbidsToLookIsToldFromWhereNobodyIs(t *testing.T) {
	address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{pair(t, time.Now().Add(time.Hour))}})
	guarded := outbound.New(outbound.Config{})
	if got := look(t, probe.Request{Address: address, Dial: guarded.DialContext}); got.Outcome != probe.NotAllowed || got.Outcome.Live() {
		t.Errorf("got %+v", got)
	}
	allowed := outbound.New(outbound.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if got := look(t, probe.Request{Address: address, Dial: allowed.DialContext}); got.Outcome != probe.OK || !got.Outcome.Live() {
		t.Errorf("got %+v", got)
	}
}

func TestEveryAddressOfANameIsLookedAt(t *testing.T) {
	address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{pair(t, time.Now().Add(time.Hour))}})
	_, port, _ := net.SplitHostPort(address)
	resolve := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host != "shop.example" {
			return nil, fmt.Errorf("asked for %s", host)
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	got := probe.LookAll(t.Context(), probe.Request{Address: "shop.example:" + port, Resolve: resolve})
	if len(got) != 2 || got[0].Outcome != probe.OK || got[1].Outcome != probe.Refused {
		t.Fatalf("got %+v", got)
	}
	if got[0].Address != "127.0.0.1:"+port || got[1].Address != "127.0.0.2:"+port || got[1].ServerName != "shop.example" {
		t.Errorf("got %+v", got)
	}
	if got := probe.LookAll(t.Context(), probe.Request{Address: "nothing.example:443", Resolve: func(context.Context, string, string) ([]netip.Addr, error) {
		return nil, nil
	}}); len(got) != 1 || got[0].Outcome != probe.Unresolved {
		t.Errorf("got %+v", got)
	}
	if got := probe.LookAll(t.Context(), probe.Request{Address: address}); len(got) != 1 || got[0].Outcome != probe.OK {
		t.Errorf("got %+v", got)
	}
}

// talk serves one line-based conversation: says what it is given, each part after one line of the client; then TLS.
func talk(t *testing.T, says ...string) string {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{pair(t, time.Now().Add(time.Hour))}}
	return listen(t, func(conn net.Conn) {
		lines := bufio.NewReaderSize(conn, 16)
		for i, text := range says {
			if i > 0 {
				if _, err := lines.ReadString('\n'); err != nil {
					return
				}
			}
			_, _ = io.WriteString(conn, text)
		}
		_ = tls.Server(conn, config).Handshake()
	})
}

func TestTLSIsBegunWithinMailProtocols(t *testing.T) {
	for name, c := range map[string]struct {
		upgrade probe.StartTLS
		says    []string
		want    probe.Outcome
	}{
		"smtp":                  {probe.SMTP, []string{"220-mail\r\n220 ready\r\n", "250-mail\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "220 go\r\n"}, probe.OK},
		"smtp without STARTTLS": {probe.SMTP, []string{"220 mail\r\n", "250 mail\r\n"}, probe.NoStartTLS},
		"smtp that refuses":     {probe.SMTP, []string{"554 no\r\n"}, probe.NoStartTLS},
		"smtp without end":      {probe.SMTP, []string{string(bytes.Repeat([]byte("220-more\r\n"), 200))}, probe.NoStartTLS},
		"smtp with a long line": {probe.SMTP, []string{"220 " + string(bytes.Repeat([]byte("x"), 5000))}, probe.NoStartTLS},
		"imap":                  {probe.IMAP, []string{"* OK ready\r\n", "* CAPABILITY IMAP4rev1\r\na OK begin\r\n"}, probe.OK},
		"imap that refuses":     {probe.IMAP, []string{"* OK ready\r\n", "a NO not here\r\n"}, probe.NoStartTLS},
		"something else":        {probe.IMAP, []string{"SSH-2.0-x\r\n"}, probe.NoStartTLS},
		"an unknown protocol":   {"ldap", []string{""}, probe.NoStartTLS},
	} {
		t.Run(name, func(t *testing.T) {
			if got := look(t, probe.Request{Address: talk(t, c.says...), StartTLS: c.upgrade}); got.Outcome != c.want {
				t.Errorf("got %+v, want %s", got, c.want)
			}
		})
	}
}

func FuzzServer(f *testing.F) {
	f.Add([]byte("220 mail\r\n250 STARTTLS\r\n220 go\r\n"), "smtp")
	f.Add([]byte("* OK\r\na OK\r\n"), "imap")
	f.Add([]byte{22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3}, "")
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "")
	f.Fuzz(func(t *testing.T, says []byte, upgrade string) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			go func() {
				_, _ = server.Write(says)
				_ = server.Close()
			}()
			return client, nil
		}
		got := look(t, probe.Request{Address: "127.0.0.1:443", StartTLS: probe.StartTLS(upgrade), Dial: dial})
		if got.Outcome == "" || got.Outcome != probe.OK && got.Problem == "" {
			t.Fatalf("not classified: %+v", got)
		}
	})
}
