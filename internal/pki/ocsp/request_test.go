package ocsp

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	foreign "golang.org/x/crypto/ocsp"
)

func TestRequestsOfOpenSSLAreRead(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", big.NewInt(0xff))
	other := newAuthority(t, "ecdsa-p256", big.NewInt(0xff))
	for _, c := range []struct {
		args  string
		hash  crypto.Hash
		certs int
		nonce bool
	}{
		{"-issuer issuer.pem -no_nonce -cert leaf.pem", crypto.SHA1, 1, false},
		{"-issuer issuer.pem -cert leaf.pem", crypto.SHA1, 1, true},
		{"-issuer issuer.pem -nonce -sha256 -cert leaf.pem", crypto.SHA256, 1, true},
		{"-issuer issuer.pem -no_nonce -cert leaf.pem -serial 2 -serial 0x8000000000000000000000000000000000000000", crypto.SHA1, 3, false},
		{"-signer responder.pem -signkey responder.key -issuer issuer.pem -cert leaf.pem", crypto.SHA1, 1, true},
	} {
		r := a.request(t, c.args)
		if len(r.Certs) != c.certs || (len(r.Nonce) > 0) != c.nonce {
			t.Fatalf("%s: %+v", c.args, r)
		}
		for _, id := range r.Certs {
			if id.Hash != c.hash || !MatchIssuer(id, a.issuer) || MatchIssuer(id, other.issuer) || MatchIssuer(id, a.leaf) {
				t.Errorf("%s: the issuer is not told apart", c.args)
			}
		}
		if !r.Certs[0].Same(a.id(t, c.hash)) {
			t.Errorf("%s: serial %x", c.args, r.Certs[0].Serial)
		}
	}
}

func TestAnotherHashIsToldApartFromAMalformedRequest(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", big.NewInt(1))
	a.openssl(t, "-issuer issuer.pem -sha384 -cert leaf.pem -reqout request.der")
	if _, err := ParseRequest(a.read(t, "request.der")); !errors.Is(err, ErrHash) || errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestEverySerialComesThrough(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", big.NewInt(1))
	for _, serial := range serials() {
		if r := a.request(t, fmt.Sprintf("-issuer issuer.pem -serial 0x%x", serial)); r.Certs[0].Serial.Cmp(serial) != 0 {
			t.Errorf("openssl asked about %x, read %x", serial, r.Certs[0].Serial)
		}
		a.leaf.SerialNumber = serial
		der, err := foreign.CreateRequest(a.leaf, a.issuer, &foreign.RequestOptions{Hash: crypto.SHA256})
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRequest(der)
		if err != nil || r.Certs[0].Serial.Cmp(serial) != 0 {
			t.Errorf("x/crypto asked about %x: %v", serial, err)
		}
		again, err := EncodeRequest([]CertID{a.id(t, crypto.SHA256)}, nil)
		if err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x is not encoded as x/crypto does: %v", serial, err)
		}
	}
}

func TestRequestsComeBackAsTheyWereEncoded(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", big.NewInt(7))
	for _, nonce := range [][]byte{nil, {0}, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 128)} {
		ids := []CertID{a.id(t, crypto.SHA1), a.id(t, crypto.SHA256)}
		der, err := EncodeRequest(ids, nonce)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRequest(der)
		if err != nil || len(r.Certs) != 2 || !r.Certs[0].Same(ids[0]) || !r.Certs[1].Same(ids[1]) || !bytes.Equal(r.Nonce, nonce) {
			t.Errorf("%+v, %v", r, err)
		}
		a.write(t, "ours.der", der)
		if text := a.openssl(t, "-reqin ours.der -req_text"); strings.Count(text, "Serial Number: 07") != 2 {
			t.Errorf("openssl reads:\n%s", text)
		}
	}
}

