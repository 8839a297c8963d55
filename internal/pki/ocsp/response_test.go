package ocsp

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	foreign "golang.org/x/crypto/ocsp"

	"github.com/leafward/leafward/internal/pki"
)

func TestOpenSSLVerifiesOurResponses(t *testing.T) {
	for _, kind := range []string{"ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"} {
		a := newAuthority(t, kind, big.NewInt(0xfe))
		url := a.serve(t, func(r Request) []byte { return a.answer(t, r.Nonce, a.good(r.Certs[0])) })
		for _, args := range []string{"-nonce -sha1", "-nonce -sha256", "-no_nonce -sha1", "-no_nonce -sha256"} {
			for _, trust := range []string{"-CAfile issuer.pem", "-VAfile responder.pem"} {
				out := a.openssl(t, "-issuer issuer.pem "+args+" -cert leaf.pem "+trust+" -url "+url)
				if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, "leaf.pem: good") || strings.Contains(out, "WARNING") {
					t.Errorf("%s %s %s:\n%s", kind, args, trust, out)
				}
			}
		}
	}
}

func TestOpenSSLReadsEveryStatusAndReason(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, 20)))
	for want, single := range map[string]Single{
		"leaf.pem: good":        {Status: Good},
		"leaf.pem: unknown":     {Status: Unknown},
		"leaf.pem: revoked":     {Status: Revoked, RevokedAt: a.now},
		"Reason: keyCompromise": {Status: Revoked, RevokedAt: a.now, Reason: pki.KeyCompromise},
		"Reason: superseded":    {Status: Revoked, RevokedAt: a.now, Reason: pki.Superseded},
	} {
		url := a.serve(t, func(r Request) []byte {
			answer := single
			answer.ID, answer.ThisUpdate, answer.NextUpdate = r.Certs[0], a.now, a.now.Add(time.Hour)
			return a.answer(t, r.Nonce, answer)
		})
		out := a.openssl(t, "-issuer issuer.pem -cert leaf.pem -CAfile issuer.pem -url "+url)
		if !strings.Contains(out, want) || !strings.Contains(out, "Response verify OK") || !strings.Contains(out, single.Status.String()) {
			t.Errorf("want %s:\n%s", want, out)
		}
		if strings.Contains(out, "Reason") != (single.Reason != pki.Unspecified) {
			t.Errorf("a reason where there is none, or none where there is one:\n%s", out)
		}
	}
}

func TestAForeignClientReadsOurResponses(t *testing.T) {
	for _, kind := range []string{"ecdsa-p256", "ecdsa-p384", "rsa-2048"} { // x/crypto/ocsp has no Ed25519
		for _, serial := range serials() {
			a := newAuthority(t, kind, serial)
			revoked := Single{
				ID: a.id(t, crypto.SHA1), Status: Revoked, RevokedAt: a.now.Add(-time.Hour), Reason: pki.CessationOfOperation,
				ThisUpdate: a.now, NextUpdate: a.now.Add(time.Hour),
			}
			got, err := foreign.ParseResponseForCert(a.answer(t, []byte("nonce"), revoked), a.leaf, a.issuer)
			if err != nil {
				t.Fatalf("%s %x: %v", kind, serial, err)
			}
			whole := func(at time.Time) time.Time { return at.UTC().Truncate(time.Second) }
			if got.Status != foreign.Revoked || got.RevocationReason != foreign.CessationOfOperation || got.SerialNumber.Cmp(serial) != 0 ||
				!got.RevokedAt.Equal(whole(revoked.RevokedAt)) || !got.ThisUpdate.Equal(whole(revoked.ThisUpdate)) ||
				!got.NextUpdate.Equal(whole(revoked.NextUpdate)) || !got.ProducedAt.Equal(whole(a.now)) {
				t.Errorf("%s %x: %+v", kind, serial, got)
			}
			if kind == "rsa-2048" {
				break
			}
		}
	}
}

func TestAResponseIsSmall(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, 20)))
	single := a.good(a.id(t, crypto.SHA256))
	single.Status, single.RevokedAt, single.Reason = Revoked, a.now, pki.KeyCompromise
	if n := len(a.answer(t, make([]byte, 128), single)); n > 2000 {
		t.Errorf("it has %d octets", n)
	}
}

