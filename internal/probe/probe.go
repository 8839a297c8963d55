package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	defaultTime  = 10 * time.Second
	maxRead      = 1 << 20 // bytes of one look
	maxAddresses = 16
)

// Request is one place to look at.
type Request struct {
	Address    string // host:port
	ServerName string // for SNI; "" means the host of Address, if that is a name
	StartTLS   StartTLS

	// Dial opens connections and Resolve finds addresses; nil means those of package net. Whoever looks at addresses
	// that strangers name gives a guarded dialer.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Result is what a look has seen. Outcome OK means that a certificate was seen; the other properties are set then.
type Result struct {
	Address     string // host:port, as dialled
	ServerName  string // as asked for
	Outcome     Outcome
	Problem     string   // why there is no certificate, for people
	Fingerprint string   // SHA-256 of the leaf, lower hex
	Chain       [][]byte // DER, as sent, leaf first
	TLSVersion  string
	Cipher      string // IANA name
	NotBefore   time.Time
	NotAfter    time.Time
	Names       []string // DNS names, IP addresses, e-mail addresses and URIs of the leaf
	OCSPStaple  bool     // a stapled OCSP response came with it
	WantsClient bool     // the server asked for a client certificate
	Took        time.Duration
}

// Look looks at one address, for at most ten seconds or until the context ends. If the host of the address is a name,
// whichever of its addresses answers first is seen; LookAll sees each.
func Look(ctx context.Context, r Request) Result {
	start := time.Now()
	host, _, err := net.SplitHostPort(r.Address)
	if err != nil {
		return Result{Address: r.Address, Outcome: Unresolved, Problem: "the address is not host:port"}
	}
	if r.ServerName == "" && !isIP(host) {
		r.ServerName = host
	}
	if r.Dial == nil {
		r.Dial = new(net.Dialer).DialContext
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTime)
	defer cancel()
	seen, err := look(ctx, r)
	seen.Address, seen.ServerName, seen.Took = r.Address, r.ServerName, time.Since(start)
	if seen.Fingerprint != "" {
		seen.Outcome = OK
		return seen
	}
	seen.Outcome, seen.Problem = classify(ctx, err)
	return seen
}

// LookAll looks at every address behind a host, at most 16, all at once; one result each, in the order of the addresses.
func LookAll(ctx context.Context, r Request) []Result {
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil || isIP(host) {
		return []Result{Look(ctx, r)}
	}
	if r.Resolve == nil {
		r.Resolve = net.DefaultResolver.LookupNetIP
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTime)
	defer cancel()
	found, err := r.Resolve(ctx, "ip", host)
	if err != nil || len(found) == 0 {
		outcome, problem := Unresolved, host+" has no address"
		if err != nil {
			outcome, problem = classify(ctx, err)
		}
		return []Result{{Address: r.Address, ServerName: r.ServerName, Outcome: outcome, Problem: problem}}
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	slices.SortFunc(found, netip.Addr.Compare)
	found = slices.Compact(found)
	if r.ServerName == "" {
		r.ServerName = host
	}
	results := make([]Result, min(len(found), maxAddresses))
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			one := r
			one.Address = net.JoinHostPort(found[i].String(), port)
			results[i] = Look(ctx, one)
		})
	}
	all.Wait()
	return results
}

// look dials, speaks what comes before TLS, and shakes hands. What was seen counts even if the handshake fails later.
func look(ctx context.Context, r Request) (seen Result, err error) {
	conn, err := r.Dial(ctx, "tcp", r.Address)
	if err != nil {
		return seen, dialError{err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	limited := &limitedConn{Conn: conn, left: maxRead}
	if err := r.StartTLS.begin(limited); err != nil {
		return seen, err
	}
	asked := false
	client := tls.Client(limited, &tls.Config{
		ServerName:         r.ServerName,
		InsecureSkipVerify: true, // looking is not trusting: VerifiedBy judges afterwards
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       suites(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return new(tls.Certificate), nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			seen = describe(state)
			return nil
		},
	})
	err = client.HandshakeContext(ctx)
	seen.WantsClient = asked
	return seen, err
}

// suites are all that are known, so that an old server is seen rather than refused.
func suites() (ids []uint16) {
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		ids = append(ids, suite.ID)
	}
	return ids
}

func describe(state tls.ConnectionState) Result {
	var r Result
	if len(state.PeerCertificates) == 0 {
		return r
	}
	for _, cert := range state.PeerCertificates {
		r.Chain = append(r.Chain, cert.Raw)
	}
	leaf := state.PeerCertificates[0]
	sum := sha256.Sum256(leaf.Raw)
	r.Fingerprint = hex.EncodeToString(sum[:])
	r.TLSVersion, r.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	r.NotBefore, r.NotAfter = leaf.NotBefore, leaf.NotAfter
	r.OCSPStaple = len(state.OCSPResponse) > 0
	r.Names = slices.Concat(leaf.DNSNames, leaf.EmailAddresses)
	for _, ip := range leaf.IPAddresses {
		r.Names = append(r.Names, ip.String())
	}
	for _, uri := range leaf.URIs {
		r.Names = append(r.Names, uri.String())
	}
	return r
}

// VerifiedBy checks what was seen as a TLS client would at an instant: a chain to one of the roots, dates, and the name
// that was asked for (the address itself if none was).
func (r Result) VerifiedBy(roots *x509.CertPool, at time.Time) error {
	if len(r.Chain) == 0 {
		return fmt.Errorf("there is no certificate to verify: %s", r.Problem)
	}
	options := x509.VerifyOptions{DNSName: r.ServerName, Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: at}
	if options.DNSName == "" {
		host, _, err := net.SplitHostPort(r.Address)
		if err != nil {
			return err
		}
		options.DNSName = host
	}
	leaf, err := x509.ParseCertificate(r.Chain[0])
	if err != nil {
		return err
	}
	for _, der := range r.Chain[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		options.Intermediates.AddCert(cert)
	}
	_, err = leaf.Verify(options)
	return err
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// tooMuchError ends a look at a server that does not stop sending.
type tooMuchError struct{}

func (tooMuchError) Error() string {
	return "the server sent more than 1 MiB before it was done shaking hands"
}

// dialError is a connection that did not come about.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// limitedConn reads a bounded number of bytes.
type limitedConn struct {
	net.Conn
	left int
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, tooMuchError{}
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