func TestRequestsThatCannotBeAreNotEncoded(t *testing.T) {
	a := newAuthority(t, "ed25519", big.NewInt(7))
	id := a.id(t, crypto.SHA1)
	short, none := id, id
	short.KeyHash, none.Serial = id.KeyHash[1:], nil
	for name, c := range map[string]struct {
		ids   []CertID
		nonce []byte
	}{
		"no certificate": {nil, nil}, "too many": {make([]CertID, 33), nil}, "an empty id": {[]CertID{{}}, nil},
		"a short hash": {[]CertID{short}, nil}, "no serial": {[]CertID{none}, nil}, "a long nonce": {[]CertID{id}, make([]byte, 129)},
	} {
		if _, err := EncodeRequest(c.ids, c.nonce); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
	if _, err := NewCertID(crypto.SHA512, a.issuer, big.NewInt(1)); err == nil {
		t.Error("a CertID was made with SHA-512")
	}
}

// extension is an Extension in DER.
func extension(oid string, critical bool, value []byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, oid)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1OctetString(value)
	})
	return b.BytesOrPanic()
}

// asking is a request for ids with extensions on the request and on each id.
func asking(ids []CertID, ofSingle, ofRequest [][]byte) []byte {
	extensions := func(b *cryptobyte.Builder, tag asn1.Tag, list [][]byte) {
		if list != nil {
			b.AddASN1(tag, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(list, nil)) })
			})
		}
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, id := range ids {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						id.append(b)
						extensions(b, explicit(0), ofSingle)
					})
				}
			})
			extensions(b, explicit(2), ofRequest)
		})
	})
	return b.BytesOrPanic()
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	a := newAuthority(t, "ed25519", big.NewInt(0x1234))
	id := a.id(t, crypto.SHA1)
	ids := []CertID{id}
	good := asking(ids, nil, nil)
	nonce := func(n int) []byte {
		return extension(oidNonce, false, octets(n))
	}
	for name, der := range map[string][]byte{
		"nothing": nil, "one octet": {0x30}, "an empty SEQUENCE": {0x30, 0}, "an empty TBSRequest": {0x30, 2, 0x30, 0},
		"a certificate":               a.leaf.Raw,
		"trailing garbage":            append(bytes.Clone(good), 0),
		"10,000 octets":               append(bytes.Clone(good), make([]byte, RequestLimit-len(good))...),
		"no certificates":             asking(nil, nil, nil),
		"33 certificates":             asking(slices.Repeat([]CertID{id}, 33), nil, nil),
		"an empty nonce":              asking(ids, nil, [][]byte{nonce(0)}),
		"a nonce of 129 octets":       asking(ids, nil, [][]byte{nonce(129)}),
		"a nonce of 4,000 octets":     asking(ids, nil, [][]byte{nonce(4000)}),
		"a bare nonce":                asking(ids, nil, [][]byte{extension(oidNonce, false, []byte("12345678"))}),
		"two nonces":                  asking(ids, nil, [][]byte{nonce(8), nonce(8)}),
		"an unknown critical one":     asking(ids, nil, [][]byte{extension("\x2a\x03", true, nil)}),
		"a critical one of a single":  asking(ids, [][]byte{extension("\x2a\x03", true, nil)}, nil),
		"extensions that are none":    asking(ids, nil, [][]byte{{0x01}}),
		"a negative length":           bytes.Replace(good, []byte{0x04, 0x14}, []byte{0x04, 0x84}, 1),
		"an indefinite length":        append([]byte{0x30, 0x80}, good[2:]...),
		"a padded serial":             bytes.Replace(good, []byte{0x02, 0x02, 0x12, 0x34}, []byte{0x02, 0x02, 0x00, 0x34}, 1),
		"a serial without octets":     bytes.Replace(good, []byte{0x02, 0x02, 0x12, 0x34}, []byte{0x02, 0x00, 0x12, 0x34}, 1),
		"a hash of the wrong length":  bytes.Replace(good, []byte("\x06\x05"+oidSHA1+"\x05\x00\x04\x14"), []byte("\x06\x05"+oidSHA1+"\x05\x00\x04\x13"), 1),
		"parameters of the algorithm": bytes.Replace(good, []byte(oidSHA1+"\x05\x00"), []byte(oidSHA1+"\x04\x00"), 1),
	} {
		if r, err := ParseRequest(der); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for i := range good {
		if _, err := ParseRequest(good[:i]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d octets: %v", i, err)
		}
	}
}

// octets is a DER OCTET STRING of n octets.
func octets(n int) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1OctetString(bytes.Repeat([]byte{0xa5}, n))
	return b.BytesOrPanic()
}

