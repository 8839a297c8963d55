package local_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/issuer/issuertest"
	"github.com/leafward/leafward/internal/issuer/local"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/plugin"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// world is a server with its authorities and the plugin over them.
type world struct {
	issuer.Plugin
	ca  *ca.CA
	db  *store.DB
	ctx context.Context
}

func start(t *testing.T, db *store.DB) *world {
	t.Helper()
	linter, err := lint.New()
	check(t, err)
	authorities, err := ca.New(ca.Config{DB: db, Master: keys.GenerateMaster(), Lint: linter, Dummy: pki.NewDummy(), BaseURL: "http://pki.example.com"})
	check(t, err)
	ctx := storetest.Admin(t.Context())
	check(t, authorities.Bootstrap(ctx))
	return &world{local.Plugin(authorities), authorities, db, ctx}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// config writes a configuration as a client does.
func config(t *testing.T, values map[string]any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(values)
	check(t, err)
	return text
}

func (w *world) create(t *testing.T, name string, values map[string]any) (leafward.Issuer, error) {
	t.Helper()
	row := leafward.Issuer{Name: name, Type: leafward.GenericCA, Config: json.RawMessage("{}"), Secrets: []string{}, Enabled: true}
	return w.Create(w.ctx, row, config(t, values))
}

func (w *world) certificate(t *testing.T, id string) *x509.Certificate {
	t.Helper()
	der, err := w.ca.Certificate(w.ctx, id)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert
}

func TestTheLocalIssuerKeepsTheContract(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		der, err := w.ca.Root(w.ctx)
		check(t, err)
		root, err := x509.ParseCertificate(der)
		check(t, err)
		made, err := w.create(t, "corp", map[string]any{})
		check(t, err)
		subjects := map[string]issuertest.Subject{ca.LocalIssuer: {Root: root}, made.ID: {Root: w.certificate(t, made.ID)}}
		for id, s := range subjects {
			t.Run(id[:3], func(t *testing.T) {
				issuertest.Run(t, func(t *testing.T) issuertest.Subject {
					open, err := w.Open(w.ctx, id, nil)
					check(t, err)
					s.Issuer, s.Context = apart{open.(tested), t.Name()}, w.ctx
					return s
				})
			})
		}
	})
}

type tested interface {
	issuer.Issuer
	issuer.Tester
}

// apart keeps the requests of several tests on one server apart.
type apart struct {
	tested
	prefix string
}

func (a apart) Issue(ctx context.Context, r issuer.Request) (issuer.Chain, error) {
	r.ID = a.prefix + r.ID
	return a.tested.Issue(ctx, r)
}

