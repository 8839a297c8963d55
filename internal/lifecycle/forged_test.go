package lifecycle_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// forged is a certificate with the issuer, the key identifier and the serial number of the last one that the authority signed,
// signed with another key.
func (e *elsewhere) forged(t testing.TB, names ...string) []byte {
	t.Helper()
	key, ok := newKey(t).(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("the key is of another kind")
	}
	forger, said := *e.Authority, *e.Certificate
	said.PublicKey, forger.Certificate, forger.Key = key.Public(), &said, key
	der, err := forger.Leaf(e.serial, inventorytest.Year, nil, names...)
	check(t, err)
	return der
}

// operator is one of a new team.
func (w *world) operator(t *testing.T, team string) context.Context {
	t.Helper()
	w.team(t, team)
	return leafward.WithActor(t.Context(), leafward.Actor{ID: "p-" + team, Name: team, Type: leafward.ActorUser, Role: leafward.RoleOperator, Teams: []string{team}})
}

func TestAForgedCertificateKeepsTheRealOneFromNobody(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		e := newElsewhere(t, time.Now())
		real := e.sign(t, "shop.example.com")
		for n, by := range []context.Context{w.operator(t, "t-two"), w.ctx} {
			forged := lifecycle.Listed{PEM: pemOf(e.forged(t, "forged.example.com"))}
			for _, outcome := range []lifecycle.ImportOutcome{lifecycle.ImportDone, lifecycle.ImportKnown} {
				done, err := w.Import(by, forged)
				check(t, err)
				if row := done.Rows[0]; row.Outcome != outcome {
					t.Fatalf("forgery %d is %s and not %s: %v", n, row.Outcome, outcome, row.Problems)
				}
			}
		}
		id := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(real)})[0].Certificate
		w.taken(t, lifecycle.ImportKnown, lifecycle.Listed{PEM: pemOf(real, e.Certificate.Raw)})
		w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(e.forged(t, "late.example.com"))})
		if shown, err := w.Get(w.ctx, id); err != nil || string(shown.Version.DER) != string(real) {
			t.Errorf("it is %+v, %v", shown, err)
		}
	})
}

func TestAForgedCertificateOfTheSameNamesGivesWayWhenItIsArchived(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		e := newElsewhere(t, time.Now())
		real := e.changed(t, 90*24*time.Hour, nil, "shop.example.com")
		id := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(e.forged(t, "shop.example.com"))})[0].Certificate
		row := w.take(t, lifecycle.Listed{PEM: pemOf(real)})[0]
		if row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Problem, "of shop.example.com that is here") || !strings.Contains(row.Problems[0].Fix, "archive that first") {
			t.Errorf("it is %+v", row)
		}
		check(t, w.Archive(w.ctx, id, ""))
		w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(real)})
	})
}

func TestACertificateThatAnotherTeamTookInIsGivenByAnAdministrator(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		two := w.operator(t, "t-two")
		e := newElsewhere(t, time.Now())
		row := func(der []byte) lifecycle.ImportedRow {
			done, err := w.Import(two, lifecycle.Listed{PEM: pemOf(der)})
			check(t, err)
			return done.Rows[0]
		}
		given, put := e.sign(t, "given.example.com"), e.sign(t, "put.example.com")
		rows := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(given, put)})
		if row := row(given); row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Fix, "ask an administrator to give it") {
			t.Errorf("it is %+v", row)
		}
		_, err := w.Update(w.ctx, rows[0].Certificate, "", of("", func(c *leafward.Certificate) { c.Team = "t-two" }), lifecycle.Asked{})
		check(t, err)
		if row := row(given); row.Outcome != lifecycle.ImportKnown || row.Certificate != rows[0].Certificate {
			t.Errorf("given, it is %+v", row)
		}
		check(t, w.Archive(w.ctx, rows[1].Certificate, ""))
		if row := row(put); row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Fix, "have it renewed") {
			t.Errorf("archived, it is %+v", row)
		}
		if row := row(e.sign(t, "put.example.com")); row.Outcome != lifecycle.ImportDone {
			t.Errorf("renewed, it is %+v", row)
		}
	})
}

