package ca_test

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestTheFirstStartMakesARootAndAnIssuingAuthority(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, publicURL)
		der, err := w.Root(w.ctx)
		check(t, err)
		root, issuing := parse(t, der), w.certificate(t, ca.LocalIssuer)
		check(t, issuing.CheckSignatureFrom(root))
		if pki.CheckPublicKey(root.PublicKey) != nil || kind(t, root) != "ecdsa-p384" || kind(t, issuing) != "ecdsa-p256" {
			t.Errorf("the keys are %s and %s", kind(t, root), kind(t, issuing))
		}
		const usage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		if root.KeyUsage != usage || issuing.KeyUsage != usage || !issuing.MaxPathLenZero || len(issuing.OCSPServer) > 0 {
			t.Errorf("usages %b and %b, path length zero %t, OCSP %q", root.KeyUsage, issuing.KeyUsage, issuing.MaxPathLenZero, issuing.OCSPServer)
		}
		if years := root.NotAfter.Year() - root.NotBefore.Year(); years < 19 || years > 20 {
			t.Errorf("the root is valid for %d years", years)
		}
		if years := issuing.NotAfter.Sub(issuing.NotBefore).Hours() / 24 / 365; years < 4.9 || years > 5.1 {
			t.Errorf("the issuing authority is valid for %.1f years", years)
		}
		if len(issuing.CRLDistributionPoints) != 1 || len(issuing.IssuingCertificateURL) != 1 || len(root.CRLDistributionPoints) != 0 {
			t.Errorf("addresses %q, %q, %q", issuing.CRLDistributionPoints, issuing.IssuingCertificateURL, root.CRLDistributionPoints)
		}
		sound(t, w, ca.LocalIssuer)
		again := w.restart(t, publicURL)
		if got, err := again.Root(w.ctx); err != nil || string(got) != string(der) {
			t.Errorf("the second start has another root: %v", err)
		}
		list := w.list(t, ca.LocalIssuer)
		if stored := again.list(t, ca.LocalIssuer); string(stored.Raw) != string(list.Raw) {
			t.Error("the second start has another CRL")
		}
		if len(list.RevokedCertificateEntries) != 0 || list.NextUpdate.Sub(list.ThisUpdate) != 24*time.Hour {
			t.Errorf("the first CRL is %+v", list)
		}
	})
}

func kind(t *testing.T, cert *x509.Certificate) string {
	t.Helper()
	k, err := pki.KindOf(cert.PublicKey)
	check(t, err)
	return k.String()
}

func TestALeafHoldsWhatWasOrderedAndItsAddresses(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	issued := w.issue(t, order(t, "r-1"))
	leaf := parse(t, issued.Certificate)
	if life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; life != 90*24*time.Hour {
		t.Errorf("both ends counted it lives %v", life)
	}
	if age := time.Since(leaf.NotBefore); age < 5*time.Minute || age > 6*time.Minute {
		t.Errorf("it is back-dated by %v", age)
	}
	base := publicURL + "/.well-known/pki/"
	for want, got := range map[string][]string{
		base + "crl/" + issued.Authority: leaf.CRLDistributionPoints, base + "ocsp/" + issued.Authority: leaf.OCSPServer, base + "ca/" + issued.Authority: leaf.IssuingCertificateURL,
	} {
		if !slices.Equal(got, []string{want}) {
			t.Errorf("it has %q, want %q", got, want)
		}
	}
	if len(issued.Chain) != 1 || issued.Serial != pki.SerialHex(leaf.SerialNumber) {
		t.Errorf("a chain of %d above it, serial %s", len(issued.Chain), issued.Serial)
	}
	short := order(t, "r-2")
	short.ShortLived, short.TTL = true, time.Hour
	leaf = parse(t, w.issue(t, short).Certificate)
	if len(leaf.CRLDistributionPoints)+len(leaf.OCSPServer) > 0 || len(leaf.IssuingCertificateURL) != 1 {
		t.Errorf("the short-lived one has %q and %q", leaf.CRLDistributionPoints, leaf.OCSPServer)
	}
}

