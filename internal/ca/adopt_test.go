package ca_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// elsewhere is a root and two authorities below it, each below the one before, as software that is not ours makes them.
type elsewhere struct {
	certs []*x509.Certificate // the root last
	keys  []crypto.Signer
}

// Their key identifiers, from the root down, are those that are given, or random.
func newElsewhere(t *testing.T, ids ...[]byte) (e elsewhere) {
	t.Helper()
	for i, name := range []string{"Elsewhere Root", "Elsewhere Middle", "Elsewhere Issuing"} {
		if i >= len(ids) {
			ids = append(ids, pki.NewSerial().Bytes())
		}
		template := &x509.Certificate{
			SerialNumber: pki.NewSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), SubjectKeyId: ids[i],
			IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, CRLDistributionPoints: []string{"http://elsewhere.example.com/crl"},
		}
		key := newKey(t)
		parent, by := template, key
		if len(e.certs) > 0 {
			parent, by = e.certs[0], e.keys[0]
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		check(t, err)
		e.certs, e.keys = slices.Insert(e.certs, 0, parse(t, der)), slices.Insert(e.keys, 0, key)
	}
	return e
}

// adopt has an issuer made of the authority at a place, with the chain above it up to another place.
func (w *world) adopt(t *testing.T, e elsewhere, at, to int) (leafward.Issuer, error) {
	t.Helper()
	name := e.certs[at].Subject.CommonName
	return w.CreateIssuer(w.ctx, leafward.Issuer{Name: name, Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}, Enabled: true},
		ca.Spec{Certificates: e.certs[at : to+1], PrivateKey: e.keys[at]})
}

func TestAnAuthorityThatIsKnownFromAChainIsImportedInItsPlace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w, e := start(t, db, publicURL), newElsewhere(t)
		made := map[int]leafward.Issuer{}
		for _, at := range []int{0, 2, 1} { // the issuing one with its chain, then those that stand in it, each alone
			row, err := w.adopt(t, e, at, max(at, 2-2*at))
			check(t, err)
			made[at] = row
			sound(t, w, row.ID)
			if !w.certificate(t, row.ID).Equal(e.certs[at]) {
				t.Errorf("authority %d got another certificate", at)
			}
			check(t, w.list(t, row.ID).CheckSignatureFrom(e.certs[at]))
			o := order(t, "r-"+row.ID)
			o.Authority, o.TTL = row.ID, time.Hour
			issued := w.issue(t, o)
			check(t, parse(t, issued.Certificate).CheckSignatureFrom(e.certs[at]))
			if len(issued.Chain) != 2-at || w.status(t, row.ID, issued.Serial).Status != ocsp.Good {
				t.Errorf("authority %d signs with %d certificates above", at, len(issued.Chain))
			}
		}
		check(t, db.View(w.ctx, func(v *store.View) error {
			for at, above := range map[int]string{0: made[1].Authority, 1: made[2].Authority, 2: ""} {
				a, err := v.Authority(made[at].Authority)
				if err != nil || a.Parent != above || a.Custody != "local" {
					t.Errorf("authority %d stands below %q: %v", at, a.Parent, err)
				}
				if above == "" {
					above = a.ID
				}
				if certs, err := v.CACertificates(a.ID); err != nil || len(certs) != 1 || certs[0].Signer != above {
					t.Errorf("authority %d has %d certificates, not one signed by %s: %v", at, len(certs), above, err)
				}
			}
			return nil
		}))
		for at := range 2 {
			if got := w.status(t, made[at+1].Authority, pki.SerialHex(e.certs[at].SerialNumber)); got.Status != ocsp.Good {
				t.Errorf("the certificate of authority %d is %v to the one above it", at, got.Status)
			}
		}
		if _, err := w.adopt(t, e, 2, 2); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("the same authority twice gave %v", err)
		}
	})
}

func TestAChainWhoseAuthorityIsKnownWithAnotherKeyIsNotImported(t *testing.T) {
	w, e := start(t, storetest.SQLite(t, nil), publicURL), newElsewhere(t)
	_, err := w.adopt(t, e, 0, 2)
	check(t, err)
	_, err = w.adopt(t, newElsewhere(t, e.certs[2].SubjectKeyId), 1, 2)
	if leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "Elsewhere Root is here already, with the same name and key identifier and another key") {
		t.Errorf("it is told %v", err)
	}
}

func TestWhatAnImportedAuthoritySignedBeforeIsRevokedWithItsIssuer(t *testing.T) {
	for name, first := range map[string]int{"the one below is there first": 0, "the one above is there first": 1} {
		t.Run(name, func(t *testing.T) {
			w, e := start(t, storetest.SQLite(t, nil), publicURL), newElsewhere(t)
			made := map[int]leafward.Issuer{}
			for _, at := range []int{first, 1 - first} {
				row, err := w.adopt(t, e, at, 2)
				check(t, err)
				made[at] = row
			}
			check(t, w.DeleteIssuer(w.ctx, made[0].ID, ""))
			serial := pki.SerialHex(e.certs[0].SerialNumber)
			if got := w.status(t, made[1].ID, serial); got.Status != ocsp.Revoked || got.Reason != pki.CessationOfOperation {
				t.Errorf("it is %v for %v", got.Status, got.Reason)
			}
			w.publish(t, made[1].ID, holds(serial))
		})
	}
}

func TestACertificateThatWasMadeElsewhereIsNotMadeAnew(t *testing.T) {
	w, e := start(t, storetest.SQLite(t, nil), "http://127.0.0.1:8480"), newElsewhere(t)
	for _, at := range []int{2, 1} {
		_, err := w.adopt(t, e, at, 2)
		check(t, err)
	}
	w = w.restart(t, publicURL)
	check(t, w.config.DB.View(w.ctx, func(v *store.View) error {
		all, err := v.Authorities()
		for _, a := range all {
			if !strings.HasPrefix(a.Name, "Elsewhere") {
				continue
			}
			if certs, err := v.CACertificates(a.ID); err != nil || len(certs) != 1 || certs[0].Kind != "imported" {
				t.Errorf("%s has %d certificates: %v", a.Name, len(certs), err)
			}
		}
		return err
	}))
}