func TestEverySettingIsObeyed(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	for _, algorithm := range []string{"ECDSA-P256", "ECDSA-P384", "Ed25519", "RSA-2048", "RSA-3072", "RSA-4096"} {
		made, err := w.create(t, "root "+algorithm, map[string]any{"key_algorithm": algorithm, "common_name": "Corp Root " + algorithm, "organization": "Corp", "validity_days": 100})
		check(t, err)
		cert := w.certificate(t, made.ID)
		kind, err := pki.KindOf(cert.PublicKey)
		check(t, err)
		want, err := pki.ParseKeyKind(algorithm)
		check(t, err)
		if kind != want || cert.Subject.CommonName != "Corp Root "+algorithm || !slices.Equal(cert.Subject.Organization, []string{"Corp"}) {
			t.Errorf("%s: %v %v", algorithm, kind, cert.Subject)
		}
		if life := cert.NotAfter.Sub(cert.NotBefore) + time.Second; life != 100*24*time.Hour || cert.CheckSignatureFrom(cert) != nil {
			t.Errorf("%s: it lives %v", algorithm, life)
		}
		below, err := w.create(t, "below "+algorithm, map[string]any{"parent_issuer_id": made.ID, "validity_days": 10})
		check(t, err)
		child := w.certificate(t, below.ID)
		if child.CheckSignatureFrom(cert) != nil || child.Subject.CommonName != "below "+algorithm || !child.MaxPathLenZero || len(child.CRLDistributionPoints) != 1 {
			t.Errorf("below %s: %v", algorithm, child.Subject)
		}
		open, err := w.Open(w.ctx, below.ID, nil)
		check(t, err)
		steps, err := open.(issuer.Tester).Test(w.ctx)
		check(t, err)
		if last := steps[len(steps)-1]; !last.OK {
			t.Errorf("%s: %+v", algorithm, last)
		}
	}
	rootID := strings.TrimPrefix(w.certificate(t, ca.LocalIssuer).CRLDistributionPoints[0], "http://pki.example.com"+ca.PathCRL)
	second, err := w.create(t, "second", map[string]any{"parent_issuer_id": rootID})
	check(t, err)
	check(t, w.certificate(t, second.ID).CheckSignatureFrom(w.certificate(t, rootID)))
	made, err := w.create(t, "plain", nil)
	check(t, err)
	if cert := w.certificate(t, made.ID); cert.Subject.CommonName != "plain" || cert.NotAfter.Sub(cert.NotBefore)+time.Second != ca.RootLife {
		t.Errorf("without settings: %v", cert.Subject)
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	for name, c := range map[string]struct {
		values map[string]any
		fields []string
	}{
		"odd values":    {map[string]any{"key_algorithm": "RSA-1024", "validity_days": 0, "organization": "a\u200bb", "shoe": 1}, []string{"key_algorithm", "organization", "shoe", "validity_days"}},
		"both ways":     {map[string]any{"certificate_pem": "x", "common_name": "y"}, []string{"certificate_pem", "common_name", "private_key_pem"}},
		"key alone":     {map[string]any{"private_key_pem": "x"}, []string{"certificate_pem", "private_key_pem"}},
		"no such above": {map[string]any{"parent_issuer_id": "iss-none"}, []string{"parent_issuer_id"}},
		"too deep":      {map[string]any{"parent_issuer_id": ca.LocalIssuer}, []string{"parent_issuer_id"}},
	} {
		_, err := w.create(t, "one", c.values)
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || e.Kind != leafward.Invalid {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		found := map[string]bool{}
		for _, f := range e.Fields {
			found[f.Field] = true
		}
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, c.fields) {
			t.Errorf("%s: fields %q, want %q", name, got, c.fields)
		}
	}
	if _, err := w.create(t, "local", nil); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("a taken name gave %v", err)
	}
}

// foreign is an authority made elsewhere, below a root made elsewhere.
func foreign(t *testing.T, usage x509.KeyUsage, age time.Duration) (chain [][]byte, key crypto.Signer) {
	t.Helper()
	dummy := pki.NewDummy()
	sign := func(template pki.Template, issuer pki.Issuer, pub crypto.PublicKey, signer crypto.Signer) []byte {
		draft, err := dummy.BuildTBS(template, issuer, pub)
		check(t, err)
		der, err := pki.SignTBS(draft.TBS, signer)
		check(t, err)
		return der
	}
	kind := pki.KeyKind{Algorithm: pki.ECDSA, Size: 384}
	rootKey, err := pki.GenerateKey(kind)
	check(t, err)
	key, err = pki.GenerateKey(kind)
	check(t, err)
	template := pki.Template{Serial: pki.NewSerial(), Subject: pki.Subject{CommonName: "Elsewhere Root"}, NotBefore: time.Now().Add(-age), TTL: 1000 * 24 * time.Hour, CA: true, PathLen: pki.NoPathLen}
	self, err := template.SelfIssuer(rootKey.Public())
	check(t, err)
	root := sign(template, self, rootKey.Public(), rootKey)
	template.Serial, template.Subject.CommonName, template.PathLen, template.KeyUsage, template.TTL = pki.NewSerial(), "Elsewhere Issuing", 0, usage, 100*24*time.Hour
	return [][]byte{sign(template, self, key.Public(), rootKey), root}, key
}