func TestWhatIsTakenInByManyAtOnceIsThereOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		e := newElsewhere(t, time.Now())
		real := e.sign(t, "shop.example.com")
		list := lifecycle.Listed{PEM: pemOf(real, e.forged(t, "forged.example.com"))}
		var taking sync.WaitGroup
		for range 4 {
			taking.Go(func() {
				done, err := w.Import(w.ctx, list)
				if err != nil || slices.ContainsFunc(done.Rows, func(r lifecycle.ImportedRow) bool { return r.Outcome == lifecycle.ImportRefused }) {
					t.Errorf("%+v, %v", done.Rows, err)
				}
			})
		}
		taking.Wait()
		if page, err := w.List(w.ctx, leafward.Query{}); err != nil || page.Total != 2 {
			t.Errorf("there are %d, %v", page.Total, err)
		}
	})
}

// otherwise is a certificate with its signature written in the other way that ECDSA knows.
func otherwise(t testing.TB, der []byte, curve elliptic.Curve) []byte {
	t.Helper()
	var cert struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	_, err := asn1.Unmarshal(der, &cert)
	check(t, err)
	var signature struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(cert.Signature.Bytes, &signature)
	check(t, err)
	signature.S.Sub(curve.Params().N, signature.S)
	cert.Signature.Bytes, err = asn1.Marshal(signature)
	check(t, err)
	cert.Signature.BitLength = 8 * len(cert.Signature.Bytes)
	der, err = asn1.Marshal(cert)
	check(t, err)
	return der
}

func TestASerialNumberOfOurAuthorityIsOfOneCertificate(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	made := w.issued(t, of("a.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")})
	above, err := pki.ParseChainPEM(made.Chain)
	check(t, err)
	key, ok := above[1].PublicKey.(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("the authority has a %T", above[1].PublicKey)
	}
	row := w.take(t, lifecycle.Listed{PEM: pemOf(otherwise(t, made.Version.DER, key.Curve))})[0]
	if row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Problem, made.ID) {
		t.Errorf("it is %+v", row)
	}
}

func TestWhatAServerHoldsForItselfIsNotTakenIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		before, callers := w.last(t), []context.Context{w.ctx, w.operator(t, "t-two")}
		refused := func(der []byte, says string) {
			for _, by := range callers {
				done, err := w.Import(by, lifecycle.Listed{PEM: pemOf(der)})
				check(t, err)
				if row := done.Rows[0]; row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Problem, says) {
					t.Errorf("what %s: %+v", says, row)
				}
			}
		}
		own := w.own(t)
		refused(own, "is a server's own")
		refused(newElsewhere(t, time.Now()).changed(t, inventorytest.Year, responding, "ocsp.example.com"), "is that of an OCSP responder")
		w.stop()
		w.recovered(t, w.forget(t, before, "DELETE FROM serials"))
		refused(own, "is a server's own") // although only the log knew it
	})
}

// own is a certificate as a server has it made for itself.
func (w *world) own(t *testing.T) []byte {
	t.Helper()
	names, err := pki.ParseNames([]string{"localhost"})
	check(t, err)
	issued, err := w.ca.Issue(w.ctx, ca.Order{
		Authority: ca.LocalIssuer, Request: store.NewID(leafward.OwnRequest), Names: names, PublicKey: newKey(t).Public(), EKUs: []string{pki.ServerAuth}, TTL: time.Hour,
	})
	check(t, err)
	w.write(t, func(tx *store.Tx) error {
		tx.RecordOn(leafward.CertificateIssued, "server", "server", "", leafward.Details{
			"serial": issued.Serial, "authority": issued.Authority, "names": names.All(), "not_after": issued.NotAfter.Format(time.RFC3339),
		})
		return ca.MarkIssued(tx, issued.Authority, issued.Serial)
	})
	return issued.Certificate
}

// responding makes a certificate one for OCSP answers.
func responding(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }
