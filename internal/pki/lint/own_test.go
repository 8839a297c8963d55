package lint

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zmap/zlint/v3/lint"

	"github.com/leafward/leafward/internal/pki"
)

// bad is a certificate made by hand, past the guards of pki, so that a lint is the last thing between it and a
// signature.
type bad struct {
	template *x509.Certificate
	parent   *x509.Certificate // as it stands in the certificate
	issuer   *x509.Certificate // as it is given to the linter
	pub      any
	options  Options
}

func (w *world) bad(t *testing.T) *bad {
	cert, err := x509.ParseCertificate(w.draft(t, w.leaf(), p256()))
	check(t, err)
	parent := *w.issuing
	parent.PublicKey = nil
	template := &x509.Certificate{
		SerialNumber: cert.SerialNumber, Subject: cert.Subject, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		KeyUsage: cert.KeyUsage, BasicConstraintsValid: true, SubjectKeyId: cert.SubjectKeyId,
		CRLDistributionPoints: cert.CRLDistributionPoints, OCSPServer: cert.OCSPServer,
		IssuingCertificateURL: cert.IssuingCertificateURL, DNSNames: cert.DNSNames,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return &bad{template, &parent, w.issuing, cert.PublicKey, w.options()}
}

func (b *bad) der(t *testing.T, w *world) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, b.template, b.parent, b.pub, w.key)
	check(t, err)
	return der
}

func (b *bad) extend(oid asn1.ObjectIdentifier, critical bool, value []byte) {
	b.template.ExtraExtensions = append(b.template.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
}

func TestEveryOwnLintOfLeavesCanFail(t *testing.T) {
	w := newWorld(t, p256())
	check(t, w.linter.Check(w.bad(t).der(t, w), w.issuing, w.options()))
	null := asn1.NullBytes
	noRevAvailOID := asn1.ObjectIdentifier{2, 5, 29, 56}
	noCheckOID := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	type example struct {
		lint, what string
		spoil      func(*bad)
	}
	cases := []example{
		{"serial_number", "of 8 octets", func(b *bad) { b.template.SerialNumber = big.NewInt(1 << 62) }},
		{"serial_number", "of 21 octets", func(b *bad) { b.template.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 160) }},
		{"validity", "of one second too much", func(b *bad) { b.template.NotAfter = b.template.NotAfter.Add(time.Second) }},
		{"validity", "without a maximum", func(b *bad) { b.options.MaxTTL = 0 }},
		{"validity_in_issuer", "that outlives its issuer", func(b *bad) { b.template.NotAfter = w.issuing.NotAfter.Add(time.Second); b.options.MaxTTL = 9000 * day }},
		{"validity_in_issuer", "older than its issuer", func(b *bad) { b.template.NotBefore = w.issuing.NotBefore.Add(-time.Second) }},
		{"not_before", "in the future", func(b *bad) { b.template.NotBefore = w.now.Add(time.Second) }},
		{"not_before", "back-dated too far", func(b *bad) { b.options.Now = w.now.Add(2 * time.Second) }},
		{"authority_key_id", "of another key", func(b *bad) { b.parent.SubjectKeyId = []byte("another authority's") }},
		{"issuer_name", "of another authority", func(b *bad) { b.parent.RawSubject = w.root.RawSubject }},
		{"public_key", "that is too short", func(b *bad) { b.pub = weak.Public() }},
		{"public_key", "with primes close to each other", func(b *bad) { b.pub = closePrimes(t) }},
		{"subject_text", "written backwards", func(b *bad) { b.template.Subject.CommonName = "\u202egro.elpmaxe" }},
		{"leaf_usage", "of an authority", func(b *bad) { b.template.IsCA = true }},
		{"leaf_usage", "that signs certificates", func(b *bad) { b.template.KeyUsage |= x509.KeyUsageCertSign }},
		{"leaf_issuer", "without issuer", func(b *bad) { b.issuer = nil }},
		{"leaf_extensions", "unknown", func(b *bad) { b.extend(asn1.ObjectIdentifier{1, 2, 3, 4}, false, null) }},
		{"name_types", "a directory name", func(b *bad) { b.extend(asn1.ObjectIdentifier{2, 5, 29, 17}, false, []byte("\x30\x04\xa4\x02\x30\x00")) }},
		{"names", "in capitals", func(b *bad) { b.template.DNSNames = []string{"WWW.example.com"} }},
		{"names", "twice", func(b *bad) { b.template.DNSNames = []string{"a.example.com", "a.example.com"} }},
		{"names", "a hundred and one", func(b *bad) { b.template.DNSNames = slices.Repeat([]string{"a.example.com"}, 101) }},
		{"extended_key_usage", "not in the profile", func(b *bad) { b.template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }},
		{"extended_key_usage", "with a profile of none", func(b *bad) { b.options.EKUs = nil }},
		{"no_rev_avail", "beside a CRL", func(b *bad) { b.extend(noRevAvailOID, false, null) }},
		{"no_rev_avail", "critical", func(b *bad) { b.extend(noRevAvailOID, true, null) }},
		{"ocsp_nocheck", "of a server", func(b *bad) { b.extend(noCheckOID, false, null) }},
		{"e_ecdsa_allowed_ku", "of zlint", func(b *bad) { b.template.KeyUsage |= x509.KeyUsageKeyEncipherment }},
	}
	for _, c := range cases {
		t.Run(c.lint+" "+c.what, func(t *testing.T) {
			b := w.bad(t)
			c.spoil(b)
			mustFind(t, w.linter.Check(b.der(t, w), b.issuer, b.options), c.lint)
		})
	}
	for _, own := range leafLints() {
		if !slices.ContainsFunc(cases, func(c example) bool { return c.lint == own.name }) {
			t.Errorf("no example fails the lint %s", own.name)
		}
	}
}

