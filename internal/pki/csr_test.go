package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRequestsAreReadAsTheyWereMade(t *testing.T) {
	wanted := names(t, "www.example.com", "*.example.com", "10.0.0.1", "2001:db8::1", "a@example.com", "https://example.com/%41")
	for _, kind := range kinds() {
		key := newKey(t, kind)
		der, err := MakeCSR(key, "www.example.com", wanted)
		check(t, err)
		for _, data := range [][]byte{der, EncodeCSR(der), bytes.ReplaceAll(EncodeCSR(der), []byte("CERTIFICATE"), []byte("NEW CERTIFICATE"))} {
			csr, err := ParseCSR(data)
			check(t, err)
			if !slices.Equal(csr.Names.All(), wanted.All()) || csr.CommonName != "www.example.com" || csr.Kind != kind || !bytes.Equal(csr.DER, der) {
				t.Errorf("the request came back as %+v", csr)
			}
			if len(csr.Dangers()) != 0 || len(csr.OtherNames) != 0 {
				t.Errorf("dangers %q, other names %q", csr.Dangers(), csr.OtherNames)
			}
		}
	}
}

func TestOpenSSLVerifiesOurRequests(t *testing.T) {
	for _, kind := range kinds() {
		der, err := MakeCSR(newKey(t, kind), "", names(t, "www.example.com", "10.0.0.1"))
		check(t, err)
		said := openssl(t, "req", "-verify", "-noout", "-text", "-in", write(t, "csr.pem", EncodeCSR(der)))
		for _, want := range []string{"verify OK", "DNS:www.example.com, IP Address:10.0.0.1", "Alternative Name: critical"} {
			if !strings.Contains(said, want) {
				t.Errorf("openssl does not say %q: %s", want, said)
			}
		}
	}
}

func TestARequestOfOpenSSLIsReadWithWhatItAsksFor(t *testing.T) {
	dir := t.TempDir()
	openssl(t, "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", dir+"/key.pem", "-out", dir+"/csr.pem", "-subj", "/O=Example/CN=www.example.com",
		"-addext", "subjectAltName=DNS:WWW.example.com,DNS:10.0.0.1,DNS:spiffe://example.org/a,otherName:1.2.3.4;UTF8:x,dirName:there",
		"-addext", "basicConstraints=critical,CA:TRUE,pathlen:3", "-addext", "keyUsage=digitalSignature,keyCertSign,cRLSign",
		"-addext", "extendedKeyUsage=serverAuth,1.2.3.4,OCSPSigning", "-addext", "nameConstraints=permitted;DNS:example.com",
		"-config", write(t, "openssl.cnf", []byte("[req]\ndistinguished_name=dn\n[dn]\n[there]\nCN=x\n")))
	csr, err := ParseCSR([]byte(openssl(t, "req", "-in", dir+"/csr.pem")))
	check(t, err)
	if all := csr.Names.All(); !slices.Equal(all, []string{"www.example.com", "10.0.0.1", "spiffe://example.org/a"}) {
		t.Errorf("the names are %q", all)
	}
	if !slices.Equal(csr.OtherNames, []string{"otherName", "directoryName"}) {
		t.Errorf("the other names are %q", csr.OtherNames)
	}
	if !slices.Equal(csr.EKUs, []string{"serverAuth", "1.2.3.4", "OCSPSigning"}) || !csr.CA {
		t.Errorf("the extended key usages are %q, CA is %v", csr.EKUs, csr.CA)
	}
	want := []string{"basicConstraints CA:TRUE", "keyUsage keyCertSign", "keyUsage cRLSign", "extKeyUsage OCSPSigning", "nameConstraints"}
	if !slices.Equal(csr.Dangers(), want) {
		t.Errorf("the dangers are %q", csr.Dangers())
	}
	var asked []string
	for _, extension := range csr.Extensions {
		asked = append(asked, extension.Name)
	}
	if !slices.Equal(asked, []string{"subjectAltName", "basicConstraints", "keyUsage", "extKeyUsage", "nameConstraints"}) {
		t.Errorf("the extensions are %q", asked)
	}
}

// request signs a request with crypto/x509, which asks for whatever it is told to.
func request(t testing.TB, key crypto.Signer, subject pkix.Name, extensions ...pkix.Extension) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, ExtraExtensions: extensions}, key)
	check(t, err)
	return der
}

