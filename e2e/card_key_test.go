//go:build linux

package e2e_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func serialsOf(all []grown) (serials []*big.Int) {
	for _, g := range all {
		serials = append(serials, g.SerialNumber)
	}
	return serials
}

// unreliable are signers whose signatures are not what they say.
func unreliable(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	first, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{
		"signs with another key": liar{first, func(digest []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, other, digest) }},
		"signs something else": liar{first, func([]byte) ([]byte, error) {
			sum := sha256.Sum256(nil)
			return ecdsa.SignASN1(rand.Reader, first, sum[:])
		}},
		"gives half a signature": liar{first, func(digest []byte) ([]byte, error) {
			s, err := ecdsa.SignASN1(rand.Reader, first, digest)
			return s[:len(s)/2], err
		}},
	}
}

// liar signs as it likes.
type liar struct {
	*ecdsa.PrivateKey
	sign func([]byte) ([]byte, error)
}

func (l liar) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return l.sign(digest)
}

func (c *certificates) keyPoints() []point {
	return []point{
		{name: "a key that was reported as compromised is certified no more", shown: func(t *testing.T) {
			key, csr := newCSR(t, "stolen.example.com")
			made := c.server.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr})
			c.server.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(made, "id")+"/revoke", object{"reason": "keyCompromise"})
			c.refuses(t, object{"csr_pem": csrOf(t, key, "again.example.com")}, "csr_pem", "reported as compromised")
		}},
		{name: "RSA keys that can be broken are refused", shown: func(t *testing.T) {
			for says, key := range brokenRSA(t) {
				c.refuses(t, object{"csr_pem": csrFor(t, key)}, "csr_pem", says)
			}
		}},
		{name: "keys that are no points of their curve, or of small order, are refused", shown: func(t *testing.T) {
			identity := make(ed25519.PublicKey, 32)
			identity[0] = 1
			beyond := slices.Repeat(ed25519.PublicKey{0xff}, 32)
			c.refuses(t, object{"csr_pem": csrFor(t, identity)}, "csr_pem", "small order")
			c.refuses(t, object{"csr_pem": csrFor(t, beyond)}, "csr_pem", "not in its one encoding")
			c.refuses(t, object{"csr_pem": offCurve(t)}, "csr_pem", "")
		}},
	}
}

// refuses: the server says that a field is wrong, and how, and nothing is signed.
func (c *certificates) refuses(t *testing.T, body object, field, says string) {
	t.Helper()
	a, err := c.server.admin.send(t.Context(), "POST", "/api/v1/certificates?wait=30", body)
	if err != nil {
		t.Fatal(err)
	}
	fields, _ := a.object()["fields"].([]any)
	told := slices.ContainsFunc(fields, func(one any) bool {
		f := one.(object)
		return strings.HasPrefix(text(f, "field"), field) && strings.Contains(text(f, "problem"), says) && text(f, "fix") != ""
	})
	if a.status != 400 || !told {
		t.Errorf("%s is not said to be wrong (%q): %d %s", field, says, a.status, a.body)
	}
}

