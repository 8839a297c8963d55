package agent

import (
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

func TestACSRHasTheNamesAndTheKeyThatWereAskedFor(t *testing.T) {
	a := &Agent{ring: newRing(t)}
	for name, c := range map[string]struct {
		item item
		kind string
	}{
		"ecdsa":   {item{KeyAlgorithm: "ECDSA", KeySize: 384}, "ecdsa-p384"},
		"rsa":     {item{KeyAlgorithm: "RSA", KeySize: 2048}, "rsa-2048"},
		"ed25519": {item{KeyAlgorithm: "Ed25519"}, "ed25519"},
	} {
		c.item.ID, c.item.CertificateID, c.item.CommonName = "job-"+name, "mc-"+name, "shop.example"
		c.item.SANs = []string{"shop.example", "*.shop.example", "192.0.2.7", "2001:db8::7", "me@shop.example"}
		text, err := a.makeCSR(c.item)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := pki.ParseCSR(text)
		if err != nil {
			t.Fatal(err)
		}
		names := csr.Names
		if csr.Kind.String() != c.kind || csr.CommonName != "shop.example" || len(names.DNS) != 2 || len(names.IP) != 2 || len(names.Email) != 1 || len(csr.Extensions) != 1 {
			t.Errorf("%s: %+v", name, csr)
		}
		again, err := a.makeCSR(c.item)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := pki.ParseCSR(again); err != nil || !same(csr.PublicKey, second.PublicKey) {
			t.Errorf("%s: the second CSR has another key (%v)", name, err)
		}
	}
}

func TestWhatCannotBeMadeIsRefusedBeforeAKeyIsMade(t *testing.T) {
	a := &Agent{ring: newRing(t)}
	for name, c := range map[string]item{
		"a weak key":      {KeyAlgorithm: "RSA", KeySize: 1024, SANs: []string{"shop.example"}},
		"no algorithm":    {SANs: []string{"shop.example"}},
		"a strange one":   {KeyAlgorithm: "DSA", KeySize: 2048, SANs: []string{"shop.example"}},
		"a bad name":      {KeyAlgorithm: "ECDSA", KeySize: 256, SANs: []string{"shop..example"}},
		"too many names":  {KeyAlgorithm: "ECDSA", KeySize: 256, SANs: strings.Split(strings.Repeat("a.example ", pki.MaxNames+1), " ")},
		"a path for a id": {KeyAlgorithm: "ECDSA", KeySize: 256, SANs: []string{"shop.example"}, CertificateID: "../../etc"},
	} {
		c.ID = "job-1"
		if c.CertificateID == "" {
			c.CertificateID = "mc-shop"
		}
		if _, err := a.makeCSR(c); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if files, err := a.ring.files("mc-shop"); err != nil || len(files) > 0 {
		t.Errorf("%d keys were made (%v)", len(files), err)
	}
}

func FuzzWorkItem(f *testing.F) {
	ring := newRing(f)
	f.Add("job-1", "mc-shop", "shop.example", "shop.example 192.0.2.7", "ECDSA", 256)
	f.Add("../x", "..", "", "me@x u://x *.x", "Ed25519", 0)
	f.Add("job-1", "a/b", strings.Repeat("x", 70), "\x00", "ECDSA", -1)
	f.Fuzz(func(t *testing.T, job, certificate, name, sans, algorithm string, size int) {
		if algorithm == pki.RSA {
			t.Skip("slow, and its size is checked alike")
		}
		i := item{ID: job, CertificateID: certificate, CommonName: name, SANs: strings.Fields(sans), KeyAlgorithm: algorithm, KeySize: size}
		text, err := (&Agent{ring: ring}).makeCSR(i)
		if err != nil {
			return
		}
		csr, err := pki.ParseCSR(text)
		if err != nil {
			t.Fatalf("%+v gives a CSR that is refused: %v", i, err)
		}
		if !isID(job) || !isID(certificate) || csr.CommonName != name {
			t.Fatalf("%+v was taken", i)
		}
		if err := ring.discard(certificate, job); err != nil {
			t.Fatal(err)
		}
	})
}