func TestOrdersThatMakeNoRightCertificateAreRefused(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	issuing := w.certificate(t, ca.LocalIssuer)
	for name, c := range map[string]struct {
		change func(*ca.Order)
		kind   leafward.Kind
	}{
		"past the authority's end":  {func(o *ca.Order) { o.TTL = 6 * 365 * 24 * time.Hour }, leafward.Invalid},
		"longer than the profile's": {func(o *ca.Order) { o.MaxTTL = 24 * time.Hour }, leafward.Invalid},
		"without name":              {func(o *ca.Order) { o.Subject, o.Names = pki.Subject{}, pki.Names{} }, leafward.Invalid},
		"an authority's key":        {func(o *ca.Order) { o.PublicKey = issuing.PublicKey }, leafward.Denied},
		"an unknown issuer":         {func(o *ca.Order) { o.Authority = "iss-none" }, leafward.NotFound},
		"a zero-width name":         {func(o *ca.Order) { o.Subject.CommonName = "a\u200bb" }, leafward.Invalid},
	} {
		o := order(t, "r-"+name)
		c.change(&o)
		if _, err := w.Issue(w.ctx, o); leafward.KindOf(err) != c.kind {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cut := order(t, "r-cut")
	cut.TTL, cut.CutToIssuer = 6*365*24*time.Hour, true
	if issued := w.issue(t, cut); !issued.NotAfter.Equal(issuing.NotAfter) {
		t.Errorf("the cut one ends on %v, its authority on %v", issued.NotAfter, issuing.NotAfter)
	}
}

func TestWhatFailsALintIsNeitherReservedNorSigned(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	for name, change := range map[string]func(*ca.Order){
		"our own": func(o *ca.Order) { o.MaxTTL = 24 * time.Hour },
		"zlint": func(o *ca.Order) {
			o.Names.DNS, o.PublicLike, o.TTL = []string{"www.example.com"}, true, 400*24*time.Hour
		},
	} {
		o := order(t, "r-"+name)
		change(&o)
		if _, err := w.Issue(w.ctx, o); leafward.KindOf(err) != leafward.Invalid || !strings.Contains(err.Error(), "the certificate fails") {
			t.Errorf("%s: got %v", name, err)
		}
		check(t, w.config.DB.View(w.ctx, func(v *store.View) error {
			s, found, err := v.LastSerial(o.Request)
			if found {
				t.Errorf("%s: the serial %s was reserved", name, s.Serial)
			}
			return err
		}))
	}
}

func TestEveryKindOfKeyIsCertifiedUnderEveryKindOfAuthority(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	keys := map[string]crypto.PublicKey{}
	kinds := []string{"ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"}
	for _, name := range kinds {
		kind, err := pki.ParseKeyKind(name)
		check(t, err)
		key, err := pki.GenerateKey(kind)
		check(t, err)
		keys[name] = key.Public()
		_, err = w.CreateIssuer(w.ctx, leafward.Issuer{Row: leafward.Row{ID: "iss-" + name}, Name: name, Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}, Enabled: true},
			ca.Spec{Key: kind, Subject: pki.Subject{CommonName: "root " + name}})
		check(t, err)
	}
	for _, by := range kinds {
		root := w.certificate(t, "iss-"+by)
		if kind(t, root) != by {
			t.Errorf("the authority of %s has a key %s", by, kind(t, root))
		}
		for _, of := range kinds {
			o := order(t, by+" "+of)
			o.Authority, o.PublicKey = "iss-"+by, keys[of]
			issued := w.issue(t, o)
			if leaf := parse(t, issued.Certificate); kind(t, leaf) != of || w.status(t, "iss-"+by, issued.Serial).Status != ocsp.Good {
				t.Errorf("%s under %s: its key is %s", of, by, kind(t, leaf))
			}
			dir := folder(t, map[string][]byte{"root.pem": root.Raw, "leaf.pem": issued.Certificate})
			if out, err := openssl(t, dir, "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "root.pem", "leaf.pem"); err != nil {
				t.Error(out)
			}
		}
	}
}

func TestEveryCRLIsValidForADay(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	_, err := w.adopt(t, newElsewhere(t), 0, 2)
	check(t, err)
	own := 0
	check(t, w.config.DB.View(w.ctx, func(v *store.View) error {
		all, err := v.Authorities()
		for _, a := range all {
			if a.Custody != "local" {
				continue
			}
			own++
			if list := w.list(t, a.ID); list.NextUpdate.Sub(list.ThisUpdate) != 24*time.Hour {
				t.Errorf("that of %s is valid for %v", a.Name, list.NextUpdate.Sub(list.ThisUpdate))
			}
		}
		return err
	}))
	if own != 3 { // root, issuing, imported
		t.Errorf("%d authorities", own)
	}
}

func TestACompromisedKeyIsNotCertifiedAgain(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	o := order(t, "r-1")
	spki, err := pki.SPKISHA256(o.PublicKey)
	check(t, err)
	check(t, w.config.DB.Write(w.ctx, func(tx *store.Tx) error {
		tx.AddKeyPair(&leafward.Key{SPKI: spki, Custody: leafward.ClientKey, CompromisedAt: tx.Now})
		return nil
	}))
	if _, err := w.Issue(w.ctx, o); leafward.KindOf(err) != leafward.Denied {
		t.Fatalf("got %v", err)
	}
}

func TestARequestThatIsRepeatedGetsTheSameSerial(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		o := order(t, "r-1")
		first, err := w.Issue(w.ctx, o)
		check(t, err)
		second, err := w.restart(t, "").Issue(w.ctx, o)
		check(t, err)
		if first.Serial != second.Serial || string(parse(t, first.Certificate).RawTBSCertificate) != string(parse(t, second.Certificate).RawTBSCertificate) {
			t.Fatalf("serials %s and %s, or other content", first.Serial, second.Serial)
		}
		other := o
		other.PublicKey = newKey(t).Public()
		if _, err := w.Issue(w.ctx, other); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("another key gave %v", err)
		}
		if got := w.status(t, first.Authority, first.Serial); got.Status != ocsp.Unknown {
			t.Errorf("before it is stored it is %v", got.Status)
		}
		check(t, w.mark(second))
		if err := w.mark(first); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("it was stored twice: %v", err)
		}
		if _, err := w.Issue(w.ctx, o); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("after it was stored: %v", err)
		}
		if got := w.status(t, first.Authority, first.Serial); got.Status != ocsp.Good {
			t.Errorf("after it is stored it is %v", got.Status)
		}
	})
}

func TestManyIssueAndRevokeAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		const workers, each = 16, 6
		serials := make([][]ca.Issued, workers)
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				for n := range each {
					o := order(t, fmt.Sprintf("r-%d-%d", i, n))
					issued, err := w.Issue(w.ctx, o)
					if err == nil {
						err = w.mark(issued)
					}
					if err == nil && n%2 == 0 {
						_, err = w.revoke(issued, leafward.Superseded)
					}
					if err != nil {
						t.Error(err)
						return
					}
					serials[i] = append(serials[i], issued)
				}
			})
		}
		wg.Wait()
		all := slices.Concat(serials...)
		seen := map[string]bool{}
		for _, issued := range all {
			seen[issued.Serial] = true
		}
		if len(seen) != workers*each {
			t.Fatalf("%d different serials of %d", len(seen), workers*each)
		}
		list := w.publish(t, ca.LocalIssuer, func(list *x509.RevocationList) bool {
			return len(list.RevokedCertificateEntries) == workers*each/2
		})
		for i, issued := range all {
			revoked := i%each%2 == 0
			if holds(issued.Serial)(list) != revoked || (w.status(t, issued.Authority, issued.Serial).Status == ocsp.Revoked) != revoked {
				t.Errorf("certificate %d: revoked is %t, and CRL or OCSP say otherwise", i, revoked)
			}
		}
		check(t, db.View(w.ctx, func(v *store.View) error {
			left, err := v.Unpublished(w.issuingID(t))
			if len(left) > 0 {
				t.Errorf("%d revocations are still to be published", len(left))
			}
			return err
		}))
	})
}

func TestWorkersOfOneRequestShareItsSerial(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "")
		o := order(t, "r-1")
		serials := make([]string, 8)
		var wg sync.WaitGroup
		for i := range serials {
			wg.Go(func() {
				issued, err := w.Issue(w.ctx, o)
				if err != nil {
					t.Error(err)
				}
				serials[i] = issued.Serial
			})
		}
		wg.Wait()
		if slices.Sort(serials); serials[0] != serials[len(serials)-1] {
			t.Fatalf("got %q", serials)
		}
	})
}

func TestAPublicURLGivesTheAuthorityANewCertificateForItsKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, "http://127.0.0.1:8480")
		before := w.certificate(t, ca.LocalIssuer)
		if len(before.CRLDistributionPoints)+len(before.IssuingCertificateURL) > 0 {
			t.Fatalf("a loopback address stands in the certificate: %q", before.CRLDistributionPoints)
		}
		old := w.issue(t, order(t, "r-1"))
		w = w.restart(t, publicURL)
		after := w.certificate(t, ca.LocalIssuer)
		if len(after.CRLDistributionPoints) != 1 || string(after.RawSubjectPublicKeyInfo) != string(before.RawSubjectPublicKeyInfo) || string(after.RawSubject) != string(before.RawSubject) {
			t.Fatalf("the new certificate is %+v", after)
		}
		check(t, parse(t, old.Certificate).CheckSignatureFrom(after))
		if got := w.status(t, old.Authority, old.Serial); got.Status != ocsp.Good {
			t.Errorf("the old leaf is %v", got.Status)
		}
		third := w.restart(t, publicURL)
		if !third.certificate(t, ca.LocalIssuer).Equal(after) {
			t.Error("the next start made yet another certificate")
		}
		check(t, db.View(w.ctx, func(v *store.View) error {
			all, err := v.CACertificates(w.issuingID(t))
			if len(all) != 2 || all[0].Kind != "issued" || all[1].Kind != "remade" {
				t.Errorf("the authority has %d certificates", len(all))
			}
			return err
		}))
	})
}

func TestAServerWithAnotherMasterKeyRefusesToStart(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), "")
	stranger := start(t, storetest.SQLite(t, nil), "")
	config := w.config
	config.Master = stranger.config.Master
	other, err := ca.New(config)
	check(t, err)
	if err := other.Bootstrap(w.ctx); leafward.KindOf(err) != leafward.Internal {
		t.Fatalf("got %v", err)
	}
}

func TestOddPublicURLsAreRefused(t *testing.T) {
	for _, url := range []string{"https://pki.example.com", "pki.example.com", "http://", "http://a@b", "http://a?b", "ftp://a", "http://a\x00"} {
		if _, err := ca.New(ca.Config{BaseURL: url}); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("%q: got %v", url, err)
		}
	}
}
