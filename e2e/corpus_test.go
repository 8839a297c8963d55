//go:build linux

package e2e_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// sort is a sort of certificates that people ask for, with its profile and how a random one is asked for.
type sort struct {
	name     string
	public   bool     // it follows the rules for publicly trusted certificates too
	internal bool     // its names need not exist publicly
	keys     []string // of makeKey
	profile  object
	ask      func(*rand.Rand) (commonName string, sans []string)
}

// span is one of the profile's numbers of seconds.
func (s sort) span(property string) time.Duration {
	return time.Duration(s.profile[property].(int) * int(time.Second))
}

// sorts are twelve profiles.
func sorts() []sort {
	classic := []string{"P-256", "P-384", "RSA"}
	every := append([]string{"Ed25519"}, classic...)
	long, short := 825*day, 47*day
	of := func(life, backdate time.Duration, more object) object {
		p := object{"max_ttl_seconds": int(life / time.Second), "backdate_seconds": int(backdate / time.Second), "allowed_ekus": []string{"serverAuth"}}
		for name, value := range more {
			p[name] = value
		}
		return p
	}
	ekus := func(list ...string) object { return object{"allowed_ekus": list} }
	return []sort{
		{"public server", true, false, classic, of(short, 5*time.Minute, nil), hosts(publicHost)},
		{"public wildcard", true, false, classic, of(short, 0, nil), hosts(func(r *rand.Rand) string { return "*." + publicHost(r) })},
		{"internal server by public rules", true, true, classic, of(short, time.Hour, nil), internalServer},
		{"internal server", false, true, every, of(long, 5*time.Minute, ekus("serverAuth", "clientAuth")), internalServer},
		{"international names", false, false, every, of(long, 0, nil), hosts(internationalHost)},
		{"node known by its common name", false, true, every, of(long, 5*time.Minute, ekus("serverAuth", "clientAuth")), node},
		{"person's mail", false, true, every, of(long, time.Minute, ekus("emailProtection", "clientAuth")), person},
		{"workload", false, true, every, of(day, time.Minute, object{"allow_short_lived": true, "spiffe_uri_pattern": "spiffe://*", "allowed_ekus": []string{"serverAuth", "clientAuth"}}), workload},
		{"server for hours", false, false, every, of(6*day, 0, object{"allow_short_lived": true}), hosts(publicHost)},
		{"code", false, true, every, of(long, 0, ekus("codeSigning")), node},
		{"time stamps", false, true, every, of(long, 0, ekus("timeStamping")), node},
		{"without purpose", false, true, every, of(long, 5*time.Minute, ekus()), node},
	}
}

func word(r *rand.Rand) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	octets := make([]byte, 1+r.IntN(20))
	for i := range octets {
		octets[i] = letters[r.IntN(len(letters))]
	}
	return "h" + string(octets)
}

func publicHost(r *rand.Rand) string {
	return word(r) + "." + word(r) + []string{".com", ".org", ".de", ".co.uk"}[r.IntN(4)]
}

func internalHost(r *rand.Rand) string {
	return "host-" + word(r) + []string{"", ".internal", ".corp.lan", ".svc.cluster.local"}[r.IntN(4)]
}

func internationalHost(r *rand.Rand) string {
	return word(r) + "." + []string{"xn--bcher-kva", "xn--fiqs8s", "xn--wgv71a119e", "xn--e1afmkfd"}[r.IntN(4)] + ".com"
}

func hosts(host func(*rand.Rand) string) func(*rand.Rand) (string, []string) {
	return func(r *rand.Rand) (commonName string, sans []string) {
		for range 1 + r.IntN(8) {
			sans = append(sans, host(r))
		}
		if r.IntN(2) == 0 && len(sans[0]) <= 64 {
			commonName = sans[0]
		}
		return commonName, sans
	}
}