func extension(value string, oid ...int) pkix.Extension {
	return pkix.Extension{Id: oid, Value: []byte(value)}
}

func TestRequestsThatCannotBeGrantedAreRefusedWithTheReason(t *testing.T) {
	key := newKey(t, KeyKind{ECDSA, 256})
	good, err := MakeCSR(key, "www.example.com", Names{})
	check(t, err)
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	check(t, err)
	many, err := Names{DNS: slices.Repeat([]string{"a.example.com"}, 101)}.extension(false)
	check(t, err)
	two := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "b"}}}
	none := pkix.Name{}
	for _, c := range []struct {
		data    []byte
		problem CSRProblem
		says    string
	}{
		{nil, CSREncoding, "is empty"},
		{[]byte("hello"), CSREncoding, "no PEM block"},
		{make([]byte, maxCSR+1), CSREncoding, "at most"},
		{[]byte("\x30\x00"), CSREncoding, "cannot be read"},
		{append(slices.Clone(good), 0), CSREncoding, "cannot be read"},
		{bytes.Repeat(EncodeCSR(good), 2), CSREncoding, "at most 1"},
		{EncodeChain(good), CSREncoding, "not a CERTIFICATE REQUEST"},
		{forged, CSRSignature, "not by its own key"},
		{request(t, weak, none), CSRKey, "1024 bits"},
		{request(t, p521, none), CSRKey, "P-521"},
		{request(t, key, pkix.Name{CommonName: "\u202egro.elpmaxe"}), CSRCommonName, "direction of writing"},
		{request(t, key, pkix.Name{CommonName: strings.Repeat("a", 65)}), CSRCommonName, "65 characters"},
		{request(t, key, two), CSRCommonName, "2 common names"},
		{request(t, key, none, many), CSRNames, "101 names"},
		{request(t, key, none, extension("\x30\x00", 2, 5, 29, 17)), CSREncoding, "subjectAltName extension is empty"},
		{request(t, key, none, extension("\x30\x02\x82\x00", 2, 5, 29, 17)), CSRNames, "is empty"},
		{request(t, key, none, extension("\x30\x03\x82\x01.", 2, 5, 29, 17)), CSRNames, "empty label"},
		{request(t, key, none, extension("\x30\x03\x82\x01*", 2, 5, 29, 17)), CSRNames, "left-most label"},
		{request(t, key, none, extension("\x30\x05\x82\x03a@b", 2, 5, 29, 17)), CSRNames, "character '@'"},
		{request(t, key, none, extension("\x30\x00", 2, 5, 29, 37)), CSREncoding, "extKeyUsage extension is empty"},
		{request(t, key, none, extension("\x30\x02\x06\x00", 2, 5, 29, 37)), CSREncoding, "not well-formed"},
		{request(t, key, none, extension("", 2, 5, 29, 19)), CSREncoding, "basicConstraints extension is not well-formed"},
		{request(t, key, none, extension("\x30\x02\x01\x00", 2, 5, 29, 19)), CSREncoding, "basicConstraints extension is not well-formed"},
		{request(t, key, none, extension("\x03\x00", 2, 5, 29, 15)), CSREncoding, "keyUsage extension is not well-formed"},
	} {
		csr, err := ParseCSR(c.data)
		wantError(t, err, c.says)
		if refused, ok := errors.AsType[*CSRError](err); !ok || refused.Problem != c.problem || csr != nil {
			t.Errorf("the error is %#v beside %v", err, csr)
		}
	}
}