func TestWhatAClientMayAddIsPassedOver(t *testing.T) {
	a := newAuthority(t, "ed25519", big.NewInt(5))
	id := CertID{Hash: crypto.SHA1, NameHash: make([]byte, 20), KeyHash: make([]byte, 20), Serial: big.NewInt(-5)}
	ids := slices.Repeat([]CertID{id}, MaxCerts)
	der := asking(ids, [][]byte{extension(oidLocator, true, []byte{0x30, 0})}, [][]byte{
		extension(oidAcceptable, true, []byte{0x30, 0}), extension("\x2a\x03", false, nil), extension(oidNonce, true, octets(128)),
	})
	r, err := ParseRequest(der)
	if err != nil || len(r.Certs) != 32 || len(r.Nonce) != 128 || r.Certs[31].Serial.Int64() != -5 {
		t.Fatalf("%+v, %v", r, err)
	}
	if MatchIssuer(r.Certs[0], a.issuer) {
		t.Error("zeros match an issuer")
	}
}

func TestTheFormsOfAGetPathAreDecoded(t *testing.T) {
	want := []byte{0x30, 0xff, 0xef, 0xbf, 0xfb, 0xff, 0xff, 0xfe, 0x01, 0x02, 0x03}
	text := base64.StdEncoding.EncodeToString(want)
	if text != "MP/vv/v///4BAgM=" {
		t.Fatal(text)
	}
	plus := append([]byte{0x30, 0xff, 0xfb, 0xef, 0xbe}, want[:5]...)
	plusText := base64.StdEncoding.EncodeToString(plus)
	if !strings.Contains(plusText, "+") || !strings.HasSuffix(plusText, "==") {
		t.Fatal(plusText)
	}
	for path, der := range map[string][]byte{
		text: want, url.QueryEscape(text): want, url.PathEscape(text): want,
		strings.ReplaceAll(text, "/", "%2f"): want,
		strings.TrimRight(text, "="):         want, "/" + text: want, "//" + url.QueryEscape(text): want,
		plusText: plus, strings.ReplaceAll(plusText, "+", "%2B"): plus, strings.ReplaceAll(plusText, "+", "%2b"): plus,
		strings.ReplaceAll(plusText, "+", "%20"): plus, strings.TrimRight(plusText, "="): plus, strings.TrimSuffix(plusText, "="): plus,
		strings.ReplaceAll(plusText, "=", "%3D"): plus,
	} {
		if got, err := FromPath(path); err != nil || !bytes.Equal(got, der) {
			t.Errorf("%s: %x, %v", path, got, err)
		}
	}
	for _, path := range []string{"", "/", "=", "%", "%zz", "M", "MP.v", "MP/vv\x00", strings.Repeat("A", 1<<20)} {
		if got, err := FromPath(path); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.20q: %x, %v", path, got, err)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	id := CertID{Hash: crypto.SHA1, NameHash: make([]byte, 20), KeyHash: make([]byte, 20), Serial: big.NewInt(255)}
	f.Add(asking([]CertID{id}, nil, nil))
	f.Add(asking([]CertID{id, id}, [][]byte{extension(oidLocator, false, nil)}, [][]byte{extension(oidNonce, false, octets(16))}))
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseRequest(der)
		if (err == nil) == (errors.Is(err, ErrMalformed) || errors.Is(err, ErrHash)) {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
		again, err := EncodeRequest(r.Certs, r.Nonce)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseRequest(again)
		if err != nil || len(back.Certs) != len(r.Certs) || !bytes.Equal(back.Nonce, r.Nonce) || !back.Certs[0].Same(r.Certs[0]) {
			t.Fatalf("%x came back as %x: %v", der, again, err)
		}
	})
}

func FuzzFromPath(f *testing.F) {
	for _, seed := range []string{"MP/vv/v///4BAgM=", "//MP%2Fv%3D", "%", "M P+"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		der, err := FromPath(path)
		if (err == nil) == errors.Is(err, ErrMalformed) || err == nil && len(der) == 0 {
			t.Fatalf("%q: %x, %v", path, der, err)
		}
	})
}
