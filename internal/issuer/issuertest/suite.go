// Package issuertest is the test suite of the issuer contract.
package issuertest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/pki"
)

// Subject is an issuer under test.
type Subject struct {
	Issuer  issuer.Issuer
	Root    *x509.Certificate
	Context context.Context // of whoever asks
	Names   pki.Names       // that it issues for; zero: a DNS name and an IP address
}

// Run holds an issuer against the contract; fresh makes one for each test.
func Run(t *testing.T, fresh func(*testing.T) Subject) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Subject){
		"it signs what was asked for":                      signs,
		"every kind of key is certified":                   kinds,
		"the same request gets one certificate":            repeats,
		"a request that began is not signed for other key": keeps,
		"a context that ended ends it":                     ends,
		"its test succeeds":                                tests,
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			if s.Names.Len() == 0 {
				s.Names = pki.Names{DNS: []string{"www.example.com", "*.shop.example.com"}, IP: []netip.Addr{netip.MustParseAddr("10.1.2.3")}}
			}
			test(t, s)
		})
	}
}

// request asks for the names, with a key of a kind.
func (s Subject) request(t *testing.T, id string, kind pki.KeyKind) issuer.Request {
	t.Helper()
	key, err := pki.GenerateKey(kind)
	check(t, err)
	csr, err := pki.MakeCSR(key, "", s.Names)
	check(t, err)
	return issuer.Request{
		ID: id, Name: "test", CommonName: s.Names.All()[0], Names: s.Names, PublicKey: key.Public(), CSR: csr, EKUs: []string{pki.ServerAuth},
		TTL: 24 * time.Hour, MaxTTL: 24 * time.Hour, Backdate: 5 * time.Minute,
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func p256() pki.KeyKind { return pki.KeyKind{Algorithm: pki.ECDSA, Size: 256} }

// issue has the request signed, patiently.
func (s Subject) issue(t *testing.T, r issuer.Request) issuer.Chain {
	t.Helper()
	for {
		chain, err := s.Issuer.Issue(s.Context, r)
		pending, ok := errors.AsType[*issuer.Pending](err)
		if !ok {
			check(t, err)
			return chain
		}
		r.Order = pending.Order
		select {
		case <-time.After(pending.After):
		case <-t.Context().Done():
			t.Fatal("the certificate never came")
		}
	}
}

func signs(t *testing.T, s Subject) {
	r := s.request(t, "r-1", p256())
	chain := s.issue(t, r)
	verify(t, s, r, chain)
}

// verify holds a chain against what was asked for.
func verify(t *testing.T, s Subject, r issuer.Request, chain issuer.Chain) {
	t.Helper()
	var certs []*x509.Certificate
	for _, der := range chain.Certificates {
		cert, err := x509.ParseCertificate(der)
		check(t, err)
		certs = append(certs, cert)
	}
	leaf := certs[0]
	if _, err := pki.VerifyChain(leaf, certs[1:], []*x509.Certificate{s.Root}, time.Now()); err != nil {
		t.Error(err)
	}
	if slices.ContainsFunc(certs, s.Root.Equal) {
		t.Error("the root stands in the chain")
	}
	if key, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(r.PublicKey) {
		t.Error("it is for another key")
	}
	asked, got := r.Names.All(), pki.NamesOf(leaf).All()
	slices.Sort(asked)
	slices.Sort(got)
	if !slices.Equal(asked, got) {
		t.Errorf("it names %q, not %q", got, asked)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; life > r.MaxTTL || leaf.NotBefore.After(time.Now()) {
		t.Errorf("it lives %v from %v on", life, leaf.NotBefore)
	}
	if leaf.IsCA || !slices.Equal(pki.EKUsOf(leaf), r.EKUs) {
		t.Errorf("it is for %q", pki.EKUsOf(leaf))
	}
	if chain.Serial != pki.SerialHex(leaf.SerialNumber) {
		t.Errorf("it has not the serial %s", chain.Serial)
	}
}

func kinds(t *testing.T, s Subject) {
	for i, kind := range []pki.KeyKind{p256(), {Algorithm: pki.ECDSA, Size: 384}, {Algorithm: pki.RSA, Size: 2048}, {Algorithm: pki.Ed25519, Size: 256}} {
		r := s.request(t, fmt.Sprint("r-", i), kind)
		verify(t, s, r, s.issue(t, r))
	}
}

// repeats asks again as after a crash before the first answer was stored.
func repeats(t *testing.T, s Subject) {
	r := s.request(t, "r-1", p256())
	first, second := s.issue(t, r), s.issue(t, r)
	if first.Serial != second.Serial {
		t.Errorf("it has the serials %s and %s", first.Serial, second.Serial)
	}
	if other := s.issue(t, s.request(t, "r-2", p256())); other.Serial == first.Serial {
		t.Error("two requests share a serial")
	}
}

func keeps(t *testing.T, s Subject) {
	s.issue(t, s.request(t, "r-1", p256()))
	if _, err := s.Issuer.Issue(s.Context, s.request(t, "r-1", p256())); err == nil {
		t.Error("the request was signed for two keys")
	}
}

func ends(t *testing.T, s Subject) {
	ctx, stop := context.WithCancel(s.Context)
	stop()
	if _, err := s.Issuer.Issue(ctx, s.request(t, "r-1", p256())); err == nil {
		t.Error("it signed for nobody")
	}
}

func tests(t *testing.T, s Subject) {
	if tester, ok := s.Issuer.(issuer.Tester); ok {
		steps, err := tester.Test(s.Context)
		check(t, err)
		if len(steps) == 0 {
			t.Error("it tried nothing")
		}
		for _, step := range steps {
			if !step.OK || step.Name == "" || step.Message == "" {
				t.Errorf("%+v", step)
			}
		}
	}
}
