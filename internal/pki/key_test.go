package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestKindsAreReadAsTheyAreWritten(t *testing.T) {
	for _, text := range []string{"rsa-2048", "rsa-3072", "rsa-4096", "ecdsa-p256", "ecdsa-p384", "ed25519"} {
		kind, err := ParseKeyKind(text)
		check(t, err)
		check(t, kind.Issuable())
		if kind.String() != text {
			t.Errorf("%s is written as %s", text, kind)
		}
		encoded, err := json.Marshal(kind)
		check(t, err)
		var again KeyKind
		check(t, json.Unmarshal(encoded, &again))
		if again != kind {
			t.Errorf("%v came back from JSON as %v", kind, again)
		}
	}
	for _, text := range []string{"", "rsa", "rsa-", "rsa-02048", "rsa-99999", "ecdsa-p255", "ecdsa-256", "ed25519-256", "dsa-2048"} {
		_, err := ParseKeyKind(text)
		wantError(t, err, "unknown kind of key")
	}
	for _, text := range []string{"rsa-1024", "rsa-2049", "rsa-8192", "ecdsa-p224", "ecdsa-p521"} {
		kind, err := ParseKeyKind(text)
		check(t, err)
		_, err = GenerateKey(kind)
		wantError(t, err, "not issued for")
	}
}

func TestGeneratedKeysAreSoundAndSurviveEncoding(t *testing.T) {
	for _, kind := range kinds() {
		key := newKey(t, kind)
		check(t, CheckPublicKey(key.Public()))
		found, err := KindOf(key.Public())
		check(t, err)
		if found != kind {
			t.Errorf("a %v key is seen as %v", kind, found)
		}
		text, err := EncodePrivateKey(key)
		check(t, err)
		again, err := ParsePrivateKeyPEM(text)
		check(t, err)
		mustBeSame(t, key, again)
		der, err := MarshalPrivateKey(key)
		check(t, err)
		again, err = ParsePrivateKey(der)
		check(t, err)
		mustBeSame(t, key, again)
	}
}

func TestKeysOfOpenSSLAreRead(t *testing.T) {
	for _, args := range [][]string{
		{"ecparam", "-name", "prime256v1", "-genkey"}, // EC PARAMETERS, then SEC 1
		{"genrsa", "-traditional", "2048"},            // PKCS #1
		{"genpkey", "-algorithm", "ed25519"},
		{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
	} {
		text := openssl(t, args...)
		key, err := ParsePrivateKeyPEM([]byte(text))
		check(t, err)
		check(t, CheckPublicKey(key.Public()))
		ours, err := EncodePrivateKey(key)
		check(t, err)
		if openssl(t, "pkey", "-noout", "-check", "-in", write(t, "key.pem", ours)) == "" {
			t.Error("openssl said nothing about the key")
		}
	}
}

func TestPrivateKeysThatCannotBeUsedAreRefusedWithTheReason(t *testing.T) {
	key := newKey(t, KeyKind{ECDSA, 256})
	text, err := EncodePrivateKey(key)
	check(t, err)
	x25519 := openssl(t, "genpkey", "-algorithm", "x25519")
	encrypted := openssl(t, "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:secret")
	for _, c := range []struct {
		text []byte
		says string
	}{
		{nil, "no PEM block"},
		{[]byte("hello"), "no PEM block"},
		{bytes.Repeat(text, 3), "at most 2"},
		{bytes.Repeat(text, 2), "there are 2"},
		{bytes.Replace(text, []byte("-----END"), []byte("-----EMD"), 1), "cannot be read"},
		{bytes.Repeat([]byte("x"), maxKeyPEM+1), "at most"},
		{EncodeCSR(nil), "not a private key"},
		{[]byte(x25519), "cannot sign"},
		{[]byte(encrypted), "is encrypted"},
		{encodePEM(pemPrivateKey, make([]byte, maxKeyDER+1)), "at most"},
		{encodePEM("RSA PRIVATE KEY", hugeRSA(t)), "has 16384 bits"},
		{encodePEM(pemPrivateKey, []byte("\x30\x00")), "cannot be read"},
	} {
		_, err := ParsePrivateKeyPEM(c.text)
		wantError(t, err, c.says)
	}
}

// hugeRSA is the beginning of a PKCS #1 key that would take minutes to check.
func hugeRSA(t *testing.T) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1BigInt(new(big.Int).Lsh(big.NewInt(1), 16383))
	})
	der, err := b.Bytes()
	check(t, err)
	return der
}

func TestKeyIdentifiersAreThoseOfRFC7093(t *testing.T) {
	cert, key := newRoot(t, KeyKind{ECDSA, 256}).issue(t, leafTemplate())
	ski, err := SubjectKeyID(key.Public())
	check(t, err)
	if len(ski) != 20 || !bytes.Equal(ski, cert.SubjectKeyId) {
		t.Errorf("the identifier is %x, in the certificate %x", ski, cert.SubjectKeyId)
	}
	// An uncompressed P-256 point is the last 65 octets of its SubjectPublicKeyInfo.
	point := cert.RawSubjectPublicKeyInfo[len(cert.RawSubjectPublicKeyInfo)-65:]
	if want := Fingerprint(point)[:40]; want != strings.ToLower(strings.ReplaceAll(hexOf(ski), ":", "")) {
		t.Errorf("the identifier is %x, not %s", ski, want)
	}
	spki, err := SPKISHA256(key.Public())
	check(t, err)
	if spki != Fingerprint(cert.RawSubjectPublicKeyInfo) {
		t.Error("the SPKI's fingerprint is not that of the certificate's SPKI")
	}
}

func hexOf(octets []byte) string {
	return new(big.Int).SetBytes(append([]byte{1}, octets...)).Text(16)[1:]
}

