//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pgtest"
)

// eachEngine runs a test on both engines; database makes a fresh one and returns its URL, "" for SQLite.
func eachEngine(t *testing.T, test func(t *testing.T, database func(testing.TB) string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, func(testing.TB) string { return "" }) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.DSN) })
}

// each runs a test on both engines; dsn is the URL of a fresh database, "" for SQLite.
func each(t *testing.T, test func(t *testing.T, dsn string)) {
	eachEngine(t, func(t *testing.T, database func(testing.TB) string) {
		t.Parallel()
		test(t, database(t))
	})
}

// eachAlone is each for a test that measures: nothing runs beside it.
func eachAlone(t *testing.T, test func(t *testing.T, dsn string)) {
	eachEngine(t, func(t *testing.T, database func(testing.TB) string) { test(t, database(t)) })
}

// engineOf names the engine of a database.
func engineOf(dsn string) string {
	if dsn == "" {
		return "sqlite"
	}
	return "postgres"
}

// server is a server under test; it can be ended and started again, on the same data and addresses.
type server struct {
	dir    string   // its data directory
	flags  []string // besides those that say where everything is
	listen string   // host:port of HTTPS
	plain  string   // http://host:port
	url    string   // https://host:port

	*process
	admin  *client // its answers are judged
	ledger *follower
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// freeAddress is a loopback address on which nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newServer has a place but does not run yet.
func newServer(t testing.TB, dsn string, flags ...string) *server {
	t.Helper()
	s := &server{dir: filepath.Join(shortDir(t), "data"), listen: freeAddress(t)}
	public := freeAddress(t)
	for public == s.listen { // it was free again
		public = freeAddress(t)
	}
	s.url, s.plain = "https://"+s.listen, "http://"+public
	s.flags = []string{"serve", "--json", "--data-dir", s.dir, "--listen", s.listen, "--public-listen", public}
	if dsn != "" {
		s.flags = append(s.flags, "--database", dsn)
	}
	s.flags = append(s.flags, flags...)
	return s
}

// serve starts a server with a key for its administrator.
func serve(t testing.TB, dsn string, flags ...string) *server {
	t.Helper()
	s := newServer(t, dsn, flags...)
	s.start(t)
	s.open(t)
	return s
}

// start runs it until it is ready, and returns how long that took. The flags are for this run only.
func (s *server) start(t testing.TB, flags ...string) time.Duration {
	t.Helper()
	begun := time.Now()
	s.process = start(t, program(t, "leafward-testhooks"), slices.Concat(s.flags, flags)...)
	s.heard(t, `"msg":"ready"`)
	took := time.Since(begun)
	if err := s.ready(t.Context()); err != nil {
		t.Fatalf("it says that it is ready, but %v", err)
	}
	return took
}

// ready asks whether everything works.
func (s *server) ready(ctx context.Context) error {
	a, err := overSocketOf(s.dir).send(ctx, "GET", "/ready", nil)
	if err == nil && a.status != 200 {
		err = fmt.Errorf("/ready answers %d: %s", a.status, a.body)
	}
	return err
}

// open makes a key for the administrator and follows the ledger.
func (s *server) open(t testing.TB) {
	t.Helper()
	s.admin = newClient(t, s.url, s.key(t, "e2e", "admin"), s.root(t))
	s.ledger = follow(t, filepath.Join(s.dir, "ledger"))
}

// root is the certificate that everybody pins, in PEM.
func (s *server) root(t testing.TB) []byte {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(s.dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// key makes an API key.
func (s *server) key(t testing.TB, name, role string) string {
	t.Helper()
	return text(s.local().expect(t, 201, "POST", "/api/v1/keys", object{"name": name, "role": role}), "key")
}

// local speaks over the local socket.
func (s *server) local() *client { return overSocketOf(s.dir) }

// overSocketOf finds the socket as the documentation says: in the data directory, or where socket.path points.
func overSocketOf(dir string) *client {
	path := filepath.Join(dir, "leafward.sock")
	if pointer, err := os.ReadFile(filepath.Join(dir, "socket.path")); err == nil {
		path = strings.TrimSpace(string(pointer))
	}
	return overSocket(path)
}

// setClock moves the server's clock.
func (s *server) setClock(t testing.TB, at time.Time) {
	t.Helper()
	s.local().expect(t, 200, "POST", "/testhooks/clock", object{"set": at.UTC().Format(time.RFC3339)})
}

// advance moves the server's clock on.
func (s *server) advance(t testing.TB, d time.Duration) {
	t.Helper()
	s.local().expect(t, 200, "POST", "/testhooks/clock", object{"advance": d.String()})
}

// ago is a time before now, as flags write it.
func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }

const day = 24 * time.Hour