func TestOurClientReadsWhatWeSign(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", big.NewInt(0x80))
	nonce := bytes.Repeat([]byte{9}, 32)
	id, other := a.id(t, crypto.SHA256), a.id(t, crypto.SHA1)
	revoked := Single{ID: other, Status: Revoked, RevokedAt: a.now, Reason: pki.Superseded, ThisUpdate: a.now}
	r, err := ParseResponse(a.answer(t, nonce, a.good(id), revoked))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(a.issuer, a.now); err != nil {
		t.Error(err)
	}
	if got, ok := r.Find(id); !ok || got.Status != Good || !bytes.Equal(r.Nonce, nonce) {
		t.Errorf("%+v, %x", got, r.Nonce)
	}
	if got, ok := r.Find(other); !ok || got.Status != Revoked || got.Reason != pki.Superseded || !got.NextUpdate.IsZero() {
		t.Errorf("%+v", got)
	}
	id.Serial = big.NewInt(3)
	if _, ok := r.Find(id); ok {
		t.Error("there is an answer to what was not asked")
	}
	for _, code := range []Code{MalformedRequest, InternalError, TryLater, SigRequired, Unauthorized} {
		r, err := ParseResponse(ErrorResponse(code))
		if err != nil || r.Code != code || r.Verify(a.issuer, a.now) == nil {
			t.Errorf("%v: %+v, %v", code, r, err)
		}
		if _, err := foreign.ParseResponse(ErrorResponse(code), nil); err == nil || !strings.Contains(err.Error(), "error from server") {
			t.Errorf("%v: %v", code, err)
		}
	}
}

func TestTheIssuerMayAnswerItself(t *testing.T) {
	a := newAuthority(t, "ed25519", big.NewInt(3))
	template := ResponseTemplate{Responder: a.issuer, ProducedAt: a.now, Singles: []Single{a.good(a.id(t, crypto.SHA1))}}
	der, err := template.Sign(a.issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseResponse(der)
	if err != nil || len(r.Certs) != 0 || r.Verify(a.issuer, a.now) != nil {
		t.Errorf("%+v, %v, %v", r, err, r.Verify(a.issuer, a.now))
	}
}

func TestOurClientReadsOpenSSLsResponder(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", big.NewInt(0xabc))
	a.request(t, "-issuer issuer.pem -cert leaf.pem")
	a.write(t, "index.txt", []byte("R\t491231235959Z\t250102030405Z,keyCompromise\t0ABC\tunknown\t/CN=leaf\n"))
	const respond = "-index index.txt -CA issuer.pem -rsigner responder.pem -rkey responder.key -ndays 1 -reqin request.der -respout response.der"
	for _, more := range []string{"", " -resp_key_id"} {
		a.openssl(t, respond+more)
		r, err := ParseResponse(a.read(t, "response.der"))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(a.issuer, time.Now()); err != nil {
			t.Error(err)
		}
		got, ok := r.Find(a.id(t, crypto.SHA1))
		if !ok || got.Status != Revoked || got.Reason != pki.KeyCompromise || got.RevokedAt.Year() != 2025 || len(r.Nonce) == 0 {
			t.Errorf("%+v", got)
		}
	}
}

func TestAResponseThatIsNotTheIssuersWordIsRefused(t *testing.T) {
	a, other := newAuthority(t, "ecdsa-p256", big.NewInt(5)), newAuthority(t, "ecdsa-p256", big.NewInt(5))
	id := a.id(t, crypto.SHA1)
	plain := a
	plain.respKey = newKey(t, "ecdsa-p256")
	plain.responder = a.certify(t, "plain", &x509.Certificate{SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "no responder"}}, plain.respKey)
	foreigner := a
	foreigner.responder, foreigner.respKey = other.responder, other.respKey
	encipher := a
	encipher.respKey = newKey(t, "ecdsa-p256")
	encipher.responder = a.certify(t, "encipher", &x509.Certificate{
		SerialNumber: big.NewInt(9), KeyUsage: x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	}, encipher.respKey)
	early := a
	early.now = a.now.Add(-3 * time.Hour)
	tampered := bytes.Replace(a.answer(t, nil, a.good(id)), []byte{0x02, 0x01, 0x05}, []byte{0x02, 0x01, 0x06}, 1)
	for name, c := range map[string]struct {
		der []byte
		at  time.Time
	}{
		"one that was changed":                   {tampered, a.now},
		"a responder without the usage":          {plain.answer(t, nil, a.good(id)), a.now},
		"a responder of another issuer":          {foreigner.answer(t, nil, a.good(id)), a.now},
		"a responder that may not sign":          {encipher.answer(t, nil, a.good(id)), a.now},
		"a certificate of another issuer":        {a.answer(t, nil, a.good(other.id(t, crypto.SHA1))), a.now},
		"one of two of another issuer":           {a.answer(t, nil, a.good(id), a.good(other.id(t, crypto.SHA1))), a.now},
		"one that is outdated":                   {a.answer(t, nil, a.good(id)), a.now.Add(2 * time.Minute)},
		"one from the future":                    {a.answer(t, nil, a.good(id)), a.now.Add(-10 * time.Minute)},
		"a responder whose certificate is over":  {a.answer(t, nil, Single{ID: id, ThisUpdate: a.now}), a.now.Add(2 * time.Hour)},
		"a responder whose certificate is early": {early.answer(t, nil, Single{ID: id, ThisUpdate: early.now}), a.now.Add(-2 * time.Hour)},
	} {
		r, err := ParseResponse(c.der)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := r.Verify(a.issuer, c.at); err == nil {
			t.Errorf("%s verifies", name)
		}
	}
}