// brokenRSA are keys by what is said of them.
func brokenRSA(t *testing.T) map[string]*rsa.PublicKey {
	t.Helper()
	prime := func(bits int) *big.Int {
		p, err := rand.Prime(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := prime(1024)
	next := new(big.Int).Add(p, big.NewInt(2))
	for !next.ProbablyPrime(10) {
		next.Add(next, big.NewInt(2))
	}
	good := new(big.Int).Mul(p, prime(1024))
	return map[string]*rsa.PublicKey{
		"exponent is 3":       {N: good, E: 3},
		"divided by 251":      {N: new(big.Int).Mul(prime(2040), big.NewInt(251)), E: 65537},
		"close to each other": {N: new(big.Int).Mul(p, next), E: 65537},
		"CVE-2017-15361":      {N: infineon(t), E: 65537},
		"bits":                {N: new(big.Int).Mul(prime(512), prime(512)), E: 65537},
	}
}

// infineon is a modulus that is 1 modulo each of the first primes, as the moduli of the weak library are powers of 65537.
func infineon(t *testing.T) *big.Int {
	t.Helper()
	var primes []*big.Int
	product := big.NewInt(1)
	for n := int64(2); n < 752; n++ {
		if p := big.NewInt(n); p.ProbablyPrime(0) {
			primes = append(primes, p)
			if n <= 167 {
				product.Mul(product, p)
			}
		}
	}
	for {
		k, err := rand.Prime(rand.Reader, 2049-product.BitLen())
		if err != nil {
			t.Fatal(err)
		}
		n := k.Add(k.Mul(k, product), big.NewInt(1))
		divides := func(p *big.Int) bool { return new(big.Int).Mod(n, p).Sign() == 0 }
		if n.BitLen() == 2048 && !slices.ContainsFunc(primes, divides) {
			return n
		}
	}
}

// csrFor is a request for a key that nobody can sign with; its signature is none.
func csrFor(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return csrWith(t, spki)
}

func csrWith(t *testing.T, spki []byte) string {
	t.Helper()
	type algorithm = pkix.AlgorithmIdentifier
	type info struct {
		Version    int
		Subject    asn1.RawValue
		Key        asn1.RawValue
		Attributes asn1.RawValue
	}
	der, err := asn1.Marshal(struct {
		Info      info
		Algorithm algorithm
		Signature asn1.BitString
	}{
		info{0, asn1.RawValue{FullBytes: []byte("\x30\x00")}, asn1.RawValue{FullBytes: spki}, asn1.RawValue{FullBytes: []byte("\xa0\x00")}},
		algorithm{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: make([]byte, 256), BitLength: 2048},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// offCurve is a request whose P-256 key is a point beside the curve.
func offCurve(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	spki[len(spki)-1] ^= 1
	return csrWith(t, spki)
}

// extensionOf is an extension of a certificate, nil when it has none.
func extensionOf(cert *x509.Certificate, oid string) *pkix.Extension {
	for _, extension := range cert.Extensions {
		if extension.Id.String() == oid {
			return &extension
		}
	}
	return nil
}

// asking is a request by a good key, with extensions.
func asking(t *testing.T, extensions ...pkix.Extension) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{ExtraExtensions: extensions}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func (c *certificates) shortPoints() []point {
	short := func(g grown) bool { return g.profile["allow_short_lived"] == true }
	return []point{
		{name: "what lives for hours says noRevAvail, as RFC 9608 writes it", shown: c.each(func(t *testing.T, g grown) {
			e := extensionOf(g.Certificate, "2.5.29.56")
			if short(g) && (e == nil || e.Critical || !slices.Equal(e.Value, asn1.NullBytes)) {
				t.Errorf("%s has %+v", g.name, e)
			}
		})},
		{name: "nothing else says noRevAvail", shown: func(t *testing.T) {
			for _, authority := range []*x509.Certificate{c.root, c.issuing} {
				if extensionOf(authority, "2.5.29.56") != nil {
					t.Errorf("%s says it", authority.Subject)
				}
			}
			c.each(func(t *testing.T, g grown) {
				if !short(g) && extensionOf(g.Certificate, "2.5.29.56") != nil {
					t.Errorf("%s of %s says it", g.name, g.ttl)
				}
			})(t)
			_, csr := newCSR(t, "hour.example.com")
			c.refuses(t, object{"csr_pem": csr, "ttl_seconds": int(time.Hour / time.Second)}, "ttl_seconds", "")
		}},
		{name: "beside noRevAvail stands no address of revocation", shown: c.each(func(t *testing.T, g grown) {
			if short(g) && (len(g.CRLDistributionPoints)+len(g.OCSPServer) > 0 || extensionOf(g.Certificate, "2.5.29.46") != nil) {
				t.Errorf("%s has %q and %q", g.name, g.CRLDistributionPoints, g.OCSPServer)
			}
		})},
	}
}

// randomBits is how many bits of the serials are one as often as zero. The bound of 6.2 standard deviations is passed by chance
// once in 1.7 thousand million bits, so that of 160 bits one is missed in ten million runs.
func randomBits(serials []*big.Int) (balanced int) {
	for bit := range 160 {
		ones := 0
		for _, serial := range serials {
			ones += int(serial.Bit(bit))
		}
		n := float64(len(serials))
		if math.Abs(2*float64(ones)-n) < 6.2*math.Sqrt(n) {
			balanced++
		}
	}
	return balanced
}
