package cli

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

// asking is the flags of every command that asks a server.
type asking struct {
	DataDir string `placeholder:"DIR" xor:"where" group:"Connection:" help:"Server on this machine: its data directory, whose socket is used. ./leafward-data unless said otherwise (LEAFWARD_DATA_DIR)."`
	Server  string `placeholder:"URL" xor:"where" group:"Connection:" help:"Server elsewhere, such as https://leafward.example.com:8443 (LEAFWARD_SERVER)."`
	Key     string `placeholder:"KEY" group:"Connection:" help:"API key for --server; better in LEAFWARD_KEY, which other users cannot see."`
	Root    string `placeholder:"SHA256" group:"Connection:" help:"Root certificate that --server is trusted by: its SHA-256, or a PEM file (LEAFWARD_ROOT)."`
	JSON    bool   `name:"json" group:"Connection:" help:"Answer and fail in JSON."`
}

// run is one command at work.
type run struct {
	*Session
	*api.Client
	JSON  bool
	where place
	left  time.Duration // of the patience with a busy server
}

// place is where the server is.
type place struct {
	dir    string // data directory; "" when remote
	server string // base URL; "" when local
	root   string // what was given to trust it by
	typed  string // the flag that named it, "" when none did
}

// flags is the place as it is written on a command line that the user may type elsewhere; what the environment says is
// not written.
func (p place) flags() string { return p.typed }

const defaultDir = "./leafward-data"

// begin finds the server that a command asks.
func (a *asking) begin(ctx context.Context, s *Session) (*run, error) {
	s.called = make(map[string]string)
	r := &run{Session: s, JSON: a.JSON, where: place{dir: a.DataDir, server: a.Server}, left: patience}
	s.people = func(text string) string { return r.names().named(ctx, text) }
	switch {
	case a.Server != "":
		r.where.typed = " --server " + quoted(a.Server)
	case a.DataDir != "":
		r.where.typed = " --data-dir " + quoted(a.DataDir)
	default:
		if r.where.server = s.Getenv("LEAFWARD_SERVER"); r.where.server == "" {
			r.where.dir = first(s.Getenv("LEAFWARD_DATA_DIR"), defaultDir)
		}
	}
	r.Client = &api.Client{Name: "leafward/" + s.Version}
	if r.where.server == "" {
		if a.Key != "" || a.Root != "" {
			return nil, failed(codeUsage, "name the server with --server, or leave both out to use the socket in the data directory", "--key and --root go with --server")
		}
		r.Base, r.HTTP = "http://leafward", r.client(socketTransport(r.where))
		return r, nil
	}
	base, err := baseURL(r.where.server)
	if err != nil {
		return nil, err
	}
	r.where.server, r.Base = base, base
	r.Client.Key, r.where.root = first(a.Key, s.Getenv("LEAFWARD_KEY")), first(a.Root, s.Getenv("LEAFWARD_ROOT"))
	if r.Client.Key == "" {
		return nil, failed(codeUsage, "set LEAFWARD_KEY; on the server's machine `leafward key create NAME --role operator` makes a key", "%s is asked with an API key, and none was given", base)
	}
	roots, err := r.trust(ctx, base, r.where.root)
	if err != nil {
		return nil, err
	}
	r.HTTP = r.client(remoteTransport(base, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}))
	return r, nil
}

// client is one that waits for a busy server, and says so.
func (r *run) client(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: patient{transport, &r.left, func(after time.Duration, why string) {
		r.say(wait, "", "the server is asked again %s: %s", distance(after), why)
	}}}
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// baseURL refuses what is not the root of an https server: a key must not travel in the clear.
func baseURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", failed(codeUsage, "write it as https://HOST:PORT", "%q is not the address of a server", text)
	}
	return "https://" + u.Host, nil
}

const (
	dialTime   = 10 * time.Second
	answerTime = 2 * time.Minute // longer than any wait that a command asks the server for
)

// socketTransport reaches the server over the socket in its data directory, where no key is needed.
func socketTransport(at place) *http.Transport {
	return &http.Transport{
		ResponseHeaderTimeout: answerTime,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path := socketPath(at.dir)
			conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", path)
			switch {
			case errors.Is(err, fs.ErrPermission):
				return nil, failed(codeNoServer, "run the command as the user of the server or as root, or use --server with an API key", "the data directory %s belongs to another user", at.dir)
			case err != nil && ctx.Err() == nil:
				return nil, failed(codeNoServer, "start one with `leafward serve --data-dir "+quoted(at.dir)+"`, or name another with --data-dir or --server", "no server runs in the data directory %s", at.dir)
			}
			return conn, err
		},
	}
}

