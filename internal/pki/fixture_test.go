package pki

import (
	"crypto"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

func kinds() []KeyKind {
	return []KeyKind{{ECDSA, 256}, {ECDSA, 384}, {Ed25519, 256}, {RSA, 2048}}
}

// ca is a root authority with its key.
type ca struct {
	key   crypto.Signer
	cert  *x509.Certificate
	dummy *Dummy
}

// noon is a moment in the lives of all certificates of these tests.
func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func newRoot(t testing.TB, kind KeyKind) ca {
	t.Helper()
	key := newKey(t, kind)
	template := Template{
		Serial: NewSerial(), Subject: Subject{CommonName: "Test Root " + kind.String(), Organization: "Leafward"},
		NotBefore: noon().Add(-time.Hour), TTL: 40 * 365 * day, CA: true, PathLen: NoPathLen,
	}
	issuer, err := template.SelfIssuer(key.Public())
	check(t, err)
	dummy := NewDummy()
	draft, err := dummy.BuildTBS(template, issuer, key.Public())
	check(t, err)
	der, err := SignTBS(draft.TBS, key)
	check(t, err)
	return ca{key, parse(t, der), dummy}
}

// issue signs a template for a new P-256 key.
func (c ca) issue(t testing.TB, template Template) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key := newKey(t, KeyKind{ECDSA, 256})
	issuer, err := IssuerOf(c.cert)
	check(t, err)
	draft, err := c.dummy.BuildTBS(template, issuer, key.Public())
	check(t, err)
	der, err := SignTBS(draft.TBS, c.key)
	check(t, err)
	return parse(t, der), key
}

func leafTemplate() Template {
	return Template{
		Serial: NewSerial(), Subject: Subject{CommonName: "www.example.com"}, Names: Names{DNS: []string{"www.example.com"}},
		NotBefore: noon(), TTL: 90 * day, EKUs: []string{ServerAuth},
	}
}

func newKey(t testing.TB, kind KeyKind) crypto.Signer {
	t.Helper()
	key, err := GenerateKey(kind)
	check(t, err)
	return key
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := ParseCertificate(der)
	check(t, err)
	return cert
}

func names(t testing.TB, list ...string) Names {
	t.Helper()
	parsed, err := ParseNames(list)
	check(t, err)
	return parsed
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError is satisfied by an error that says what it must.
func wantError(t testing.TB, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Fatalf("wanted an error that says %q, have %v", says, err)
	}
}

// openssl runs the real tool and gives what it says.
func openssl(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed")
	}
	output, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return string(output)
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, data, 0o600))
	return path
}
