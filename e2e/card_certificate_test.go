//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	zcrypto "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/leafward/leafward/internal/pki"
)

// cardURL is where the world reaches the servers of the cards, as their certificates say.
const cardURL = "http://pki.example.com"

// The certificates of a running server against RFC 5280 and the Baseline Requirements, as far as they make sense privately:
// twelve profiles, random requests. The judge is zlint with the published waivers, and looks at what zlint does not see.
func TestCertificatesKeepTheirScoreCard(t *testing.T) {
	chosen := seed()
	t.Logf("-drill.seed=%d", chosen)
	c := &certificates{server: serve(t, "", "--public-url", cardURL)}
	c.corpus = corpus(t, c.server, chosen, sized(12, 1000))
	c.issuing = parsed(t, fetch(t, c.server.plain+"/.well-known/pki/ca/iss-local"))
	c.root = parsed(t, fetch(t, c.server.plain+"/.well-known/pki/ca/root"))
	score(t, "certificate profile", 30, slices.Concat(c.lintPoints(), c.numberPoints(), c.timePoints(), c.placePoints(), c.keyPoints(), c.requestPoints(), c.shortPoints()))
}

// certificates is what the card looks at.
type certificates struct {
	server        *server
	corpus        []grown
	issuing, root *x509.Certificate
}

func parsed(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// profileOf is the profile of a sort.
func (c *certificates) profileOf(name string) any {
	return c.corpus[slices.IndexFunc(c.corpus, func(g grown) bool { return g.name == name })].profile["id"]
}

// each looks at every certificate of the corpus.
func (c *certificates) each(look func(*testing.T, grown)) func(*testing.T) {
	return func(t *testing.T) {
		for _, one := range c.corpus {
			look(t, one)
		}
	}
}

func (c *certificates) lintPoints() []point {
	return []point{
		{name: "zlint finds nothing in a leaf but what is waived", shown: c.each(func(t *testing.T, g grown) {
			if found := findings(t, g.Raw, g.public, g.waivers()); len(found) > 0 {
				t.Errorf("%s, names %q %q: %q", g.name, g.commonName, g.sans, found)
			}
		})},
		{name: "zlint finds nothing in an authority but what is waived", shown: func(t *testing.T) {
			for _, authority := range []*x509.Certificate{c.root, c.issuing} {
				if found := findings(t, authority.Raw, false, waivers()); len(found) > 0 {
					t.Errorf("%s: %q", authority.Subject, found)
				}
			}
		}},
		{name: "the lints look", shown: func(t *testing.T) {
			all := registry(t, true)
			if n := len(all.Names()); n < 327 {
				t.Errorf("zlint has %d lints; 327 are counted", n)
			}
			for _, g := range c.corpus {
				if n := applied(t, g.Raw); g.public && n < 75 {
					t.Errorf("%s: only %d lints look", g.name, n)
				}
			}
		}},
		{name: "public lifetimes bind only who follows public rules", shown: func(t *testing.T) {
			made := c.server.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{
				"common_name": "long.example.com", "key_source": "server", "certificate_profile_id": c.profileOf("internal server"), "ttl_seconds": int(800 * day / time.Second),
			})
			leaf := leafOf(t, text(made, "version", "pem_chain"))
			if found := findings(t, leaf.Raw, true, waivers()); !slices.ContainsFunc(found, func(name string) bool { return strings.HasPrefix(name, "e_server_cert_valid_time_longer_than_") }) {
				t.Errorf("public rules would not mind 800 days: %q", found)
			}
		}},
	}
}

// waivers are the lints that a sane private hierarchy fails, as the card publishes them.
func waivers() []string {
	return []string{
		"e_sub_cert_cert_policy_empty", "e_sub_cert_certificate_policies_missing", "e_sub_ca_certificate_policies_missing", "e_invalid_ca_certificate_policies",
		"w_ct_sct_policy_count_unsatisfied", "w_ext_subject_key_identifier_not_recommended_subscriber", "n_ca_digital_signature_not_set",
	}
}

// waivers are those of a sort besides.
func (s sort) waivers() []string {
	all := append(waivers(), "w_subject_common_name_included")
	if s.internal {
		all = append(all, "e_dnsname_not_valid_tld", "n_san_iana_pub_suffix_empty", "e_ext_san_contains_reserved_ip")
	}
	return all
}

