package ca_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// ask makes a request about serials of an authority.
func (w *world) ask(t *testing.T, hash crypto.Hash, nonce []byte, serials ...string) []byte {
	t.Helper()
	var ids []ocsp.CertID
	for _, text := range serials {
		serial, _ := new(big.Int).SetString(text, 16)
		id, err := ocsp.NewCertID(hash, w.certificate(t, ca.LocalIssuer), serial)
		check(t, err)
		ids = append(ids, id)
	}
	der, err := ocsp.EncodeRequest(ids, nonce)
	check(t, err)
	return der
}

func (w *world) respond(t *testing.T, request []byte) (ca.Answer, ocsp.Response) {
	t.Helper()
	answer, err := w.Respond(w.ctx, ca.LocalIssuer, request)
	check(t, err)
	response, err := ocsp.ParseResponse(answer.DER)
	check(t, err)
	return answer, response
}

func TestTheResponderIsADelegateForOCSPAlone(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	issued := w.issue(t, order(t, "r-1"))
	_, response := w.respond(t, w.ask(t, crypto.SHA256, nil, issued.Serial))
	issuing := w.certificate(t, ca.LocalIssuer)
	check(t, response.Verify(issuing, time.Now()))
	responder := response.Certs[0]
	if life := responder.NotAfter.Sub(responder.NotBefore) + time.Second; life != 14*24*time.Hour || kind(t, responder) != "ecdsa-p256" || responder.IsCA {
		t.Errorf("it lives %v with %s", life, kind(t, responder))
	}
	noCheck := func(e pkix.Extension) bool {
		return e.Id.String() == "1.3.6.1.5.5.7.48.1.5" && string(e.Value) == "\x05\x00"
	} // id-pkix-ocsp-nocheck
	if !slices.Equal(responder.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}) || !slices.ContainsFunc(responder.Extensions, noCheck) || len(responder.OCSPServer)+len(responder.CRLDistributionPoints) > 0 {
		t.Errorf("it is for %v, with %v", responder.ExtKeyUsage, responder.Extensions)
	}
	if got := w.status(t, issued.Authority, pki.SerialHex(responder.SerialNumber)); got.Status != ocsp.Good {
		t.Errorf("its own serial is %v", got.Status)
	}
	_, again := w.restart(t, publicURL).respond(t, w.ask(t, crypto.SHA256, []byte("12345678"), issued.Serial))
	if !again.Certs[0].Equal(responder) {
		t.Error("another process has another responder")
	}
}

func TestAnswersAreKeptWithoutANonceAndDroppedByARevocation(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	issued := w.issue(t, order(t, "r-1"))
	plain := w.ask(t, crypto.SHA1, nil, issued.Serial)
	first, _ := w.respond(t, plain)
	second, _ := w.respond(t, plain)
	if string(first.DER) != string(second.DER) || first.MaxAge != 5*time.Minute || time.Until(first.NextUpdate) > 24*time.Hour {
		t.Errorf("the answer was not kept, or may be kept for %v until %v", first.MaxAge, first.NextUpdate)
	}
	nonce := []byte("0123456789abcdef")
	one, response := w.respond(t, w.ask(t, crypto.SHA1, nonce, issued.Serial))
	two, _ := w.respond(t, w.ask(t, crypto.SHA1, nonce, issued.Serial))
	if string(one.DER) == string(two.DER) || string(response.Nonce) != string(nonce) || one.MaxAge != 0 {
		t.Error("an answer with a nonce was kept, or has not the nonce")
	}
	if _, err := w.revoke(issued, leafward.Superseded); err != nil {
		t.Fatal(err)
	}
	if _, response := w.respond(t, plain); response.Singles[0].Status != ocsp.Revoked {
		t.Error("the kept answer is given after the revocation")
	}
}

