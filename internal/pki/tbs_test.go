package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestACertificateSaysWhatItsTemplateSays(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 384})
	template := leafTemplate()
	template.Names = names(t, "www.example.com", "10.0.0.1", "a@example.com", "https://example.com/a")
	template.Subject.Organization = "Example & Söhne"
	template.EKUs = []string{"1.2.3.4", "clientAuth", "serverAuth"}
	template.CRLDistributionPoints = []string{"http://pki.example.com/crl"}
	template.OCSPServers = []string{"http://pki.example.com/ocsp"}
	template.CAIssuers = []string{"http://pki.example.com/ca"}
	cert, key := root.issue(t, template)
	said := openssl(t, "x509", "-noout", "-text", "-in", write(t, "cert.pem", EncodeChain(cert.Raw)))
	for _, want := range []string{
		"Version: 3", "Signature Algorithm: ecdsa-with-SHA384", "Issuer: O = Leafward, CN = Test Root ecdsa-p384",
		"Not Before: Nov 21 12:00:00 2026 GMT", "Not After : Feb 19 11:59:59 2027 GMT", "O = Example & S\\C3\\B6hne, CN = www.example.com",
		"Basic Constraints: critical\n                CA:FALSE", "Key Usage: critical\n                Digital Signature\n",
		"Extended Key Usage: \n                1.2.3.4, TLS Web Client Authentication, TLS Web Server Authentication\n",
		"Alternative Name: \n                DNS:www.example.com, IP Address:10.0.0.1, email:a@example.com, URI:https://example.com/a",
		"Full Name:\n                  URI:http://pki.example.com/crl", "OCSP - URI:http://pki.example.com/ocsp", "CA Issuers - URI:http://pki.example.com/ca",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("openssl does not say %q:\n%s", want, said)
		}
	}
	if !bytes.Equal(cert.AuthorityKeyId, root.cert.SubjectKeyId) || !bytes.Equal(cert.RawIssuer, root.cert.RawSubject) {
		t.Error("the certificate does not chain to its authority")
	}
	if lifetime := cert.NotAfter.Sub(cert.NotBefore) + time.Second; lifetime != template.TTL {
		t.Errorf("the lifetime is %v", lifetime)
	}
	wanted, err := SPKISHA256(key.Public())
	check(t, err)
	if cert.SerialNumber.Cmp(template.Serial) != 0 || Fingerprint(cert.RawSubjectPublicKeyInfo) != wanted {
		t.Error("the certificate has another serial number or key")
	}
}

func TestShortLivedCertificatesAndRespondersSaySo(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	template := leafTemplate()
	template.Subject, template.Names, template.TTL, template.NoRevAvail = Subject{}, names(t, "spiffe://example.org/a"), time.Hour, true
	cert, _ := root.issue(t, template)
	for oid, want := range map[string]string{"2.5.29.56": "\x05\x00", "2.5.29.17": "\x30\x18\x86\x16spiffe://example.org/a"} {
		i := slices.IndexFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.String() == oid })
		if i < 0 || string(cert.Extensions[i].Value) != want || cert.Extensions[i].Critical != (oid == "2.5.29.17") {
			t.Errorf("the extension %s is missing or another one", oid)
		}
	}
	template = leafTemplate()
	template.EKUs, template.OCSPNoCheck = []string{OCSPSigning}, true
	cert, _ = root.issue(t, template)
	if said := openssl(t, "x509", "-noout", "-text", "-in", write(t, "cert.pem", EncodeChain(cert.Raw))); !strings.Contains(said, "OCSP No Check") {
		t.Errorf("openssl does not see that it is a responder: %s", said)
	}
}

// RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on.
func TestTheEncodingOfTimesChangesWith2050(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	for _, c := range []struct{ from, to, last string }{
		{"2049-12-30T00:00:00Z", "\x17\x0d491230000000Z\x17\x0d491231235959Z", "2049-12-31T23:59:59Z"},
		{"2049-12-30T00:00:01Z", "\x17\x0d491230000001Z\x18\x0f20500101000000Z", "2050-01-01T00:00:00Z"},
		{"2050-01-01T00:00:00Z", "\x18\x0f20500101000000Z\x18\x0f20500102235959Z", "2050-01-02T23:59:59Z"},
		{"2028-02-28T12:00:00.9Z", "\x17\x0d280228120000Z\x17\x0d280301115959Z", "2028-03-01T11:59:59Z"},
		{"2026-03-29T02:30:00+02:00", "\x17\x0d260329003000Z\x17\x0d260331002959Z", "2026-03-31T00:29:59Z"},
	} {
		template := leafTemplate()
		from, err := time.Parse(time.RFC3339, c.from)
		check(t, err)
		template.NotBefore, template.TTL = from, 2*day
		cert, _ := root.issue(t, template)
		if !bytes.Contains(cert.RawTBSCertificate, []byte(c.to)) || cert.NotAfter.Format(time.RFC3339) != c.last {
			t.Errorf("from %s: valid until %s", c.from, cert.NotAfter)
		}
		if !cert.NotAfter.Equal(template.NotAfter()) {
			t.Errorf("the template says %s, the certificate %s", template.NotAfter(), cert.NotAfter)
		}
	}
}

func TestTemplatesThatMakeNoSenseAreRefused(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	issuer, err := IssuerOf(root.cert)
	check(t, err)
	pub := newKey(t, KeyKind{ECDSA, 256}).Public()
	for says, spoil := range map[string]func(*Template){
		"serial number":               func(t *Template) { t.Serial = nil },
		"at most 20 octets":           func(t *Template) { t.Serial = new(big.Int).Lsh(big.NewInt(1), 159) },
		"whole seconds":               func(t *Template) { t.TTL = 1500 * time.Millisecond },
		"not a positive number":       func(t *Template) { t.TTL = 0 },
		"cannot be written":           func(t *Template) { t.NotBefore = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) },
		"keyCertSign and cRLSign":     func(t *Template) { t.KeyUsage = x509.KeyUsageCRLSign },
		"keyEncipherment":             func(t *Template) { t.KeyUsage = x509.KeyUsageKeyEncipherment },
		"needs the key usage":         func(t *Template) { t.CA, t.KeyUsage = true, x509.KeyUsageCRLSign },
		"no subject alternative name": func(t *Template) { t.CA = true },
		"path length":                 func(t *Template) { t.PathLen = 1 },
		"noRevAvail":                  func(t *Template) { t.NoRevAvail, t.OCSPServers = true, []string{"http://a.example/"} },
		"101 names":                   func(t *Template) { t.Names.DNS = make([]string, 101) },
		"subject or names":            func(t *Template) { t.Subject, t.Names = Subject{}, Names{} },
		"the common name":             func(t *Template) { t.Subject.CommonName = "\u202e" },
		"the organization":            func(t *Template) { t.Subject.Organization = "\x00" },
		"not an http or https URL":    func(t *Template) { t.CAIssuers = []string{"ldap://a.example/"} },
		"9 addresses":                 func(t *Template) { t.OCSPServers = make([]string, 9) },
		"unknown extended key usage":  func(t *Template) { t.EKUs = []string{"everything"} },
	} {
		template := leafTemplate()
		spoil(&template)
		_, err := root.dummy.BuildTBS(template, issuer, pub)
		wantError(t, err, says)
	}
	_, err = root.dummy.BuildTBS(leafTemplate(), Issuer{}, pub)
	wantError(t, err, "no name")
	_, err = root.dummy.BuildTBS(leafTemplate(), issuer, nil)
	wantError(t, err, "neither RSA")
}