// registry are zlint's lints for private hierarchies; public adds those of who keeps public trust.
func registry(t testing.TB, public bool) lint.Registry {
	t.Helper()
	sources := lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813, lint.Community}
	if public {
		sources = append(sources, lint.CABFBaselineRequirements, lint.MozillaRootStorePolicy, lint.AppleRootStorePolicy)
	}
	some, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: sources})
	if err != nil {
		t.Fatal(err)
	}
	return some
}

// findings are the lints that a certificate fails and that are not waived.
func findings(t testing.TB, der []byte, public bool, waived []string) (failed []string) {
	t.Helper()
	cert, err := zcrypto.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, result := range zlint.LintCertificateEx(cert, registry(t, public)).Results {
		if result.Status >= lint.Notice && !slices.Contains(waived, name) {
			failed = append(failed, name+" "+result.Details)
		}
	}
	slices.Sort(failed)
	return failed
}

// applied is how many lints a certificate is of concern to.
func applied(t testing.TB, der []byte) (n int) {
	t.Helper()
	cert, err := zcrypto.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range zlint.LintCertificateEx(cert, registry(t, true)).Results {
		if result.Status >= lint.Pass {
			n++
		}
	}
	return n
}

func (c *certificates) numberPoints() []point {
	return []point{
		{name: "serials are positive and of 9 to 20 octets", shown: c.each(func(t *testing.T, g grown) {
			if octets := g.SerialNumber.BitLen()/8 + 1; g.SerialNumber.Sign() <= 0 || octets < 9 || octets > 20 {
				t.Errorf("%x has %d octets", g.SerialNumber, octets)
			}
		})},
		{name: "at least 64 bits of a serial are random", shown: func(t *testing.T) {
			if bits := randomBits(serialsOf(c.corpus)); bits < 64 {
				t.Errorf("%d bits are", bits)
			}
		}},
		{name: "no serial comes twice", shown: func(t *testing.T) {
			seen := map[string]bool{}
			for _, g := range c.corpus {
				if seen[g.SerialNumber.Text(16)] {
					t.Errorf("%x comes twice", g.SerialNumber)
				}
				seen[g.SerialNumber.Text(16)] = true
			}
		}},
	}
}

func (c *certificates) timePoints() []point {
	return []point{
		{name: "both ends of a validity count", shown: c.each(func(t *testing.T, g grown) {
			if life := g.NotAfter.Sub(g.NotBefore) + time.Second; life != g.ttl {
				t.Errorf("%s: %s were asked for, %s it lives", g.name, g.ttl, life)
			}
		})},
		{name: "a leaf stays inside its issuer's validity", shown: func(t *testing.T) {
			c.each(func(t *testing.T, g grown) {
				if g.NotBefore.Before(c.issuing.NotBefore) || g.NotAfter.After(c.issuing.NotAfter) {
					t.Errorf("%s is valid from %s to %s", g.name, g.NotBefore, g.NotAfter)
				}
			})(t)
			c.pastTheEnd(t)
		}},
		{name: "no leaf begins in the future", shown: c.each(func(t *testing.T, g grown) {
			if g.NotBefore.After(g.to) {
				t.Errorf("%s begins at %s; it came at %s", g.name, g.NotBefore, g.to)
			}
		})},
		{name: "a leaf begins as far back as its profile says", shown: c.each(func(t *testing.T, g grown) {
			back := g.span("backdate_seconds")
			first, last := g.from.Add(-back).Add(-time.Second), g.to.Add(-back)
			if first.Before(c.issuing.NotBefore) { // never before the authority itself
				first = c.issuing.NotBefore
				last = maxTime(last, first)
			}
			if g.NotBefore.Before(first) || g.NotBefore.After(last) {
				t.Errorf("%s begins at %s, not between %s and %s", g.name, g.NotBefore, first, last)
			}
		})},
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pastTheEnd asks for more than the authority has left: it is refused, or cut where the profile says so.
func (c *certificates) pastTheEnd(t *testing.T) {
	t.Helper()
	for _, cut := range []bool{false, true} {
		id := fmt.Sprintf("prof-decade-%t", cut)
		c.server.admin.expect(t, 201, "POST", "/api/v1/profiles", object{"id": id, "name": id, "max_ttl_seconds": int(3650 * day / time.Second), "cut_to_issuer": cut})
		_, csr := newCSR(t, id+".example.com")
		made := c.server.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr, "certificate_profile_id": id})
		switch chain := text(made, "version", "pem_chain"); {
		case !cut && (chain != "" || !strings.Contains(text(made, "last_error"), "after its authority")):
			t.Errorf("a lifetime past the authority's end is not refused: %v", made)
		case cut && (chain == "" || !leafOf(t, chain).NotAfter.Equal(c.issuing.NotAfter)):
			t.Errorf("a lifetime is not cut to the authority's end: %v", made)
		}
	}
}

