package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// threeTiers makes a leaf, an issuing authority and a root.
func threeTiers(t testing.TB) []*x509.Certificate {
	t.Helper()
	root := newRoot(t, KeyKind{ECDSA, 256})
	sub, key := root.issue(t, Template{
		Serial: NewSerial(), Subject: Subject{CommonName: "Test Issuing"}, NotBefore: noon(), TTL: 5 * 365 * day, CA: true,
	})
	leaf, _ := ca{key, sub, root.dummy}.issue(t, leafTemplate())
	return []*x509.Certificate{leaf, sub, root.cert}
}

func TestChainsSurvivePEM(t *testing.T) {
	chain := threeTiers(t)
	text := EncodeChain(chain[0].Raw, chain[1].Raw, chain[2].Raw)
	parsed, err := ParseChainPEM(append([]byte("subject: whatever a tool writes\n"), text...))
	check(t, err)
	if !slices.EqualFunc(parsed, chain, (*x509.Certificate).Equal) {
		t.Error("the chain came back as another one")
	}
}

func TestChainsThatCannotBeReadAreRefusedWithTheReason(t *testing.T) {
	chain := threeTiers(t)
	one := EncodeChain(chain[0].Raw)
	damaged := bytes.Replace(one, []byte("\n"), []byte("\n*"), 1)
	key, err := EncodePrivateKey(newKey(t, KeyKind{ECDSA, 256}))
	check(t, err)
	for _, c := range []struct {
		text []byte
		says string
	}{
		{nil, "no PEM block"},
		{append(damaged, EncodeChain(chain[1].Raw)...), "1 of 2 PEM blocks cannot be read"},
		{one[:len(one)-8], "END line is missing"},
		{append(slices.Clone(one), key...), "PEM block 2 is a \"PRIVATE KEY\""},
		{bytes.Repeat(one, 11), "at most 10"},
		{make([]byte, maxChainPEM+1), "at most"},
		{EncodeChain([]byte("\x30\x00")), "PEM block 1: the certificate cannot be read"},
		{EncodeChain(make([]byte, maxCertificate+1)), "at most 65536"},
	} {
		_, err := ParseChainPEM(c.text)
		wantError(t, err, c.says)
	}
}

func TestCertificatesFromOutsideHaveBounds(t *testing.T) {
	key := newKey(t, KeyKind{ECDSA, 256})
	foreign := func(change func(*x509.Certificate)) []byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon(), NotAfter: noon().Add(day), DNSNames: []string{"Under_Score.example"}}
		change(template)
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		check(t, err)
		return der
	}
	cert := parse(t, foreign(func(*x509.Certificate) {}))
	if all := NamesOf(cert).All(); !slices.Equal(all, []string{"Under_Score.example"}) {
		t.Errorf("the names are %q", all)
	}
	_, err := ParseCertificate(foreign(func(c *x509.Certificate) { c.DNSNames = slices.Repeat([]string{"a.example"}, 501) }))
	wantError(t, err, "501 names")
	_, err = ParseCertificate(foreign(func(c *x509.Certificate) {
		for i := range 51 {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, i}})
		}
	}))
	wantError(t, err, "extensions; at most 50")
	cert = parse(t, foreign(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{extension("\x30\x04\xa4\x02\x30\x00", 2, 5, 29, 17)}
	}))
	if others := OtherNames(cert); !slices.Equal(others, []string{"directoryName"}) {
		t.Errorf("the other names are %q", others)
	}
}

func TestNamesOfACertificateAreThoseItWasMadeWith(t *testing.T) {
	template := leafTemplate()
	template.Names = names(t, "a.example.com", "10.0.0.1", "2001:db8::1", "a@example.com", "https://example.com/%41?x")
	cert, _ := newRoot(t, KeyKind{ECDSA, 256}).issue(t, template)
	if all := NamesOf(cert).All(); !slices.Equal(all, template.Names.All()) {
		t.Errorf("the names are %q", all)
	}
	if usages := EKUsOf(cert); !slices.Equal(usages, template.EKUs) {
		t.Errorf("the usages are %q", usages)
	}
}

