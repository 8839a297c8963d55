package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func newList(entries ...Revoked) RevocationList {
	return RevocationList{Number: big.NewInt(noon().UnixMicro()), ThisUpdate: noon(), NextUpdate: noon().Add(day), Entries: entries}
}

func TestARevocationListSaysWhatItWasGiven(t *testing.T) {
	for _, kind := range kinds() {
		root := newRoot(t, kind)
		entries := []Revoked{
			{NewSerial(), noon().Add(-time.Hour), Unspecified},
			{NewSerial(), noon().Add(-time.Minute), KeyCompromise},
			{big.NewInt(0x80), noon(), CertificateHold},
			{new(big.Int).Lsh(big.NewInt(1), 158), noon(), AACompromise},
		}
		der, err := BuildCRL(newList(entries...), root.cert, root.key)
		check(t, err)
		crl, err := x509.ParseRevocationList(der)
		check(t, err)
		check(t, crl.CheckSignatureFrom(root.cert))
		if crl.Number.Int64() != noon().UnixMicro() || !bytes.Equal(crl.AuthorityKeyId, root.cert.SubjectKeyId) || !crl.NextUpdate.Equal(noon().Add(day)) {
			t.Errorf("the CRL has the number %s and the next update %s", crl.Number, crl.NextUpdate)
		}
		if len(crl.RevokedCertificateEntries) != len(entries) {
			t.Fatalf("the CRL has %d entries", len(crl.RevokedCertificateEntries))
		}
		for _, entry := range entries {
			i := slices.IndexFunc(crl.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(entry.Serial) == 0 })
			if found := crl.RevokedCertificateEntries[i]; found.ReasonCode != int(entry.Reason) || !found.RevocationTime.Equal(entry.At) {
				t.Errorf("the entry of %s is %+v", SerialHex(entry.Serial), found)
			}
			for _, extension := range crl.RevokedCertificateEntries[i].Extensions {
				if entry.Reason == Unspecified || extension.Critical {
					t.Errorf("the entry of %s has the extension %v", SerialHex(entry.Serial), extension)
				}
			}
		}
	}
}

func TestOpenSSLReadsOurRevocationLists(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	cert, _ := root.issue(t, leafTemplate())
	list := newList(Revoked{cert.SerialNumber, noon(), KeyCompromise})
	list.Shard = "http://pki.example.com/crl/3"
	rootFile := write(t, "root.pem", EncodeChain(root.cert.Raw))
	der, err := BuildCRL(list, root.cert, root.key)
	check(t, err)
	said := openssl(t, "crl", "-inform", "DER", "-in", write(t, "crl.der", der), "-noout", "-text", "-CAfile", rootFile)
	for _, want := range []string{
		"verify OK", "Version 2", "Serial Number: " + fmt.Sprintf("%X", cert.SerialNumber.Bytes()), "Key Compromise", "X509v3 CRL Number",
		"Issuing Distribution Point: critical\n                Full Name:\n                  URI:http://pki.example.com/crl/3",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("openssl does not say %q: %s", want, said)
		}
	}
	der, err = BuildCRL(newList(), root.cert, root.key)
	check(t, err)
	if said := openssl(t, "crl", "-inform", "DER", "-in", write(t, "crl.der", der), "-noout", "-text"); !strings.Contains(said, "No Revoked Certificates") {
		t.Errorf("openssl sees entries: %s", said)
	}
}

func TestRevocationListsOver2050AreEncodedRight(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	list := newList(Revoked{NewSerial(), noon(), Superseded})
	list.ThisUpdate, list.NextUpdate = time.Date(2049, 12, 31, 12, 0, 0, 0, time.UTC), time.Date(2050, 1, 1, 12, 0, 0, 0, time.UTC)
	der, err := BuildCRL(list, root.cert, root.key)
	check(t, err)
	if !bytes.Contains(der, []byte("\x17\x0d491231120000Z\x18\x0f20500101120000Z")) {
		t.Error("the dates are encoded otherwise")
	}
}

func TestRevocationListsThatMakeNoSenseAreNotSigned(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	serial := NewSerial()
	for says, spoil := range map[string]func(*RevocationList){
		"stands twice": func(l *RevocationList) {
			l.Entries = []Revoked{{serial, noon(), 1}, {NewSerial(), noon(), 1}, {serial, noon(), 4}}
		},
		"the reason 7":         func(l *RevocationList) { l.Entries = []Revoked{{serial, noon(), 7}} },
		"the reason 8":         func(l *RevocationList) { l.Entries = []Revoked{{serial, noon(), RemoveFromCRL}} },
		"the reason -1":        func(l *RevocationList) { l.Entries = []Revoked{{serial, noon(), -1}} },
		"an entry has":         func(l *RevocationList) { l.Entries = []Revoked{{nil, noon(), 1}} },
		"the CRL number":       func(l *RevocationList) { l.Number = nil },
		"not after this one":   func(l *RevocationList) { l.NextUpdate = l.ThisUpdate },
		"cannot be written":    func(l *RevocationList) { l.ThisUpdate = time.Time{} },
		"not an http or https": func(l *RevocationList) { l.Shard = "shard" },
	} {
		list := newList()
		spoil(&list)
		_, err := BuildCRL(list, root.cert, root.key)
		wantError(t, err, says)
	}
	_, err := BuildCRL(newList(), newRoot(t, KeyKind{ECDSA, 256}).cert, root.key)
	wantError(t, err, "not the key of the authority")
	leaf, key := root.issue(t, leafTemplate())
	_, err = BuildCRL(newList(), leaf, key)
	wantError(t, err, "cRLSign")
	_, err = BuildCRL(newList(), root.cert, wrongSigner{root.key})
	wantError(t, err, "does not verify")
}

func TestReasonsAreReadAsTheyAreWritten(t *testing.T) {
	for _, reason := range []Reason{0, 1, 2, 3, 4, 5, 6, 9, 10} {
		again, err := ParseReason(reason.String())
		check(t, err)
		if again != reason {
			t.Errorf("%v is read as %v", reason, again)
		}
	}
	if reason, err := ParseReason("caCompromise"); err != nil || reason != CACompromise {
		t.Errorf("caCompromise is read as %v: %v", reason, err)
	}
	for _, text := range []string{"", "removeFromCRL", "1", "key compromise"} {
		_, err := ParseReason(text)
		wantError(t, err, "unknown revocation reason")
	}
}

func manyRevoked(n int) []Revoked {
	entries := make([]Revoked, n)
	for i := range entries {
		entries[i] = Revoked{NewSerial(), noon().Add(-time.Duration(i) * time.Second), Reason(i % 7)}
	}
	return entries
}

func BenchmarkBuildCRLOf100000(b *testing.B) {
	root := newRoot(b, KeyKind{ECDSA, 256})
	list := newList(manyRevoked(100_000)...)
	for b.Loop() {
		der, err := BuildCRL(list, root.cert, root.key)
		check(b, err)
		b.SetBytes(int64(len(der)))
	}
}

func FuzzDecodeCRL(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("0\x00"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, raw []byte) {
		der, err := DecodeCRL(raw)
		if err == nil && len(der) > len(raw) {
			t.Errorf("%d octets became %d", len(raw), len(der))
		}
	})
}