func (c *certificates) placePoints() []point {
	return []point{
		{name: "the authority key identifier is the issuer's", shown: c.each(func(t *testing.T, g grown) {
			if len(g.AuthorityKeyId) == 0 || !bytes.Equal(g.AuthorityKeyId, c.issuing.SubjectKeyId) {
				t.Errorf("%s has %x, its issuer %x", g.name, g.AuthorityKeyId, c.issuing.SubjectKeyId)
			}
		})},
		{name: "names chain octet by octet", shown: c.each(func(t *testing.T, g grown) {
			if !bytes.Equal(g.RawIssuer, c.issuing.RawSubject) || !bytes.Equal(c.issuing.RawIssuer, c.root.RawSubject) {
				t.Errorf("%s is issued by %s", g.name, g.Issuer)
			}
		})},
		{name: "strangers verify the chain", shown: c.strangers},
		{name: "every signature verifies, and no other is released", shown: func(t *testing.T) {
			c.each(func(t *testing.T, g grown) {
				if err := g.CheckSignatureFrom(c.issuing); err != nil {
					t.Errorf("%s: %v", g.name, err)
				}
			})(t)
			for name, signer := range unreliable(t) {
				if der, err := pki.SignTBS(c.corpus[0].RawTBSCertificate, signer); err == nil {
					t.Errorf("a signer that %s: %x is released", name, der)
				}
			}
		}},
		{name: "addresses of revocation and issuer are those of the authority", shown: c.each(func(t *testing.T, g grown) {
			id := strings.TrimPrefix(strings.Join(g.IssuingCertificateURL, " "), cardURL+"/.well-known/pki/ca/")
			if g.profile["allow_short_lived"] == true {
				return
			}
			if !slices.Equal(g.CRLDistributionPoints, []string{cardURL + "/.well-known/pki/crl/" + id}) || !slices.Equal(g.OCSPServer, []string{cardURL + "/.well-known/pki/ocsp/" + id}) {
				t.Errorf("%s has %q and %q", g.name, g.CRLDistributionPoints, g.OCSPServer)
			}
		})},
	}
}

// strangers are OpenSSL, GnuTLS and NSS, which verify a leaf of each sort.
func (c *certificates) strangers(t *testing.T) {
	installed(t, "openssl", "certtool", "certutil")
	dir := shortDir(t)
	in := func(name string, blocks ...[]byte) string {
		var all []byte
		for _, der := range blocks {
			all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, all, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root, issuing := in("root.pem", c.root.Raw), in("issuing.pem", c.issuing.Raw)
	store := "sql:" + dir
	tool(t, nil, "certutil", "-N", "-d", store, "--empty-password")
	tool(t, nil, "certutil", "-A", "-d", store, "-n", "root", "-t", "C,C,C", "-i", root)
	tool(t, nil, "certutil", "-A", "-d", store, "-n", "issuing", "-t", ",,", "-i", issuing)
	seen := map[string]bool{}
	for _, g := range c.corpus {
		kind := fmt.Sprintf("%s %s", g.name, g.PublicKeyAlgorithm)
		if seen[kind] {
			continue
		}
		seen[kind] = true
		leaf := in("leaf.pem", g.Raw)
		tool(t, nil, "openssl", "verify", "-x509_strict", "-CAfile", root, "-untrusted", issuing, leaf)
		tool(t, nil, "certtool", "--verify", "--load-ca-certificate", root, "--infile", in("chain.pem", g.Raw, c.issuing.Raw))
		usage := map[string]string{"serverAuth": "V", "clientAuth": "C"}
		ekus, _ := g.profile["allowed_ekus"].([]string)
		if len(ekus) == 0 || usage[ekus[0]] == "" || g.PublicKeyAlgorithm != x509.ECDSA {
			continue // NSS 3.87 does not know Ed25519, and wants of an RSA key that it enciphers, which TLS 1.3 has no use for
		}
		tool(t, nil, "certutil", "-A", "-d", store, "-n", "leaf", "-t", ",,", "-i", leaf)
		if out, err := exec.Command("certutil", "-V", "-d", store, "-n", "leaf", "-u", usage[ekus[0]], "-e", "-l").CombinedOutput(); err != nil {
			t.Errorf("certutil refuses a %s: %s", kind, out)
		}
		tool(t, nil, "certutil", "-D", "-d", store, "-n", "leaf")
	}
}