func TestRequestsOfOtherToolsAreRefusedForTheirKeyOrTheirSignature(t *testing.T) {
	for _, c := range []struct {
		with    []string
		problem CSRProblem
		says    string
	}{
		{[]string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"}, CSRKey, "its key cannot be read: x509: unsupported elliptic curve"},
		{[]string{"-newkey", "ed448"}, CSRKey, "neither RSA nor ECDSA on a NIST curve nor Ed25519"},
		{[]string{"-newkey", "rsa:2048", "-md5"}, CSRSignature, "it is signed with MD5-RSA, which is not secure"},
		{[]string{"-newkey", "rsa:2048", "-sha512-256"}, CSRSignature, "with an algorithm that is not known"},
	} {
		dir := t.TempDir()
		openssl(t, append([]string{"req", "-new", "-nodes", "-subj", "/CN=www.example.com", "-keyout", filepath.Join(dir, "key"), "-out", filepath.Join(dir, "csr")}, c.with...)...)
		text, err := os.ReadFile(filepath.Join(dir, "csr"))
		check(t, err)
		_, err = ParseCSR(text)
		if refused, ok := errors.AsType[*CSRError](err); !ok || refused.Problem != c.problem || !strings.HasSuffix(err.Error(), c.says) {
			t.Errorf("%v: %v", c.with, err)
		}
	}
}

func TestNothingIsAskedForByAnEmptyBasicConstraints(t *testing.T) {
	csr, err := ParseCSR(request(t, newKey(t, KeyKind{ECDSA, 256}), pkix.Name{}, extension("\x30\x00", 2, 5, 29, 19), extension("\x03\x02\x07\x80", 2, 5, 29, 15)))
	check(t, err)
	if csr.CA || csr.KeyUsage != x509.KeyUsageDigitalSignature || len(csr.Dangers()) != 0 {
		t.Errorf("CA is %v, the key usage %b", csr.CA, csr.KeyUsage)
	}
}

func TestRequestsAreNotMadeForWhatCannotStandInThem(t *testing.T) {
	_, err := MakeCSR(newKey(t, KeyKind{ECDSA, 256}), "a\x00b", Names{})
	wantError(t, err, "control character")
}

func TestExtendedKeyUsagesHaveOneForm(t *testing.T) {
	for text, want := range map[string]string{
		"serverAuth": "serverAuth", "1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.17": "1.3.6.1.5.5.7.3.17", "2.5.29.37.0": "anyExtendedKeyUsage",
	} {
		usage, err := ParseEKU(text)
		check(t, err)
		if usage != want {
			t.Errorf("%s is read as %s", text, usage)
		}
	}
	for _, text := range []string{"", "serverauth", "1", "1.", "9.1.2", "01.2.3", "1.2.3 ", strings.Repeat("1.", 100) + "1"} {
		if usage, err := ParseEKU(text); err == nil {
			t.Errorf("%q is read as %s", text, usage)
		}
	}
}

func FuzzParseCSR(f *testing.F) {
	for _, kind := range kinds() {
		der, err := MakeCSR(newKey(f, kind), "www.example.com", Names{DNS: []string{"www.example.com"}, URI: []string{"spiffe://a/b"}})
		check(f, err)
		f.Add(der)
		f.Add(EncodeCSR(der))
	}
	key := newKey(f, KeyKind{ECDSA, 256})
	full := &x509.CertificateRequest{DNSNames: []string{"10.0.0.1"}, IPAddresses: []net.IP{{10, 0, 0, 1}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, full, key)
	check(f, err)
	f.Add(der)
	for _, oid := range [][]int{{2, 5, 29, 15}, {2, 5, 29, 17}, {2, 5, 29, 19}, {2, 5, 29, 37}} {
		f.Add(request(f, key, pkix.Name{}, extension("\x30\x00", oid...)))
		f.Add(request(f, key, pkix.Name{}, extension("", oid...)))
	}
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		csr, err := ParseCSR(data)
		if err != nil {
			if _, ok := errors.AsType[*CSRError](err); !ok || csr != nil {
				t.Errorf("the error is %T", err)
			}
			return
		}
		if again, err := ParseNames(csr.Names.All()); err != nil || !slices.Equal(again.All(), csr.Names.All()) {
			t.Errorf("the names %q are not in their one form: %v", csr.Names.All(), err)
		}
		csr.Dangers()
	})
}

// The signature shields what a request asks for from random bytes, so the parsers behind it are fuzzed by themselves.
func FuzzExtensions(f *testing.F) {
	for _, seed := range []string{"", "\x30\x00", "\x30\x02\x82\x00", "\x30\x04\xa4\x02\x30\x00", "\x30\x06\x87\x04\x0a\x00\x00\x01", "\x30\x03\x01\x01\xff", "\x03\x02\x07\x80", "\x30\x02\x06\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, oid := range [][]int{{2, 5, 29, 15}, {2, 5, 29, 17}, {2, 5, 29, 19}, {2, 5, 29, 37}} {
			csr := &CSR{}
			if err := csr.read(extension(string(value), oid...)); err == nil {
				csr.Dangers()
				names(t, csr.Names.All()...)
			}
		}
	})
}