// socketPath is where the server's socket is: in the data directory, or where DATA/socket.path says when that path would be
// too long for a socket.
func socketPath(dir string) string {
	if named, err := os.ReadFile(filepath.Join(dir, "socket.path")); err == nil {
		return strings.TrimSpace(string(named))
	}
	return filepath.Join(dir, "leafward.sock")
}

// remoteTransport reaches a server over TLS and tells in our words why it does not.
func remoteTransport(base string, config *tls.Config) http.RoundTripper {
	return explained{base, &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout:   dialTime,
		TLSClientConfig:       config,
		ResponseHeaderTimeout: answerTime,
		ForceAttemptHTTP2:     true,
	}}
}

// explained is a transport whose errors are failures.
type explained struct {
	base string
	http.RoundTripper
}

func (e explained) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := e.RoundTripper.RoundTrip(request)
	if err == nil || request.Context().Err() != nil {
		return response, err
	}
	if wrong, ok := errors.AsType[x509.HostnameError](err); ok {
		names := strings.Join(wrong.Certificate.DNSNames, ", ")
		return nil, failed(codeUntrusted, "use one of those names, or start the server with --hostname "+wrong.Host, "the certificate of %s is for %s", e.base, names)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return nil, failed(codeUntrusted, "give --root the root's SHA-256 that `leafward status` prints on the server's machine, or its file root.pem", "the certificate of %s is not from a root that is trusted here", e.base)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return nil, failed(codeUntrusted, "look at the server's certificate and at this machine's clock", "the certificate of %s is not valid: %v", e.base, err)
	}
	return nil, failed(codeNoServer, "check that the server runs, that the address is right and that no firewall is between", "the server at %s cannot be reached: %v", e.base, err)
}

// trust is the root that a server is trusted by: none is the system's, a PEM file is read, and of a SHA-256 the root is
// fetched from the server itself and compared, which proves it whoever answered.
func (r *run) trust(ctx context.Context, base, root string) (*x509.CertPool, error) {
	if root == "" {
		return nil, nil
	}
	pin := strings.ToLower(strings.ReplaceAll(root, ":", ""))
	if raw, err := hex.DecodeString(pin); err != nil || len(raw) != sha256.Size {
		return rootFile(root)
	}
	der, err := r.fetchRoot(ctx, base)
	if err != nil {
		return nil, err
	}
	if sum := pki.Fingerprint(der); sum != pin {
		return nil, failed(codeUntrusted, "compare --root with what `leafward status` prints on the server's machine; when it differs, somebody else answers at this address", "the root of %s has the SHA-256 %s, which is not the one given", base, sum)
	}
	cert, err := pki.ParseCertificate(der)
	if err != nil {
		return nil, failed(codeUntrusted, "check that the address is that of a leafward server", "the root of %s cannot be read: %v", base, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool, nil
}

func rootFile(name string) (*x509.CertPool, error) {
	text, err := readBounded(name, maxRoot)
	if err != nil {
		return nil, failed(codeUsage, "give --root a SHA-256 in hex, or a file in PEM", "--root %q is neither a SHA-256 nor a file that can be read", name)
	}
	certs, err := pki.ParseChainPEM(text)
	if err != nil {
		return nil, failed(codeUsage, "give --root a file with the root certificate in PEM", "the file %s holds no certificate: %v", name, err)
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}

const maxRoot = 64 << 10 // octets

// fetchRoot asks whoever answers for the root certificate. The caller compares it before believing it, and no secret is
// sent on this connection.
func (r *run) fetchRoot(ctx context.Context, base string) ([]byte, error) {
	client := r.client(remoteTransport(base, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})) //nolint:gosec // the caller compares the hash of what comes
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/.well-known/pki/ca/root", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, failed(codeUntrusted, "check that the address is that of a leafward server", "%s answered %s for its root certificate", base, response.Status)
	}
	der, err := io.ReadAll(io.LimitReader(response.Body, maxRoot))
	if err != nil {
		return nil, fmt.Errorf("reading the root certificate of %s: %w", base, err)
	}
	return der, nil
}
