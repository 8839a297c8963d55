//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// bareWord is the argument with which this program is the bare server.
const bareWord = "bare"

// reply is what a server answered, and all that a bare one has to say.
type reply struct {
	Header http.Header
	Body   []byte
	TLS    bool // it says it over TLS
}

// reached says where a bare server is.
type reached struct {
	URL  string
	Root []byte // certificate in DER to trust, nil without TLS
}

// serveBare is a server that does nothing but send a reply, to whatever it is asked: it reads the reply, says where it is,
// and ends when nothing more can come in.
func serveBare(in io.Reader, out io.Writer) error {
	read := json.NewDecoder(in)
	var r reply
	if err := read.Decode(&r); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, asked *http.Request) {
		_, _ = io.Copy(io.Discard, asked.Body)
		h := w.Header()
		for name, values := range r.Header {
			h[name] = values
		}
		_, _ = w.Write(r.Body) // the client may be gone
	})}
	at := reached{URL: "http://" + l.Addr().String()}
	if r.TLS {
		at.URL = "https://" + l.Addr().String()
		pair, err := pairFor("127.0.0.1")
		if err != nil {
			return err
		}
		at.Root = pair.Certificate[0]
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	}
	if err := json.NewEncoder(out).Encode(at); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = server.Close() // which ends the other
	}()
	if r.TLS {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// pairFor makes a certificate that signs itself.
func pairFor(host string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	if ip := net.ParseIP(host); ip != nil {
		t.IPAddresses = []net.IP{ip}
	} else {
		t.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// bareServer is a bare server in a process of its own.
type bareServer struct {
	url    string
	client *http.Client // that trusts it; over TLS only
	cmd    *exec.Cmd
	in     io.Closer
}

// bareServer starts one.
func startBare(ctx context.Context, r reply) (*bareServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &bareServer{cmd: exec.CommandContext(ctx, self, bareWord)}
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.in = in
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	var at reached
	err = json.NewEncoder(in).Encode(r)
	if err == nil {
		err = json.NewDecoder(out).Decode(&at)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the bare server does not start: %w", err), s.stop())
	}
	s.url = at.URL
	if at.Root != nil {
		root, err := x509.ParseCertificate(at.Root)
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		trusted := x509.NewCertPool()
		trusted.AddCert(root)
		s.client = clientThatTrusts(trusted)
	}
	return s, nil
}

func (s *bareServer) stop() error { return errors.Join(s.in.Close(), s.cmd.Wait()) }

// bareLoad puts a load on a bare server that sends this reply.
func (b *bench) bareLoad(ctx context.Context, r reply, what string, ask func(ctx context.Context, s *bareServer) error) (l load, err error) {
	s, err := startBare(ctx, r)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	return b.repeated(ctx, func() time.Duration { return 0 }, what+", a bare server", func(ctx context.Context, _ int) error { return ask(ctx, s) })
}

// exchange sends a request and reads what comes back, headers and all.
func exchange(client *http.Client, request *http.Request) (r reply, err error) {
	response, err := client.Do(request)
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	r.Header, r.TLS = response.Header.Clone(), response.TLS != nil
	r.Header.Del("Date") // which every server writes itself
	r.Body, err = io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %.200s", request.URL, response.Status, r.Body)
	}
	return r, err
}
