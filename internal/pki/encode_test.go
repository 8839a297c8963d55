package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"
)

// byCryptoX509 is the TBSCertificate that crypto/x509 writes of a template, which it signs.
func byCryptoX509(t testing.TB, from Template, issuer Issuer, signer crypto.Signer, pub crypto.PublicKey) []byte {
	t.Helper()
	subject, err := from.subject()
	check(t, err)
	ski, err := from.keyID(pub)
	check(t, err)
	extensions, err := from.extensions(len(subject) == 2)
	check(t, err)
	algorithm, err := signatureAlgorithm(issuer.Kind)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: from.Serial, SignatureAlgorithm: algorithm.x509, RawSubject: subject, NotBefore: from.notBefore(), NotAfter: from.NotAfter(),
		KeyUsage: from.keyUsage(), BasicConstraintsValid: true, IsCA: from.CA, MaxPathLen: from.PathLen, MaxPathLenZero: from.CA && from.PathLen == 0,
		SubjectKeyId: ski, AuthorityKeyId: issuer.SKI, CRLDistributionPoints: from.CRLDistributionPoints, OCSPServer: from.OCSPServers,
		IssuingCertificateURL: from.CAIssuers, ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{RawSubject: issuer.Subject, SubjectKeyId: issuer.SKI}, pub, signer)
	check(t, err)
	return parse(t, der).RawTBSCertificate
}

func TestACertificateIsEncodedAsTheStandardLibraryDoes(t *testing.T) {
	urls := []string{"http://pki.example.com/one", "http://pki.example.com/two?" + string(bytes.Repeat([]byte("x"), 200))}
	many, err := ParseNames([]string{"a.example.com", "*.b.example.com", "192.0.2.1", "2001:db8::1", "x@example.com", "spiffe://example.com/x"})
	check(t, err)
	for name, change := range map[string]func(*Template){
		"a leaf":          func(*Template) {},
		"no subject":      func(t *Template) { t.Subject = Subject{} },
		"an organization": func(t *Template) { t.Subject.Organization = "Größe & Söhne" },
		"many names": func(t *Template) {
			t.Names = many
		},
		"all addresses":        func(t *Template) { t.CRLDistributionPoints, t.OCSPServers, t.CAIssuers = urls, urls[:1], urls[1:] },
		"issuers only":         func(t *Template) { t.CAIssuers = urls },
		"no revocation":        func(t *Template) { t.NoRevAvail = true },
		"a responder":          func(t *Template) { t.OCSPNoCheck, t.EKUs = true, []string{OCSPSigning} },
		"several usages":       func(t *Template) { t.EKUs = []string{ClientAuth, ServerAuth} },
		"one bit of key usage": func(t *Template) { t.KeyUsage = x509.KeyUsageDecipherOnly },
		"nine bits of key usage": func(t *Template) {
			t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement | x509.KeyUsageDecipherOnly
		},
		"the eighth bit":          func(t *Template) { t.KeyUsage = x509.KeyUsageEncipherOnly },
		"a root":                  func(t *Template) { t.CA, t.Names, t.EKUs, t.PathLen = true, Names{}, nil, NoPathLen },
		"an authority of leaves":  func(t *Template) { t.CA, t.Names, t.EKUs = true, Names{}, nil },
		"an authority of another": func(t *Template) { t.CA, t.Names, t.EKUs, t.PathLen = true, Names{}, nil, 200 },
		"long ago":                func(t *Template) { t.NotBefore = time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC) },
		"up to 2049": func(t *Template) {
			t.NotBefore, t.TTL = time.Date(2049, 12, 31, 23, 59, 58, 999, time.UTC), 2*time.Second
		},
		"from 2050 on":           func(t *Template) { t.NotBefore = time.Date(2050, 1, 1, 0, 0, 0, 0, time.FixedZone("east", 7200)) },
		"to the end":             func(t *Template) { t.NotBefore, t.TTL = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Second },
		"another key identifier": func(t *Template) { t.SKI = []byte("an identifier of old") },
	} {
		template := leafTemplate()
		change(&template)
		for _, kind := range kinds() {
			root := newRoot(t, kind)
			issuer, err := IssuerOf(root.cert)
			check(t, err)
			pub := newKey(t, kind).Public()
			draft, err := root.dummy.BuildTBS(template, issuer, pub)
			check(t, err)
			if want := byCryptoX509(t, template, issuer, root.key, pub); !bytes.Equal(draft.TBS, want) {
				t.Errorf("%s below %s is\n%x and not\n%x", name, kind, draft.TBS, want)
			}
		}
	}
}