func TestAChainIsOrderedFromItsLeaf(t *testing.T) {
	chain := threeTiers(t)
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0, 1}} {
		var mixed []*x509.Certificate
		for _, i := range order {
			mixed = append(mixed, chain[i])
		}
		ordered, err := OrderChain(mixed)
		check(t, err)
		if !slices.EqualFunc(ordered, chain, (*x509.Certificate).Equal) {
			t.Errorf("%v was not put into order", order)
		}
	}
	_, err := OrderChain([]*x509.Certificate{chain[0], chain[2]})
	wantError(t, err, "not one chain: 2 of 2")
	_, err = OrderChain(nil)
	wantError(t, err, "not one chain")
	_, err = OrderChain(slices.Repeat(chain, 4))
	wantError(t, err, "at most 10")
}

func TestAChainVerifiesToItsRootOnlyWhileItIsValid(t *testing.T) {
	chain := threeTiers(t)
	leaf, middle, roots := chain[0], chain[1:2], chain[2:]
	found, err := VerifyChain(leaf, middle, roots, noon())
	check(t, err)
	if !slices.EqualFunc(found, chain, (*x509.Certificate).Equal) {
		t.Error("the verified chain is another one")
	}
	_, err = VerifyChain(leaf, middle, roots, leaf.NotAfter.Add(time.Second))
	wantError(t, err, "expired")
	_, err = VerifyChain(leaf, nil, roots, noon())
	wantError(t, err, "unknown authority")
	_, err = VerifyChain(leaf, middle, []*x509.Certificate{newRoot(t, KeyKind{ECDSA, 256}).cert}, noon())
	wantError(t, err, "unknown authority")
	_, err = VerifyChain(leaf, middle, nil, noon())
	wantError(t, err, "no root")
}

func TestOpenSSLVerifiesChainsOfEveryKind(t *testing.T) {
	for _, kind := range kinds() {
		root := newRoot(t, kind)
		sub, key := root.issue(t, Template{
			Serial: NewSerial(), Subject: Subject{CommonName: "Test Issuing"}, NotBefore: noon(), TTL: 5 * 365 * day, CA: true,
			CRLDistributionPoints: []string{"http://pki.example.com/crl"}, CAIssuers: []string{"http://pki.example.com/ca"},
		})
		leaf, _ := ca{key, sub, root.dummy}.issue(t, leafTemplate())
		said := openssl(t, "verify", "-x509_strict", "-attime", fmt.Sprint(noon().Unix()), "-purpose", "sslserver", "-verify_hostname", "www.example.com",
			"-CAfile", write(t, "root.pem", EncodeChain(root.cert.Raw)), "-untrusted", write(t, "sub.pem", EncodeChain(sub.Raw)),
			write(t, "leaf.pem", EncodeChain(leaf.Raw)))
		if !strings.Contains(said, ": OK") {
			t.Errorf("%s: %s", kind, said)
		}
	}
}

func FuzzParseChainPEM(f *testing.F) {
	chain := threeTiers(f)
	f.Add(EncodeChain(chain[0].Raw, chain[1].Raw, chain[2].Raw))
	f.Add(EncodeChain(chain[0].Raw))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := ParseChainPEM(text)
		if err != nil {
			return
		}
		var ders [][]byte
		for _, cert := range parsed {
			ders = append(ders, cert.Raw)
			NamesOf(cert)
			OtherNames(cert)
			EKUsOf(cert)
		}
		again, err := ParseChainPEM(EncodeChain(ders...))
		if err != nil || !slices.EqualFunc(again, parsed, (*x509.Certificate).Equal) {
			t.Errorf("the chain came back as another one: %v", err)
		}
		_, _ = OrderChain(parsed)
	})
}
