package ca

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestATokenIsGoodForOneSignatureOfWhatWasLinted(t *testing.T) {
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	linter, err := lint.New()
	ok(err)
	ctx := storetest.Admin(t.Context())
	c, err := New(Config{DB: storetest.SQLite(t, nil), Master: keys.GenerateMaster(), Lint: linter, Dummy: pki.NewDummy()})
	ok(err)
	ok(c.Bootstrap(ctx))
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	ok(err)
	prepared := func(request string) *token {
		made, err := c.prepare(ctx, Order{Authority: LocalIssuer, Request: request, Subject: pki.Subject{CommonName: "www.example.com"}, PublicKey: key.Public(), TTL: time.Hour})
		ok(err)
		ok(c.reserve(ctx, made))
		return made
	}
	once := prepared("r-1")
	issued, err := c.sign(once)
	ok(err)
	cert, err := pki.ParseCertificate(issued.Certificate)
	if err != nil || !bytes.Equal(cert.RawTBSCertificate, once.serial.TBS) {
		t.Errorf("what was signed is not what was linted: %v", err)
	}
	if again, err := c.sign(once); err == nil || len(again.Certificate) > 0 || !strings.Contains(err.Error(), "used already") {
		t.Errorf("a second signature: %v", err)
	}
	changed := prepared("r-2")
	changed.serial.TBS = bytes.Clone(changed.serial.TBS)
	at := bytes.Index(changed.serial.TBS, []byte("www.example.com"))
	changed.serial.TBS[at] = 'x'
	if other, err := c.sign(changed); leafward.KindOf(err) != leafward.Internal || len(other.Certificate) > 0 {
		t.Errorf("other octets than those that were linted: %v", err)
	}
}