func TestAnAuthorityMadeElsewhereIsImported(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		chain, key := foreign(t, 0, time.Hour)
		text, err := pki.EncodePrivateKey(key)
		check(t, err)
		values := map[string]any{"certificate_pem": string(pki.EncodeChain(chain[1], chain[0])), "private_key_pem": string(text)}
		made, err := w.create(t, "imported", values)
		check(t, err)
		root, err := x509.ParseCertificate(chain[1])
		check(t, err)
		open, err := w.Open(w.ctx, made.ID, nil)
		check(t, err)
		issuertest.Run(t, func(t *testing.T) issuertest.Subject {
			return issuertest.Subject{Issuer: apart{open.(tested), t.Name()}, Root: root, Context: w.ctx}
		})
		list, err := w.ca.CRL(w.ctx, made.ID)
		check(t, err)
		crl, err := x509.ParseRevocationList(list.DER)
		check(t, err)
		check(t, crl.CheckSignatureFrom(w.certificate(t, made.ID)))
		if _, err := w.create(t, "again", values); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("the same authority twice gave %v", err)
		}
		check(t, db.View(w.ctx, func(v *store.View) error {
			a, found, err := v.AuthorityOf(hex.EncodeToString(root.SubjectKeyId), root.RawSubject)
			if !found || a.Custody != "external" {
				t.Errorf("the root above is %+v", a)
			}
			return err
		}))
	})
}

func TestAuthoritiesThatCouldNotWorkAreNotImported(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	_, strange := foreign(t, 0, time.Hour)
	for name, c := range map[string]struct {
		usage x509.KeyUsage
		age   time.Duration
		key   crypto.Signer
		field string
	}{
		"without cRLSign":  {x509.KeyUsageCertSign, time.Hour, nil, "certificate_pem"},
		"expired":          {0, 200 * 24 * time.Hour, nil, "certificate_pem"},
		"with another key": {0, time.Hour, strange, "private_key_pem"},
	} {
		chain, key := foreign(t, c.usage, c.age)
		if c.key != nil {
			key = c.key
		}
		text, err := pki.EncodePrivateKey(key)
		check(t, err)
		_, err = w.create(t, "imported", map[string]any{"certificate_pem": string(pki.EncodeChain(chain...)), "private_key_pem": string(text)})
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || len(e.Fields) != 1 || e.Fields[0].Field != c.field {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAnIssuerKeepsItsAuthorityForLife(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	old := config(t, map[string]any{"common_name": "one", "validity_days": 10})
	check(t, w.Change(old, old))
	if err := w.Change(old, config(t, map[string]any{"common_name": "two", "validity_days": 10})); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("another name gave %v", err)
	}
	root, err := w.create(t, "root", nil)
	check(t, err)
	below, err := w.create(t, "below", map[string]any{"parent_issuer_id": root.ID})
	check(t, err)
	if err := w.Delete(w.ctx, root.ID, ""); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("a root with an authority below it: %v", err)
	}
	check(t, w.Delete(w.ctx, below.ID, ""))
	check(t, w.Delete(w.ctx, root.ID, ""))
	if list, err := w.ca.CRL(w.ctx, below.Authority); err != nil || len(list.DER) == 0 {
		t.Errorf("the authority of a removed issuer has no CRL: %v", err)
	}
	if _, err := w.ca.Issue(w.ctx, ca.Order{Authority: below.Authority, Request: "r-1", PublicKey: w.certificate(t, below.Authority).PublicKey, TTL: time.Hour}); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("the authority of a removed issuer signs: %v", err)
	}
}

func TestTheConfigurationIsDocumented(t *testing.T) {
	schema, err := plugin.Schema(local.Config{})
	check(t, err)
	if n := len(schema["properties"].(map[string]any)); n != 7 {
		t.Errorf("%d settings", n)
	}
}
