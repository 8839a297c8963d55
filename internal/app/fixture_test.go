package app_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/app"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/pgtest"
)

// buffer is a log or a terminal that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// server is a running server.
type server struct {
	*app.App
	app.Addresses
	dir      string
	out, log *buffer
	stop     func() error // ends it in order and tells what Run and Close returned
}

// each runs a test on both engines; the settings have a data directory and a database of their own.
func each(t *testing.T, test func(t *testing.T, settings config.Serve)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, fresh(t)) })
	t.Run("postgres", func(t *testing.T) {
		settings := fresh(t)
		settings.Database = config.Secret(pgtest.DSN(t))
		test(t, settings)
	})
}

// fresh are settings for a new server on ports that are free.
func fresh(t *testing.T) config.Serve {
	t.Helper()
	return config.Serve{DataDir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", PublicListen: "127.0.0.1:0"}
}

func start(t *testing.T, settings config.Serve) *server {
	t.Helper()
	s := &server{dir: settings.DataDir, out: &buffer{}, log: &buffer{}}
	var err error
	s.App, err = app.New(t.Context(), app.Config{Serve: settings, Version: "test", Program: "leafward", Out: s.out, Log: s.log})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	s.Addresses = s.App.Addresses()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		if closing := s.Close(); err == nil {
			err = closing
		}
		return err
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// https is a client that trusts what root.pem says.
func (s *server) https(t *testing.T) *http.Client {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("root.pem holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// owner is a client on the local socket. It keeps no connection: a test that asks again and again makes many.
func (s *server) owner(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.Socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// json reads a property of the body.
func (a answer) json(name string) any {
	var all map[string]any
	if json.Unmarshal([]byte(a.body), &all) != nil {
		return nil
	}
	return all[name]
}

func do(t *testing.T, client *http.Client, method, url, key, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	return send(t, client, request)
}

func send(t *testing.T, client *http.Client, request *http.Request) answer {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

func get(t *testing.T, client *http.Client, url string) answer {
	t.Helper()
	return do(t, client, http.MethodGet, url, "", "")
}

// refused is the error of a server that must not start.
func refused(t *testing.T, settings config.Serve) error {
	t.Helper()
	a, err := app.New(t.Context(), app.Config{Serve: settings, Version: "test", Out: io.Discard, Log: io.Discard})
	if err == nil {
		_ = a.Close()
		t.Fatal("the server starts")
	}
	return err
}

// until asks the server again and again, for at most twenty seconds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(late) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}
