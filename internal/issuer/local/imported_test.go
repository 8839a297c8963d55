package local_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// elsewhere makes a root and an authority below it, as software that is not ours does.
func elsewhere(t *testing.T, change func(root, sub *x509.Certificate)) (chain [][]byte, key crypto.Signer) {
	t.Helper()
	kind := pki.KeyKind{Algorithm: pki.ECDSA, Size: 256}
	rootKey, err := pki.GenerateKey(kind)
	check(t, err)
	key, err = pki.GenerateKey(kind)
	check(t, err)
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: pki.NewSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: pki.NewSerial().Bytes(),
		}
	}
	root, sub := authority("Root"), authority("Sub")
	change(root, sub)
	for _, make := range []struct {
		cert, by *x509.Certificate
		public   crypto.PublicKey
	}{{sub, root, key.Public()}, {root, root, rootKey.Public()}} {
		der, err := x509.CreateCertificate(rand.Reader, make.cert, make.by, make.public, rootKey)
		check(t, err)
		chain = append(chain, der)
	}
	return chain, key
}

// imports has an issuer made of an authority.
func (w *world) imports(t *testing.T, name string, chain [][]byte, key crypto.Signer) (leafward.Issuer, error) {
	t.Helper()
	text, err := pki.EncodePrivateKey(key)
	check(t, err)
	return w.create(t, name, map[string]any{"certificate_pem": string(pki.EncodeChain(chain...)), "private_key_pem": string(text)})
}

func TestAChainThatNobodyWouldAcceptIsNotImported(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	for says, change := range map[string]func(root, sub *x509.Certificate){
		"expired":                func(root, _ *x509.Certificate) { root.NotAfter = time.Now().Add(-time.Hour) },
		"empty subject":          func(_, sub *x509.Certificate) { sub.Subject = pkix.Name{} },
		"invisible characters":   func(_, sub *x509.Certificate) { sub.Subject.CommonName = "a\u202eb" },
		"may have 0 authorities": func(root, _ *x509.Certificate) { root.MaxPathLen, root.MaxPathLenZero = 0, true },
		"unhandled critical": func(_, sub *x509.Certificate) {
			sub.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: asn1.NullBytes}}
		},
	} {
		chain, key := elsewhere(t, change)
		_, err := w.imports(t, "imported", chain, key)
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || len(e.Fields) != 1 || e.Fields[0].Field != "certificate_pem" || !strings.Contains(e.Fields[0].Problem, says) {
			t.Errorf("%s: got %+v", says, e)
		}
	}
}

func TestWhatCannotBeTakenAsItWasSentIsNotCalledMissing(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	chain, key := elsewhere(t, func(_, _ *x509.Certificate) {})
	private, err := pki.EncodePrivateKey(key)
	check(t, err)
	certificates := string(pki.EncodeChain(chain...))
	for name, c := range map[string]struct {
		values map[string]any
		says   map[string]string
	}{
		"a long certificate":        {map[string]any{"certificate_pem": strings.Repeat("x", 65537), "private_key_pem": string(private)}, map[string]string{"certificate_pem": "at most 65536"}},
		"a long certificate alone":  {map[string]any{"certificate_pem": strings.Repeat("x", 65537)}, map[string]string{"certificate_pem": "at most 65536", "private_key_pem": "missing"}},
		"a long key":                {map[string]any{"certificate_pem": certificates, "private_key_pem": strings.Repeat("x", 32769)}, map[string]string{"private_key_pem": "at most 32768"}},
		"a certificate of a number": {map[string]any{"certificate_pem": 5, "private_key_pem": string(private)}, map[string]string{"certificate_pem": "must be a string"}},
		"a key of a number":         {map[string]any{"certificate_pem": certificates, "private_key_pem": 5}, map[string]string{"private_key_pem": "must be a string"}},
	} {
		_, err := w.create(t, "imported", c.values)
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || len(e.Fields) != len(c.says) {
			t.Errorf("%s: got %+v", name, e)
			continue
		}
		for _, f := range e.Fields {
			if says := c.says[f.Field]; says == "" || !strings.Contains(f.Problem, says) {
				t.Errorf("%s: %s %s", name, f.Field, f.Problem)
			}
		}
	}
}

func TestTheSameAuthorityIsImportedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		chain, key := elsewhere(t, func(_, _ *x509.Certificate) {})
		_, err := w.imports(t, "first", chain, key)
		check(t, err)
		_, err = w.imports(t, "second", chain, key)
		if leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "known here already") {
			t.Error(err)
		}
	})
}

func TestWhatBindsAnImportedAuthorityBindsWhatItSigns(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	named := func(_, sub *x509.Certificate) {
		sub.PermittedDNSDomains, sub.PermittedDNSDomainsCritical = []string{"corp.example"}, true
	}
	used := func(_, sub *x509.Certificate) { sub.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	for _, c := range []struct {
		what   string
		change func(root, sub *x509.Certificate)
		name   string
		usage  string
		fine   bool
	}{
		{"a name that is allowed", named, "a.corp.example", pki.ServerAuth, true},
		{"a name that is not", named, "a.example.com", pki.ServerAuth, false},
		{"a usage that is allowed", used, "a.example.com", pki.ClientAuth, true},
		{"a usage that is not", used, "a.example.com", pki.ServerAuth, false},
	} {
		chain, key := elsewhere(t, c.change)
		row, err := w.imports(t, c.what, chain, key)
		check(t, err)
		open, err := w.Open(w.ctx, row.ID, nil)
		check(t, err)
		steps, err := open.(issuer.Tester).Test(w.ctx)
		check(t, err)
		if last := steps[len(steps)-1]; !last.OK {
			t.Errorf("%s: its test says %+v", c.what, last)
		}
		leaf, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
		check(t, err)
		_, err = open.Issue(w.ctx, issuer.Request{ID: c.what, Names: pki.Names{DNS: []string{c.name}}, PublicKey: leaf.Public(), EKUs: []string{c.usage}, TTL: time.Hour})
		if (err == nil) != c.fine || err != nil && (leafward.KindOf(err) != leafward.Invalid || !strings.Contains(err.Error(), "may not have")) {
			t.Errorf("%s: got %v", c.what, err)
		}
	}
}

func TestAnIssuerThatCouldNotSignIsToldByItsTest(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	for name, breaks := range map[string]func(tx *store.Tx, a *leafward.Authority) error{
		"validity": func(tx *store.Tx, a *leafward.Authority) error {
			a.State = leafward.AuthorityRetiring
			tx.PutAuthority(a)
			return nil
		},
		"key": func(tx *store.Tx, a *leafward.Authority) error {
			key, err := tx.KeyPair(a.Key)
			key.Sealed = key.Sealed[:len(key.Sealed)-1]
			tx.PutKeyPair(&key)
			return err
		},
	} {
		row, err := w.create(t, name, map[string]any{})
		check(t, err)
		open, err := w.Open(w.ctx, row.ID, nil)
		check(t, err)
		last := func() leafward.Step {
			steps, err := open.(issuer.Tester).Test(w.ctx)
			check(t, err)
			return steps[len(steps)-1]
		}
		if step := last(); !step.OK || step.Name != "crl" {
			t.Errorf("a good issuer: %+v", step)
		}
		check(t, w.db.Write(w.ctx, func(tx *store.Tx) error {
			a, err := tx.Authority(row.Authority)
			if err != nil {
				return err
			}
			return breaks(tx, &a)
		}))
		if step := last(); step.OK || step.Name != name {
			t.Errorf("%s is broken, and the test ends with %+v", name, step)
		}
	}
}