func TestQuestionsThatAreNotOursGetNoStatus(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	stranger := start(t, storetest.SQLite(t, nil), "")
	ours, theirs := w.issue(t, order(t, "r-1")), stranger.issue(t, order(t, "r-1"))
	for name, c := range map[string]struct {
		request []byte
		code    ocsp.Code
	}{
		"another issuer":   {stranger.ask(t, crypto.SHA1, nil, theirs.Serial), ocsp.Unauthorized},
		"nothing":          {nil, ocsp.MalformedRequest},
		"trailing garbage": {append(w.ask(t, crypto.SHA1, nil, ours.Serial), 0), ocsp.MalformedRequest},
		"a huge request":   {make([]byte, 10_000), ocsp.MalformedRequest},
	} {
		answer, response := w.respond(t, c.request)
		if response.Code != c.code || answer.Code != c.code || answer.MaxAge != 0 {
			t.Errorf("%s: %v, kept %v", name, response.Code, answer.MaxAge)
		}
	}
	answer, response := w.respond(t, w.ask(t, crypto.SHA256, nil, "1234567890abcdef12"))
	if response.Singles[0].Status != ocsp.Unknown || answer.MaxAge != 0 {
		t.Errorf("an unknown serial is %v, kept %v", response.Singles[0].Status, answer.MaxAge)
	}
	_, response = w.respond(t, w.ask(t, crypto.SHA1, nil, ours.Serial, "77", ours.Serial))
	if len(response.Singles) != 3 || response.Singles[0].Status != ocsp.Good || response.Singles[1].Status != ocsp.Unknown {
		t.Errorf("several at once: %+v", response.Singles)
	}
	if _, err := w.Respond(w.ctx, "iss-none", nil); leafward.KindOf(err) != leafward.NotFound {
		t.Errorf("an unknown id gave %v", err)
	}
}

func TestAnIssuerThatIsNotOursIsSaidToBe(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	check(t, w.config.DB.Write(w.ctx, func(tx *store.Tx) error {
		tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: "iss-acme"}, Name: "acme", Type: "ACME", Config: []byte("{}"), Secrets: []string{}})
		return tx.Err()
	}))
	_, err := w.CRL(w.ctx, "iss-acme")
	_, err2 := w.Respond(w.ctx, "iss-acme", nil)
	if leafward.KindOf(err) != leafward.UnsupportedType || leafward.KindOf(err2) != leafward.UnsupportedType {
		t.Fatalf("got %v and %v", err, err2)
	}
	check(t, w.config.DB.View(w.ctx, func(v *store.View) error {
		states, err := v.CRLStates()
		if len(states) != 3 || states[0].Issuer != "iss-acme" || states[0].Present || !states[1].Present || states[1].Stale || states[1].Size == 0 {
			t.Errorf("the states are %+v", states)
		}
		return err
	}))
}

func TestADatabaseThatIsGoneMakesOCSPTryLaterAndKeepsTheCRL(t *testing.T) {
	db := storetest.Postgres(t, nil)
	w := start(t, db, "")
	issued := w.issue(t, order(t, "r-1"))
	request := w.ask(t, crypto.SHA1, nil, issued.Serial)
	w.respond(t, request)
	before, err := w.CRL(w.ctx, ca.LocalIssuer)
	check(t, err)
	check(t, db.Close())
	answer, err := w.Respond(w.ctx, ca.LocalIssuer, request)
	if err != nil || answer.Code != ocsp.TryLater {
		t.Errorf("OCSP says %v; %v", answer.Code, err)
	}
	after, err := w.CRL(w.ctx, ca.LocalIssuer)
	if err != nil || string(after.DER) != string(before.DER) {
		t.Errorf("the CRL is gone: %v", err)
	}
}

func TestANewAuthorityIsKnownAtOnce(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	issued := w.issue(t, order(t, "r-1"))
	w.respond(t, w.ask(t, crypto.SHA256, nil, issued.Serial)) // from here on unknown hashes are not looked for again for a second
	made, err := w.CreateIssuer(w.ctx, leafward.Issuer{Name: "fresh", Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}, Enabled: true},
		ca.Spec{Key: pki.KeyKind{Algorithm: pki.ECDSA, Size: 256}, Subject: pki.Subject{CommonName: "fresh"}})
	check(t, err)
	o := order(t, "r-2")
	o.Authority = made.ID
	if got := w.status(t, made.ID, w.issue(t, o).Serial); got.Status != ocsp.Good {
		t.Errorf("its certificate is %v", got.Status)
	}
}

func TestWhatCannotBeReadIsAnsweredTryLater(t *testing.T) {
	db := storetest.SQLite(t, nil)
	w := start(t, db, publicURL)
	issued := w.issue(t, order(t, "r-1"))
	request := w.ask(t, crypto.SHA256, nil, issued.Serial)
	check(t, db.Close())
	bySerial, err := w.RespondSerial(w.ctx, issued.Authority, issued.Serial)
	if err != nil || bySerial.Code != ocsp.TryLater {
		t.Errorf("by serial: %v %v", bySerial.Code, err)
	}
	if answer, err := w.Respond(w.ctx, issued.Authority, request); err != nil || answer.Code != ocsp.TryLater {
		t.Errorf("by request: %v %v", answer.Code, err)
	}
}
