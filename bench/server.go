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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/leafward/leafward/api"
)

// server is one under measurement.
type server struct {
	home  string // removed at the end
	plain string // http://host:port
	*api.Client
	local *http.Client // over the local socket
	base  string       // https://host:port
	args  []string
	dsn   string // of its PostgreSQL database, "" on SQLite
	cmd   *exec.Cmd
	ready time.Duration // from the start to the word that it is ready
	drop  func() error  // of its database
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
	home, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	s := &server{home: home, drop: func() error { return nil }}
	if b.engine == postgres {
		if s.dsn, s.drop, err = database(ctx, b.cluster); err != nil {
			return nil, errors.Join(err, os.RemoveAll(home))
		}
		flags = append(flags, "--database", s.dsn)
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
func (s *server) start(ctx context.Context, program string) error {
	heard := &listener{words: []byte(`"msg":"ready"`), heard: make(chan struct{})}
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), program, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = heard, heard
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	select {
	case <-heard.heard:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return fmt.Errorf("the server is not ready: %s", heard.said)
	}
	s.ready = time.Since(begun)
	return nil
}

func (s *server) data() string { return filepath.Join(s.home, "data") }

// database is where the server keeps what it knows, as a path or a URL.
func (s *server) database() string {
	if s.dsn != "" {
		return s.dsn
	}
	return filepath.Join(s.data(), "leafward.db")
}

// connect makes an administrator's client: TLS 1.3, kept alive, one connection for each of its users.
func (s *server) connect(ctx context.Context) error {
	s.local = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.data(), "leafward.sock"))
	}}}
	key, err := api.CreateKey.Call(ctx, &api.Client{Base: "http://local", HTTP: s.local}, api.Make[api.KeyWrite]{Body: api.KeyWrite{Name: api.Some("bench"), Role: api.Some("admin")}})
	if err != nil {
		return err
	}
	root, err := os.ReadFile(filepath.Join(s.data(), "root.pem"))
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(root)
	s.Client = &api.Client{Base: s.base, Key: key.Secret, HTTP: clientThatTrusts(trusted)}
	return nil
}

// clientThatTrusts keeps a connection for each of its users.
func clientThatTrusts(trusted *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: 64}}
}

// end lets the server end by itself; what it has stays.
func (s *server) end() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait() // it is measured, not judged
		s.cmd = nil
	}
}

// stop ends the server and removes what it had.
func (s *server) stop() error {
	s.end()
	return errors.Join(s.drop(), os.RemoveAll(s.home))
}

// cpu is what the server has used of the processor since it began.
func (s *server) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name before it may hold spaces
	fields := strings.Fields(after)
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / 100 // USER_HZ
}

// profile writes where the server's time goes meanwhile.
func (s *server) profile(ctx context.Context, path string, d time.Duration) error {
	got, err := fetch(ctx, s.local, http.MethodGet, fmt.Sprintf("http://local/testhooks/profile?seconds=%d", int(d/time.Second)), "", nil)
	if err != nil {
		return err
	}
	return os.WriteFile(path, got.Body, 0o600)
}

// memory is a figure of the server's memory, in bytes: VmRSS is what it holds now, VmHWM the most so far.
func (s *server) memory(figure string) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)) // 0 when it is gone
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, figure+":"); found {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// listener waits for words in a program's output.
type listener struct {
	words, said []byte
	heard       chan struct{}
	done        bool
}

func (l *listener) Write(text []byte) (int, error) {
	if l.done {
		return len(text), nil
	}
	l.said = append(l.said, text...)
	if bytes.Contains(l.said, l.words) {
		l.done = true
		close(l.heard)
	}
	return len(text), nil
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
