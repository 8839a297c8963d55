//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/leafward/leafward/api"
)

// server is one under measurement.
type server struct {
	home  string // removed at the end
	plain string // http://host:port
	*api.Client
	program
	local   *http.Client   // over the local socket
	trusted *x509.CertPool // the server's root
	base    string         // https://host:port
	args    []string
	dsn     string       // of its PostgreSQL database, "" on SQLite
	drop    func() error // of its database
}

// serve starts a server on an empty directory and waits until it is ready.
func (b *bench) serve(ctx context.Context, flags ...string) (*server, error) {
	s, err := b.place(ctx, flags...)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx, b.program); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// place makes the directory and the database of a server that does not run yet.
func (b *bench) place(ctx context.Context, flags ...string) (*server, error) {
	if b.engine != postgres {
		return b.placeOn(ctx, "", func() error { return nil }, flags...)
	}
	dsn, drop, err := database(ctx, b.cluster)
	if err != nil {
		return nil, err
	}
	return b.placeOn(ctx, dsn, drop, flags...)
}

// placeOn is place on a PostgreSQL database that is there, or on SQLite where it is "".
func (b *bench) placeOn(ctx context.Context, dsn string, drop func() error, flags ...string) (*server, error) {
	home, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	s := &server{home: home, dsn: dsn, drop: drop}
	if dsn != "" {
		flags = append(flags, "--database", dsn)
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	public, err := freeAddress(ctx)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.base, s.plain = "https://"+listen, "http://"+public
	s.args = append([]string{"serve", "--json", "--data-dir", s.data(), "--listen", listen, "--public-listen", public}, flags...)
	return s, nil
}

// start runs the server where it was placed, again after it ended.
func (s *server) start(ctx context.Context, path string) error {
	return s.run(ctx, path, `"msg":"ready"`, s.args...)
}

func (s *server) data() string { return filepath.Join(s.home, "data") }

// database is where the server keeps what it knows, as a path or a URL.
func (s *server) database() string {
	if s.dsn != "" {
		return s.dsn
	}
	return filepath.Join(s.data(), "leafward.db")
}

// connect makes an administrator's client with a new key of the API.
func (s *server) connect(ctx context.Context) error {
	s.local = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.data(), "leafward.sock"))
	}}}
	key, err := api.CreateKey.Call(ctx, &api.Client{Base: "http://local", HTTP: s.local}, api.Make[api.KeyWrite]{Body: api.KeyWrite{Name: api.Some("bench"), Role: api.Some("admin")}})
	if err != nil {
		return err
	}
	return s.connectWith(key.Secret)
}

// connectWith makes a client: TLS 1.3, kept alive, one connection for each of its users.
func (s *server) connectWith(key string) error {
	root, err := os.ReadFile(filepath.Join(s.data(), "root.pem"))
	if err != nil {
		return err
	}
	s.trusted = x509.NewCertPool()
	s.trusted.AppendCertsFromPEM(root)
	s.Client = &api.Client{Base: s.base, Key: key, HTTP: clientThatTrusts(s.trusted)}
	return nil
}

// clientThatTrusts keeps a connection for each of its users.
func clientThatTrusts(trusted *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: 64}}
}

// stop ends the server and removes what it had.
func (s *server) stop() error {
	s.end()
	return errors.Join(s.drop(), os.RemoveAll(s.home))
}

// profile writes where the server's time goes meanwhile.
func (s *server) profile(ctx context.Context, path string, d time.Duration) error {
	got, err := fetch(ctx, s.local, http.MethodGet, fmt.Sprintf("http://local/testhooks/profile?seconds=%d", int(d/time.Second)), "", nil)
	if err != nil {
		return err
	}
	return os.WriteFile(path, got.Body, 0o600)
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// fetch reads what is there for everybody.
func fetch(ctx context.Context, client *http.Client, method, url, media string, body []byte) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	return exchange(client, request)
}
