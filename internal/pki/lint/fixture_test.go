package lint

import (
	"crypto"
	"crypto/x509"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki"
)

const day = 24 * time.Hour

func p256() pki.KeyKind    { return pki.KeyKind{Algorithm: pki.ECDSA, Size: 256} }
func p384() pki.KeyKind    { return pki.KeyKind{Algorithm: pki.ECDSA, Size: 384} }
func rsa2048() pki.KeyKind { return pki.KeyKind{Algorithm: pki.RSA, Size: 2048} }
func ed25519() pki.KeyKind { return pki.KeyKind{Algorithm: pki.Ed25519, Size: 256} }

// world is a root and an issuing authority with keys of one kind, one key for subjects of each kind, and a moment.
type world struct {
	now     time.Time
	linter  *Linter
	dummy   *pki.Dummy
	key     crypto.Signer
	root    *x509.Certificate
	issuing *x509.Certificate
	keys    map[pki.KeyKind]crypto.Signer
}

func newWorld(t testing.TB, kind pki.KeyKind) *world {
	t.Helper()
	linter, err := New()
	check(t, err)
	w := &world{
		now:    time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
		linter: linter,
		dummy:  pki.NewDummy(),
		keys:   map[pki.KeyKind]crypto.Signer{},
	}
	for _, kind := range []pki.KeyKind{p256(), p384(), rsa2048(), ed25519()} {
		w.keys[kind] = newKey(t, kind)
	}
	rootKey := newKey(t, kind)
	w.key = newKey(t, kind)
	w.root = w.authority(t, rootTemplate(w.now), nil, rootKey, rootKey.Public())
	w.issuing = w.authority(t, issuingTemplate(w.now), w.root, rootKey, w.key.Public())
	return w
}

func rootTemplate(now time.Time) pki.Template {
	return pki.Template{
		Serial:    pki.NewSerial(),
		Subject:   pki.Subject{CommonName: "Test Root", Organization: "Leafward"},
		NotBefore: now.Add(-5 * time.Minute),
		TTL:       20 * 365 * day,
		CA:        true,
		PathLen:   pki.NoPathLen,
	}
}

func issuingTemplate(now time.Time) pki.Template {
	return pki.Template{
		Serial:                pki.NewSerial(),
		Subject:               pki.Subject{CommonName: "Test Issuing", Organization: "Leafward"},
		NotBefore:             now.Add(-5 * time.Minute),
		TTL:                   5 * 365 * day,
		CA:                    true,
		CRLDistributionPoints: []string{"http://pki.example.com/.well-known/pki/crl/root"},
		CAIssuers:             []string{"http://pki.example.com/.well-known/pki/ca/root"},
	}
}

func (w *world) authority(t testing.TB, template pki.Template, parent *x509.Certificate, signer crypto.Signer, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	issuer, err := template.SelfIssuer(pub)
	if parent != nil {
		issuer, err = pki.IssuerOf(parent)
	}
	check(t, err)
	draft, err := w.dummy.BuildTBS(template, issuer, pub)
	check(t, err)
	options := Options{Now: w.now, MaxTTL: 20 * 365 * day, Backdate: 5 * time.Minute}
	check(t, w.linter.CheckCA(draft.Certificate, parent, options))
	der, err := pki.SignTBS(draft.TBS, signer)
	check(t, err)
	check(t, w.linter.CheckCA(der, parent, options))
	cert, err := pki.ParseCertificate(der)
	check(t, err)
	return cert
}

// leaf is a template that passes every lint together with options.
func (w *world) leaf() pki.Template {
	return pki.Template{
		Serial:                pki.NewSerial(),
		Subject:               pki.Subject{CommonName: "www.example.com"},
		Names:                 pki.Names{DNS: []string{"www.example.com"}},
		NotBefore:             w.now.Add(-5 * time.Minute),
		TTL:                   47 * day,
		EKUs:                  []string{"serverAuth"},
		CRLDistributionPoints: []string{"http://pki.example.com/.well-known/pki/crl/one"},
		OCSPServers:           []string{"http://pki.example.com/.well-known/pki/ocsp/one"},
		CAIssuers:             []string{"http://pki.example.com/.well-known/pki/ca/one"},
	}
}

func (w *world) options() Options {
	return Options{Now: w.now, MaxTTL: 47 * day, Backdate: 5 * time.Minute, EKUs: []string{"serverAuth", "clientAuth"}}
}

func (w *world) draft(t testing.TB, template pki.Template, kind pki.KeyKind) []byte {
	t.Helper()
	issuer, err := pki.IssuerOf(w.issuing)
	check(t, err)
	draft, err := w.dummy.BuildTBS(template, issuer, w.keys[kind].Public())
	check(t, err)
	return draft.Certificate
}

func newKey(t testing.TB, kind pki.KeyKind) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey(kind)
	check(t, err)
	return key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
