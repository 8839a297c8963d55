package outbound

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// allowing makes a dialer for which the networks are allowed.
func allowing(networks ...string) *Dialer {
	var config Config
	for _, n := range networks {
		config.Allow = append(config.Allow, netip.MustParsePrefix(n))
	}
	return New(config)
}

func TestLoopbackIsDeniedUnlessItIsAllowed(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan struct{}, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			_ = conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0"} {
		conn, err := allowing().DialContext(t.Context(), "tcp4", net.JoinHostPort(host, port))
		if !errors.Is(err, ErrDenied) || conn != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if len(accepted) != 0 {
		t.Error("a connection was made")
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		conn, err := allowing("127.0.0.0/8").DialContext(t.Context(), "tcp4", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		<-accepted
		_ = conn.Close()
	}
}

func TestOnlyPublicAddressesAreReachedByDefault(t *testing.T) {
	d := allowing()
	for _, address := range []string{
		"0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "168.63.129.16",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1",
		"2001:db8::1",
	} {
		network := "tcp4"
		if strings.Contains(address, ":") {
			network = "tcp6"
		}
		if err := d.control(network, net.JoinHostPort(address, "443"), nil); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for address, network := range map[string]string{"1.1.1.1:53": "tcp4", "[2606:4700::1111]:8443": "tcp6", "8.8.8.8:1": "tcp4"} {
		if err := d.control(network, address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, network := range []string{"udp4", "unix", "ip4"} {
		if err := d.control(network, "1.1.1.1:53", nil); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", network, err)
		}
	}
}

func TestAllowedNetworksAreReachedAndNoOthers(t *testing.T) {
	d := allowing("10.1.0.0/16", "::1/128", "::ffff:192.168.1.0/120")
	for address, network := range map[string]string{"10.1.2.3:1": "tcp4", "[::1]:1": "tcp6", "192.168.1.9:1": "tcp4"} {
		if err := d.control(network, address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for address, network := range map[string]string{"10.2.0.1:1": "tcp4", "127.0.0.1:1": "tcp4", "[fe80::1]:1": "tcp6", "192.168.2.1:1": "tcp4"} {
		if err := d.control(network, address, nil); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// serve answers over HTTP on 127.0.0.1.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, client *http.Client, url string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return client.Do(request)
}

func TestTheClientIsGuardedAlsoAgainstRedirects(t *testing.T) {
	metadata := "http://169.254.169.254/latest/meta-data/"
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, metadata, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "hello")
	})
	if _, err := get(t, allowing().HTTPClient(time.Minute), server.URL); !errors.Is(err, ErrDenied) {
		t.Errorf("loopback: %v", err)
	}
	client := allowing("127.0.0.0/8").HTTPClient(time.Minute)
	response, err := get(t, client, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := ReadBody(response, 5); err != nil || string(body) != "hello" {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := get(t, client, server.URL+"/away"); !errors.Is(err, ErrDenied) {
		t.Errorf("a redirect: %v", err)
	}
}

func TestRedirectsAreBounded(t *testing.T) {
	var asked int
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	if _, err := get(t, allowing("127.0.0.0/8").HTTPClient(time.Minute), server.URL); err == nil || asked != maxRedirects+1 {
		t.Errorf("%d requests, %v", asked, err)
	}
}

// secure answers over HTTPS with at most a version of TLS; the client trusts its certificate.
func secure(t *testing.T, version uint16, handler http.HandlerFunc) (*httptest.Server, *http.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	client := allowing("127.0.0.0/8").HTTPClient(time.Minute)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	return server, client
}

func TestOldTLSAndUnknownAuthoritiesAreRefused(t *testing.T) {
	hello := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		server, client := secure(t, version, hello)
		response, err := get(t, client, server.URL)
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = response.Body.Close()
		}
		if _, err := get(t, allowing("127.0.0.0/8").HTTPClient(time.Minute), server.URL); err == nil {
			t.Error("a certificate of an unknown authority was taken")
		}
	}
}

func TestNoRedirectLeavesHTTPS(t *testing.T) {
	plain := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked in clear text") })
	server, client := secure(t, tls.VersionTLS13, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL, http.StatusFound)
	})
	if _, err := get(t, client, server.URL); err == nil || !strings.Contains(err.Error(), "leaves https") {
		t.Error(err)
	}
}

func TestTheEnvironmentNamesNoProxy(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	client := allowing("127.0.0.0/8").HTTPClient(time.Minute)
	if _, err := get(t, client, "http://10.0.0.1/"); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
}

func TestBodiesAreBoundedAlsoWhenTheyAreCompressed(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	response, err := get(t, allowing("127.0.0.0/8").HTTPClient(time.Minute), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := ReadBody(response, 1000); !errors.Is(err, ErrTooLarge) || len(body) != 1000 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestAServerThatNeverAnswersIsLeft(t *testing.T) {
	done := make(chan struct{})
	server := serve(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	_, err := get(t, allowing("127.0.0.0/8").HTTPClient(50*time.Millisecond), server.URL)
	if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
		t.Error(err)
	}
}