func internalServer(r *rand.Rand) (commonName string, sans []string) {
	commonName, sans = hosts(internalHost)(r)
	for range r.IntN(3) {
		sans = append(sans, fmt.Sprintf("10.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256)), fmt.Sprintf("fd00::%x", 1+r.IntN(65535)))
	}
	return commonName, sans
}

func node(r *rand.Rand) (string, []string) { return internalHost(r), nil }

func person(r *rand.Rand) (string, []string) {
	return []string{"Zoë Müller", "山田太郎", "Анна Петрова", "O'Brien, Pat"}[r.IntN(4)], []string{word(r) + "+tag@" + publicHost(r)}
}

func workload(r *rand.Rand) (string, []string) {
	return "", []string{"spiffe://" + publicHost(r) + "/ns/" + word(r) + "/sa/" + word(r)}
}

// grown is a certificate of the corpus: what was asked, when, and what came.
type grown struct {
	sort
	commonName string
	sans       []string
	ttl        time.Duration
	key        crypto.PublicKey
	from, to   time.Time // of the request
	id, chain  string
	*x509.Certificate
}

// corpus asks a server for so many random certificates of each sort, by CSRs that ask for more than there is to be had.
func corpus(t *testing.T, s *server, seed uint64, each int) []grown {
	t.Helper()
	var all []grown
	var mu sync.Mutex
	var working sync.WaitGroup
	todo := make(chan sort)
	for hand := range 8 {
		working.Go(func() {
			g := gardener{server: s, random: rand.New(rand.NewPCG(seed, uint64(hand)))}
			for what := range todo {
				one, err := g.grow(t, what)
				if err != nil {
					t.Errorf("%s: %v", what.name, err)
				}
				mu.Lock()
				all = append(all, one)
				mu.Unlock()
			}
		})
	}
	for i, what := range sorts() {
		what.profile["id"], what.profile["name"] = fmt.Sprintf("prof-sort-%d", i), what.name
		s.admin.expect(t, 201, "POST", "/api/v1/profiles", what.profile)
		for range each {
			todo <- what
		}
	}
	close(todo)
	working.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// gardener is one of those who ask. Its RSA key, which takes long to make, stands in many certificates.
type gardener struct {
	server *server
	random *rand.Rand
	rsa    *rsa.PrivateKey
}

func (g *gardener) key(kind string) (key crypto.Signer, err error) {
	switch kind {
	case "RSA":
		if g.rsa == nil {
			g.rsa, err = rsa.GenerateKey(cryptorand.Reader, 2048)
		}
		return g.rsa, err
	case "Ed25519":
		_, key, err := ed25519.GenerateKey(cryptorand.Reader)
		return key, err
	case "P-384":
		return ecdsa.GenerateKey(elliptic.P384(), cryptorand.Reader)
	}
	return ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
}

func (g *gardener) grow(t *testing.T, what sort) (one grown, err error) {
	r := g.random
	one = grown{sort: what}
	one.commonName, one.sans = what.ask(r)
	least := 7 * day
	if what.profile["allow_short_lived"] == true {
		least = 2 * time.Hour
	}
	most := what.span("max_ttl_seconds")
	one.ttl = least + time.Duration(r.Int64N(int64((most-least)/time.Second)+1))*time.Second
	key, err := g.key(what.keys[r.IntN(len(what.keys))])
	if err != nil {
		return one, err
	}
	one.key = key.Public()
	csr, err := greedyCSR(r, key)
	if err != nil {
		return one, err
	}
	one.from = time.Now()
	a, err := g.server.admin.send(t.Context(), "POST", "/api/v1/certificates?wait=30", object{
		"name": fmt.Sprintf("%s %x", what.name, r.Uint64()), "common_name": one.commonName, "sans": one.sans, "csr_pem": csr,
		"certificate_profile_id": what.profile["id"], "ttl_seconds": int(one.ttl / time.Second),
	})
	one.to = time.Now()
	if err != nil {
		return one, err
	}
	one.id, one.chain = text(a.object(), "id"), text(a.object(), "version", "pem_chain")
	block, _ := pem.Decode([]byte(one.chain))
	if a.status != 201 || block == nil {
		return one, fmt.Errorf("names %q %q: %d %s", one.commonName, one.sans, a.status, a.body)
	}
	one.Certificate, err = x509.ParseCertificate(block.Bytes)
	return one, err
}

// greedyCSR asks, without names, for a random part of what no CSR decides.
func greedyCSR(r *rand.Rand, key crypto.Signer) (string, error) {
	template := &x509.CertificateRequest{}
	for _, extension := range []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte("\x03\x02\x03\xd8")},                   // keyUsage: digitalSignature, nonRepudiation, dataEncipherment, keyAgreement
		{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x03")},   // extKeyUsage: codeSigning
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte("\x30\x00")},                           // basicConstraints: no authority
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 55555, 1}, Value: []byte("\x05\x00")},                             // unknown
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte("\x30\x03\x02\x01\x05")},                 // TLS feature: must staple
		{Id: asn1.ObjectIdentifier{2, 5, 29, 32}, Value: []byte("\x30\x08\x30\x06\x06\x04\x55\x1d\x20\x00")},           // anyPolicy
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte("\x05\x00")},                          // OCSP nocheck
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, Critical: true, Value: []byte("\x05\x00")},       // CT poison
		{Id: asn1.ObjectIdentifier{2, 5, 29, 54}, Critical: true, Value: []byte("\x02\x01\x00")},                       // inhibitAnyPolicy
		{Id: asn1.ObjectIdentifier{2, 5, 29, 31}, Value: []byte("\x30\x12\x30\x10\xa0\x0e\xa0\x0c\x86\x0ahttp://x/y")}, // CRL distribution point
	} {
		if r.IntN(3) == 0 {
			template.ExtraExtensions = append(template.ExtraExtensions, extension)
		}
	}
	der, err := x509.CreateCertificateRequest(cryptorand.Reader, template, key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), err
}
