package ca

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/store"
)

// openKeys is how many private keys of authorities and responders stay open.
const openKeys = 128

// Config is what the authorities stand on.
type Config struct {
	DB     *store.DB
	Master *keys.Master // opens and seals the private keys
	Lint   *lint.Linter
	Dummy  *pki.Dummy
	Points *hook.Points // nil: none
	Log    *slog.Logger // nil: silent
	// BaseURL is where the world reaches CRLs, OCSP and CA certificates: http://HOST[:PORT]. Certificates carry no URLs
	// while it is empty or its host is this machine only.
	BaseURL string
}

// CA is every authority of our own. Its methods may be called from several goroutines.
type CA struct {
	db     *store.DB
	master *keys.Master
	ring   *keys.Ring
	lint   *lint.Linter
	dummy  *pki.Dummy
	points *hook.Points
	log    *slog.Logger
	base   string // without a slash at its end; "" while certificates carry no URLs
	holder string // names this process in leases

	parsed     sync.Map // id of a CA certificate → *x509.Certificate, of which there are few
	directory  directory
	responders responders
	answerers  answerers
	facts      facts
	answers    *cache[answer]
	lists      *cache[leafward.CRL]
	made       sync.Map // id of an authority → made
	named      sync.Map // id of an authority or issuer → id of the authority whose list it was given last

	certificates *cache[[]byte] // that were asked for last, by the name they were asked for under
}

// New makes the authorities; call Bootstrap before anything else.
func New(c Config) (*CA, error) {
	base, err := publicBase(c.BaseURL)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &CA{
		db: c.DB, master: c.Master, ring: keys.NewRing(c.Master, openKeys), lint: c.Lint, dummy: c.Dummy, points: c.Points, log: c.Log,
		base: base, holder: store.NewID("ca"),
		answers: newCache[answer](answerBytes), lists: newCache[leafward.CRL](listBytes),
		certificates: newCache[[]byte](certificateBytes),
	}, nil
}

// Base is where the world reaches what the URLs in certificates name; "" when they have none.
func (c *CA) Base() string { return c.base }

// publicBase is the base of URLs in certificates; "" when there is none that others can reach.
func publicBase(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		var p leafward.Problems
		p.Add("public-url", "is not an http URL of a host", "write it as http://pki.example.com or http://pki.example.com:8480: CRLs and OCSP are fetched without TLS")
		return "", p.Err()
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if addr, err := netip.ParseAddr(host); err == nil && (addr.IsLoopback() || addr.IsUnspecified()) {
		return "", nil
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return "", nil
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Paths of the world's door below the base.
const (
	PathCRL  = "/.well-known/pki/crl/"
	PathOCSP = "/.well-known/pki/ocsp/"
	PathCA   = "/.well-known/pki/ca/"
)

// urls are the addresses of an authority as its certificates carry them; none while there is no base.
func (c *CA) urls(path, authority string) []string {
	if c.base == "" {
		return nil
	}
	return []string{c.base + path + authority}
}

// system is the context of what the authorities do by themselves, whoever asked.
func system(ctx context.Context) context.Context {
	return leafward.WithActor(ctx, leafward.System("ca"))
}

// certificate reads a CA certificate from its row, once.
func (c *CA) certificate(row leafward.CACertificate) (*x509.Certificate, error) {
	if known, ok := c.parsed.Load(row.ID); ok {
		return known.(*x509.Certificate), nil
	}
	cert, err := pki.ParseCertificate(row.DER)
	if err != nil {
		return nil, err
	}
	c.parsed.Store(row.ID, cert)
	return cert, nil
}