func TestWhatWouldBeFalseIsNotSigned(t *testing.T) {
	a := newAuthority(t, "ecdsa-p256", big.NewInt(5))
	good := a.good(a.id(t, crypto.SHA1))
	with := func(change func(*Single)) []Single {
		s := good
		change(&s)
		return []Single{s}
	}
	for name, singles := range map[string][]Single{
		"nothing":                  nil,
		"too much":                 make([]Single, 33),
		"no id":                    with(func(s *Single) { s.ID = CertID{} }),
		"a status that is none":    with(func(s *Single) { s.Status = 3 }),
		"a revocation at no time":  with(func(s *Single) { s.Status = Revoked }),
		"reason 7":                 with(func(s *Single) { s.Status, s.RevokedAt, s.Reason = Revoked, a.now, 7 }),
		"removeFromCRL":            with(func(s *Single) { s.Status, s.RevokedAt, s.Reason = Revoked, a.now, pki.RemoveFromCRL }),
		"no thisUpdate":            with(func(s *Single) { s.ThisUpdate = time.Time{} }),
		"thisUpdate in the future": with(func(s *Single) { s.ThisUpdate = a.now.Add(time.Minute) }),
		"nextUpdate before it":     with(func(s *Single) { s.NextUpdate = s.ThisUpdate }),
		"a year that has no place": with(func(s *Single) { s.NextUpdate = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
	} {
		template := ResponseTemplate{Responder: a.responder, ProducedAt: a.now, Singles: singles}
		if _, err := template.Sign(a.respKey); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	for name, template := range map[string]ResponseTemplate{
		"no responder":      {ProducedAt: a.now, Singles: []Single{good}},
		"another responder": {Responder: a.issuer, ProducedAt: a.now, Singles: []Single{good}},
		"a long nonce":      {Responder: a.responder, ProducedAt: a.now, Singles: []Single{good}, Nonce: make([]byte, 129)},
	} {
		if _, err := template.Sign(a.respKey); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

func TestResponsesThatCannotBeReadAreRefused(t *testing.T) {
	a := newAuthority(t, "ed25519", big.NewInt(5))
	good := a.answer(t, []byte("nonce"), a.good(a.id(t, crypto.SHA1)))
	for i := range good {
		if _, err := ParseResponse(good[:i]); err == nil {
			t.Errorf("cut to %d octets it is read", i)
		}
	}
	for name, der := range map[string][]byte{
		"trailing garbage":          append(bytes.Clone(good), 0),
		"success without an answer": ErrorResponse(Successful),
		"code 4":                    ErrorResponse(4),
		"an unknown type":           bytes.Replace(good, []byte(oidBasic), []byte(oidNonce), 1),
		"an unknown algorithm":      bytes.ReplaceAll(good, []byte("\x2b\x65\x70"), []byte("\x2b\x65\x7f")),
		"much":                      make([]byte, MaxResponse+1),
	} {
		if _, err := ParseResponse(der); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func FuzzParseResponse(f *testing.F) {
	a := newAuthority(f, "ed25519", big.NewInt(5))
	id := a.id(f, crypto.SHA1)
	good := a.answer(f, []byte("nonce"), a.good(id), Single{ID: id, Status: Revoked, RevokedAt: a.now, Reason: 1, ThisUpdate: a.now})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(ErrorResponse(TryLater))
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseResponse(der)
		if err != nil {
			return
		}
		if r.Verify(a.issuer, a.now) == nil && !bytes.Equal(der, good) {
			back, err := ParseResponse(good)
			if err != nil || !bytes.Equal(back.data, r.data) {
				t.Fatalf("%x verifies", der)
			}
		}
	})
}