func TestADraftIsTheCertificateButForItsSignature(t *testing.T) {
	for _, kind := range kinds() {
		root := newRoot(t, kind)
		issuer, err := IssuerOf(root.cert)
		check(t, err)
		draft, err := root.dummy.BuildTBS(leafTemplate(), issuer, newKey(t, kind).Public())
		check(t, err)
		der, err := SignTBS(draft.TBS, root.key)
		check(t, err)
		cert, unsigned := parse(t, der), parse(t, draft.Certificate)
		if !bytes.Equal(cert.RawTBSCertificate, unsigned.RawTBSCertificate) || !bytes.Equal(cert.RawTBSCertificate, draft.TBS) {
			t.Error("the signed certificate is not the draft")
		}
		check(t, cert.CheckSignatureFrom(root.cert))
		if unsigned.CheckSignatureFrom(root.cert) == nil {
			t.Error("the draft verifies against the authority")
		}
	}
}

// wrongSigner signs something else than it was given.
type wrongSigner struct{ crypto.Signer }

func (s wrongSigner) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	return s.Signer.Sign(random, slices.Repeat([]byte{1}, len(digest)), options)
}

type brokenSigner struct{ crypto.Signer }

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the token is gone")
}

func TestWhatIsNotSignedAsItWasMadeIsNotReleased(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	issuer, err := IssuerOf(root.cert)
	check(t, err)
	draft, err := root.dummy.BuildTBS(leafTemplate(), issuer, newKey(t, KeyKind{ECDSA, 256}).Public())
	check(t, err)
	_, err = SignTBS(draft.TBS, wrongSigner{root.key})
	wantError(t, err, "does not verify")
	_, err = SignTBS(draft.TBS, brokenSigner{root.key})
	wantError(t, err, "the token is gone")
	_, err = SignTBS(draft.TBS, newKey(t, KeyKind{ECDSA, 384}))
	wantError(t, err, "algorithm identifiers don't match")
	_, err = SignTBS(append(slices.Clone(draft.TBS), 0x05, 0x00), root.key)
	wantError(t, err, "cannot be read")
	_, err = SignTBS([]byte("\x30\x00"), root.key)
	wantError(t, err, "cannot be read")
}

func TestACertificateIsRemadeUnderTheSameNameAndKey(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	again := Template{
		Serial: NewSerial(), RawSubject: root.cert.RawSubject, SKI: []byte("an identifier of old"), NotBefore: noon(), TTL: 365 * day, CA: true, PathLen: 3,
	}
	issuer, err := again.SelfIssuer(root.key.Public())
	check(t, err)
	draft, err := root.dummy.BuildTBS(again, issuer, root.key.Public())
	check(t, err)
	der, err := SignTBS(draft.TBS, root.key)
	check(t, err)
	cert := parse(t, der)
	if !bytes.Equal(cert.RawSubject, root.cert.RawSubject) || string(cert.SubjectKeyId) != "an identifier of old" || string(cert.AuthorityKeyId) != "an identifier of old" {
		t.Error("the name or the key identifier changed")
	}
	if cert.MaxPathLen != 3 {
		t.Errorf("the path length is %d", cert.MaxPathLen)
	}
}

func BenchmarkBuildAndSign(b *testing.B) {
	for _, kind := range kinds() {
		root := newRoot(b, kind)
		issuer, err := IssuerOf(root.cert)
		check(b, err)
		pub := newKey(b, KeyKind{ECDSA, 256}).Public()
		draft, err := root.dummy.BuildTBS(leafTemplate(), issuer, pub)
		check(b, err)
		b.Run("build under "+kind.String(), func(b *testing.B) {
			for b.Loop() {
				_, err := root.dummy.BuildTBS(leafTemplate(), issuer, pub)
				check(b, err)
			}
		})
		b.Run("sign by "+kind.String(), func(b *testing.B) {
			for b.Loop() {
				_, err := SignTBS(draft.TBS, root.key)
				check(b, err)
			}
		})
	}
}