// closePrimes is a key that Fermat's method factors.
func closePrimes(t *testing.T) *rsa.PublicKey {
	t.Helper()
	p, err := rand.Prime(rand.Reader, 1024)
	check(t, err)
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(10) {
		q.Add(q, big.NewInt(2))
	}
	return &rsa.PublicKey{N: p.Mul(p, q), E: 65537}
}

func TestOfTheLintsForEverybodyOnlyTheNamedOnesAreLeftOut(t *testing.T) {
	linter, err := New()
	check(t, err)
	runs := map[string]bool{}
	for _, one := range linter.private {
		runs[one.Name] = true
	}
	// What public_key looks at instead, and names that exist inside only.
	named := []string{"e_rsa_fermat_factorization", "n_san_iana_pub_suffix_empty"}
	var missed []string
	count := map[lint.LintSource]int{}
	for _, one := range lint.GlobalRegistry().CertificateLints().Lints() {
		if one.Source != lint.RFC5280 && one.Source != lint.Community {
			continue
		}
		count[one.Source]++
		if !runs[one.Name] {
			missed = append(missed, one.Name)
		}
	}
	slices.Sort(missed)
	if missed = slices.DeleteFunc(missed, func(name string) bool { return slices.Contains(named, name) }); len(missed) > 0 {
		t.Errorf("nobody looks at %q", missed)
	}
	if count[lint.RFC5280] < 90 || count[lint.Community] < 10 {
		t.Errorf("zlint has %v lints", count)
	}
}

func TestEveryOwnLintOfAuthoritiesCanFail(t *testing.T) {
	w := newWorld(t, p256())
	options := Options{Now: w.now, MaxTTL: 5 * 365 * day, Backdate: 5 * time.Minute}
	leaf := w.draft(t, w.leaf(), p256())
	mustFind(t, w.linter.CheckCA(leaf, w.issuing, options), "authority_usage")
	mustFind(t, w.linter.CheckCA(leaf, w.issuing, options), "authority_extensions")

	below := issuingTemplate(w.now)
	below.Subject.CommonName = "Test Below"
	below.TTL = 30 * day
	mustFind(t, w.linter.CheckCA(w.draft(t, below, p256()), w.issuing, options), "authority_usage")
	mustFind(t, w.linter.CheckCA(w.issuing.Raw, nil, options), "issuer_name")
}

func TestPublicRulesBindOnlyWhereAsked(t *testing.T) {
	w := newWorld(t, p256())
	template, options := w.leaf(), w.options()
	template.TTL, options.MaxTTL = 400*day, 400*day
	der := w.draft(t, template, p256())
	check(t, w.linter.Check(der, w.issuing, options))
	options.PublicLike = true
	mustFind(t, w.linter.Check(der, w.issuing, options), "e_server_cert_valid_time_longer_than_200_days")

	template, options = w.leaf(), w.options()
	template.Subject, template.Names = pki.Subject{CommonName: "box.internal"}, pki.Names{DNS: []string{"box.internal"}}
	der = w.draft(t, template, p256())
	options.PublicLike = true
	mustFind(t, w.linter.Check(der, w.issuing, options), "e_dnsname_not_valid_tld")
	options.InternalNames = true
	check(t, w.linter.Check(der, w.issuing, options))

	template.Names = pki.Names{}
	der = w.draft(t, template, p256())
	mustFind(t, w.linter.Check(der, w.issuing, options), "e_ext_san_missing")
	options.CommonNameOnly = true
	check(t, w.linter.Check(der, w.issuing, options))
}

func TestTheLinterServesManyAtOnce(t *testing.T) {
	w := newWorld(t, p256())
	der := w.draft(t, w.leaf(), p256())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if err := w.linter.Check(der, w.issuing, w.options()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestWhatIsNoCertificateIsAFinding(t *testing.T) {
	w := newWorld(t, p256())
	mustFind(t, w.linter.Check([]byte("\x30\x00"), w.issuing, w.options()), "certificate")
}

func mustFind(t *testing.T, err error, name string) {
	t.Helper()
	findings, ok := errors.AsType[Findings](err)
	if !ok || !slices.ContainsFunc(findings, func(f Finding) bool { return f.Lint == name }) {
		t.Fatalf("wanted a finding of %s, have %v", name, err)
	}
	if !strings.Contains(err.Error(), name) {
		t.Errorf("the error does not name %s: %v", name, err)
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, kind := range []pki.KeyKind{p256(), rsa2048(), ed25519()} {
		b.Run(kind.String(), func(b *testing.B) {
			w := newWorld(b, p256())
			der := w.draft(b, w.leaf(), kind)
			for b.Loop() {
				check(b, w.linter.Check(der, w.issuing, w.options()))
			}
		})
	}
}