func TestTheFingerprintIsOpenSSLs(t *testing.T) {
	cert, _ := newRoot(t, KeyKind{ECDSA, 256}).issue(t, leafTemplate())
	said := openssl(t, "x509", "-noout", "-fingerprint", "-sha256", "-in", write(t, "cert.pem", EncodeChain(cert.Raw)))
	_, digits, _ := strings.Cut(strings.TrimSpace(said), "=")
	if want := strings.ToLower(strings.ReplaceAll(digits, ":", "")); Fingerprint(cert.Raw) != want {
		t.Errorf("the fingerprint is %s, openssl says %s", Fingerprint(cert.Raw), want)
	}
}

func TestWeakKeysAreRefused(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	good := &key.PublicKey
	p, err := rand.Prime(rand.Reader, 1024)
	check(t, err)
	next := new(big.Int).Add(p, big.NewInt(2))
	for !next.ProbablyPrime(10) {
		next.Add(next, big.NewInt(2))
	}
	cofactor, err := rand.Prime(rand.Reader, 2040)
	check(t, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	check(t, err)
	for _, c := range []struct {
		pub  crypto.PublicKey
		says string
	}{
		{&rsa.PublicKey{N: good.N, E: 3}, "exponent is 3"},
		{&rsa.PublicKey{N: good.N, E: 65538}, "exponent is 65538"},
		{&rsa.PublicKey{N: new(big.Int).Rsh(good.N, 8), E: 65537}, "2040 bits"},
		{&rsa.PublicKey{N: new(big.Int).Lsh(good.N, 7000), E: 65537}, "at most 8192"},
		{&rsa.PublicKey{N: new(big.Int).Mul(cofactor, big.NewInt(251)), E: 65537}, "divided by 251"},
		{&rsa.PublicKey{N: new(big.Int).Mul(p, next), E: 65537}, "close to each other"},
		{&rsa.PublicKey{N: new(big.Int).Mul(p, p), E: 65537}, "close to each other"},
		{&rsa.PublicKey{N: infineonModulus(t), E: 65537}, "CVE-2017-15361"},
		{p521.Public(), "P-521"},
		{&ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, "not a point"}, //nolint:staticcheck // parsers do not make such a point
		{&ecdsa.PublicKey{}, "no curve"},
		{nil, "neither"},
	} {
		wantError(t, CheckPublicKey(c.pub), c.says)
	}
}

// infineonModulus has the form that every modulus of the weak library has: k·M + (65537^a mod M), M being the product
// of the primes up to 167. That it is no product of two primes cannot be seen from outside.
func infineonModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for _, p := range primesBelow(rocaPrimes + 1) {
		m.Mul(m, big.NewInt(p))
	}
	primes := primesBelow(smallPrimes)
	for {
		a, err := rand.Int(rand.Reader, m)
		check(t, err)
		k, err := rand.Prime(rand.Reader, 2049-m.BitLen())
		check(t, err)
		n := k.Mul(k, m)
		n.Add(n, a.Exp(big.NewInt(65537), a, m))
		divisible := slices.ContainsFunc(primes, func(p int64) bool { return new(big.Int).Mod(n, big.NewInt(p)).Sign() == 0 })
		if n.BitLen() == 2048 && !divisible {
			return n
		}
	}
}

func TestEd25519KeysThatAreNoPointsOrOfSmallOrderAreRefused(t *testing.T) {
	for range 200 {
		check(t, CheckPublicKey(newKey(t, KeyKind{Ed25519, 256}).Public()))
	}
	field := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	minusOne := new(big.Int).Sub(field, big.NewInt(1))
	order8, _ := new(big.Int).SetString("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", 16)
	for _, c := range []struct {
		y    *big.Int
		says string
	}{
		{big.NewInt(0), "small order"},
		{big.NewInt(1), "small order"},
		{minusOne, "small order"},
		{order8, "small order"},
		{new(big.Int).Sub(field, order8), "small order"},
		{field, "one encoding"},
		{big.NewInt(2), "not a point"},
	} {
		wantError(t, checkEd25519(littleEndian(c.y)), c.says)
	}
	wantError(t, checkEd25519(nil), "octets")
}

func littleEndian(n *big.Int) []byte {
	octets := n.FillBytes(make([]byte, 32))
	for i := range 16 {
		octets[i], octets[31-i] = octets[31-i], octets[i]
	}
	return octets
}

func TestSquaresAreFound(t *testing.T) {
	for i := range int64(3000) {
		if !isSquare(big.NewInt(i * i)) {
			t.Errorf("%d² is not seen as a square", i)
		}
		if i > 0 && isSquare(big.NewInt(i*i+i)) {
			t.Errorf("%d² + %d is seen as a square", i, i)
		}
	}
}

func mustBeSame(t *testing.T, a, b crypto.Signer) {
	t.Helper()
	if key, ok := a.(interface{ Equal(crypto.PrivateKey) bool }); !ok || !key.Equal(b) {
		t.Error("the key came back as another one")
	}
}

func FuzzParsePrivateKeyPEM(f *testing.F) {
	for _, kind := range kinds() {
		text, err := EncodePrivateKey(newKey(f, kind))
		check(f, err)
		f.Add(text)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(f, err)
	sec1, err := x509.MarshalECPrivateKey(key)
	check(f, err)
	f.Add(encodePEM("EC PRIVATE KEY", sec1))
	f.Add(append(encodePEM(pemECParameters, []byte("\x06\x00")), encodePEM("EC PRIVATE KEY", sec1)...))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}}))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePrivateKeyPEM(text)
		if err != nil {
			return
		}
		if key.Public() == nil {
			t.Error("a key without a public half")
		}
		_ = CheckPublicKey(key.Public())
	})
}
