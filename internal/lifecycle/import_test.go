package lifecycle_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// elsewhere is an authority of somebody else that signs for a list.
type elsewhere struct {
	*inventorytest.Authority
	serial int64
}

func newElsewhere(t testing.TB, from time.Time) *elsewhere {
	t.Helper()
	a, err := inventorytest.New("elsewhere", from)
	check(t, err)
	return &elsewhere{a, 1}
}

// sign is a certificate for a year.
func (e *elsewhere) sign(t testing.TB, names ...string) []byte {
	t.Helper()
	return e.changed(t, inventorytest.Year, nil, names...)
}

func (e *elsewhere) changed(t testing.TB, life time.Duration, change func(*x509.Certificate), names ...string) []byte {
	t.Helper()
	e.serial++
	der, err := e.Leaf(e.serial, life, change, names...)
	check(t, err)
	return der
}

func pemOf(ders ...[]byte) (text string) {
	for _, der := range ders {
		text += inventorytest.PEM(der)
	}
	return text
}

// take imports a list and tells what became of each row.
func (w *world) take(t testing.TB, l lifecycle.Listed) []lifecycle.ImportedRow {
	t.Helper()
	done, err := w.Import(w.ctx, l)
	check(t, err)
	return done.Rows
}

// taken imports certificates that are all taken in, or known where that is said.
func (w *world) taken(t testing.TB, outcome lifecycle.ImportOutcome, l lifecycle.Listed) []lifecycle.ImportedRow {
	t.Helper()
	rows := w.take(t, l)
	for _, row := range rows {
		if row.Outcome != outcome {
			t.Fatalf("line %d is %s and not %s: %v", row.Line, row.Outcome, outcome, row.Problems)
		}
	}
	return rows
}

func TestWhatIsImportedIsManaged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		e := newElsewhere(t, time.Now())
		list := lifecycle.Listed{Record: leafward.Certificate{Environment: "lab", Tags: map[string]string{"app": "shop"}}}
		for n := range 120 {
			list.PEM += pemOf(e.sign(t, fmt.Sprintf("h%d.example.com", n), fmt.Sprintf("alias%d.example.com", n)))
		}
		list.PEM += pemOf(e.Certificate.Raw)
		rows := w.taken(t, lifecycle.ImportDone, list)
		again := w.taken(t, lifecycle.ImportKnown, list)
		if len(rows) != 120 || !slices.EqualFunc(rows, again, func(a, b lifecycle.ImportedRow) bool {
			return a.Certificate == b.Certificate && a.Version == b.Version && a.Name == b.Name && a.SHA256 == b.SHA256
		}) {
			t.Errorf("%d rows; again they are %v", len(rows), again)
		}
		page, err := w.List(w.ctx, leafward.Query{Text: "alias119", Where: map[string]string{"environment": "lab"}})
		check(t, err)
		if len(page.Items) != 1 || page.Items[0].ID != rows[119].Certificate {
			t.Fatalf("found are %v", page.Items)
		}
		shown, err := w.Get(w.ctx, rows[119].Certificate)
		check(t, err)
		window := shown.ExpiresAt.AddDate(0, 0, -leafward.DefaultWindowDays)
		if shown.Status != leafward.StatusActive || shown.Name != "h119.example.com" || shown.RenewAt.After(window) || shown.RenewAt.Before(window.AddDate(0, 0, -2)) ||
			shown.Tags["app"] != "shop" || shown.Version.Source != leafward.VersionImported || !shown.ExpiresAt.Equal(leaf(t, shown).NotAfter) || shown.OpenJob != "" {
			t.Errorf("it is %+v", shown)
		}
		if got := w.events(t, shown.ID); !slices.Equal(got, []leafward.Action{leafward.CertificateImported}) {
			t.Errorf("recorded are %v", got)
		}
		all, err := w.List(w.ctx, leafward.Query{})
		check(t, err)
		if all.Total != 120 {
			t.Errorf("there are %d", all.Total)
		}
	})
}

func TestWhatIsImportedIsRenewedByTheIssuerOfItsRecordOnceThereIsAKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "web")
		e := newElsewhere(t, time.Now().AddDate(0, 0, -80)) // due: ten days are left of ninety
		sign := func(name string) string {
			return pemOf(e.changed(t, 90*24*time.Hour, nil, name))
		}
		own := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: sign("own.example.com"), Record: leafward.Certificate{KeySource: leafward.ServerKey}})[0].Certificate
		rows := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: sign("caller.example.com") + sign("bound.example.com")})
		check(t, w.orders.Sweep(w.ctx))
		w.renewedHere(t, own)
		for _, row := range rows {
			shown, err := w.Get(w.ctx, row.Certificate)
			check(t, err)
			open := w.open(t, row.Certificate, leafward.OrderJob)
			if shown.Status != leafward.StatusInProgress || len(open) != 1 || !strings.HasPrefix(open[0].WaitingFor, "a CSR: ") {
				t.Errorf("%s is %s and waits for %v", shown.Name, shown.Status, open)
			}
		}
		_, err := w.SubmitCSR(w.ctx, rows[0].Certificate, "", csr(t, newKey(t), "caller.example.com"), lifecycle.Once{})
		check(t, err)
		w.renewedHere(t, rows[0].Certificate)
		_, err = w.Update(w.ctx, rows[1].Certificate, "", of(""), at("web"))
		check(t, err)
		w.sign(t, rows[1].Certificate, "web", "bound.example.com")
		w.prove(t, rows[1].Certificate, "web")
		w.renewedHere(t, rows[1].Certificate)
	})
}

// renewedHere waits until a certificate that was imported has a version of the server's own issuer in use.
func (w *world) renewedHere(t testing.TB, id string) {
	t.Helper()
	shown := w.until(t, id, func(s lifecycle.Shown) bool { return s.OpenJob == "" && s.Version.Source == leafward.VersionIssued })
	if !strings.HasPrefix(leaf(t, shown).Issuer.CommonName, "leafward issuing") || !shown.ExpiresAt.Equal(shown.Version.NotAfter) || shown.Status != leafward.StatusActive || !slices.Contains(w.events(t, id), leafward.CertificateRenewed) {
		t.Errorf("%s is %s until %s by %s, with %v", shown.Name, shown.Status, shown.ExpiresAt, leaf(t, shown).Issuer, w.events(t, id))
	}
}

func TestARowThatCannotBeManagedIsToldWithTheReason(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	e := newElsewhere(t, time.Now().Add(-48*time.Hour))
	good := e.sign(t, "good.example.com")
	other, err := inventorytest.New("elsewhere", time.Now())
	check(t, err)
	row := func(owner, tags string, ders ...[]byte) string {
		return fmt.Sprintf("%s,%s,\"%s\"\n", owner, tags, pemOf(ders...))
	}
	for name, c := range map[string]struct{ row, field, says string }{
		"expired":          {row("", "", e.changed(t, 24*time.Hour, nil, "old.example.com")), "certificate", "ended at"},
		"no host name":     {row("", "", e.changed(t, inventorytest.Year, nil, "not a host")), "sans", "not a host"},
		"a foreign kind":   {row("", "", e.changed(t, inventorytest.Year, directoryName, "dir.example.com")), "certificate", "directoryName"},
		"a wrong chain":    {row("", "", e.sign(t, "chain.example.com"), other.Certificate.Raw), "certificate", "does not hold"},
		"an unknown owner": {row("nobody", "", e.sign(t, "owner.example.com")), "owner", "does not exist"},
		"a tag":            {row("", "colour", e.sign(t, "tag.example.com")), "tags", "no NAME=VALUE"},
	} {
		t.Run(name, func(t *testing.T) {
			w.take(t, lifecycle.Listed{PEM: pemOf(good)})
			rows := w.take(t, lifecycle.Listed{CSV: "owner,tags,certificate\n" + c.row + row("o-default", "a=b;c=d", e.sign(t, "ok"+strings.ReplaceAll(name, " ", "")+".example.com"))})
			if len(rows) != 2 || rows[0].Outcome != lifecycle.ImportRefused || rows[1].Outcome != lifecycle.ImportDone {
				t.Fatalf("the rows are %+v", rows)
			}
			if p := rows[0].Problems[0]; p.Field != c.field || !strings.Contains(p.Problem, c.says) || p.Fix == "" || rows[0].Line != 2 {
				t.Errorf("line %d: %+v", rows[0].Line, p)
			}
		})
	}
}

func TestACertificateForACompromisedKeyIsNotTakenIn(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	key := newKey(t)
	made := w.issued(t, of("a.example.com"), lifecycle.Asked{CSR: csr(t, key, "a.example.com")})
	_, err := w.Revoke(w.ctx, made.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise}, lifecycle.Once{})
	check(t, err)
	e := newElsewhere(t, time.Now())
	template := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: []string{"b.example.com"}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(0, 1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, e.Certificate, key.Public(), e.Key)
	check(t, err)
	if row := w.take(t, lifecycle.Listed{PEM: pemOf(der)})[0]; row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Problem, "compromised") {
		t.Errorf("it is %+v", row)
	}
}

// directoryName gives a certificate a name of a kind that is not issued, beside its others.
func directoryName(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, sanExtension())
}

func TestACSVSaysWhoseACertificateIsAndWhoRenewsIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.write(t, func(tx *store.Tx) error {
			var owner leafward.Owner
			if err := store.Owners().Insert(tx, &owner, func(o *leafward.Owner) error {
				o.Name, o.ID, o.Team = "Web team", "o-web", leafward.DefaultTeam
				return nil
			}, nil); err != nil {
				return err
			}
			var policy leafward.RenewalPolicy
			return store.RenewalPolicies().Insert(tx, &policy, func(p *leafward.RenewalPolicy) error {
				p.ID, p.Name, p.WindowDays, p.RetryInterval, p.AutoRenew, p.Thresholds = "rp-late", "late", 5, 3600, true, []int{3}
				return nil
			}, nil)
		})
		e := newElsewhere(t, time.Now())
		cell := func(name string) string { return base64.StdEncoding.EncodeToString(e.sign(t, name)) }
		rows := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{
			CSV: "Name,Owner,Renewal Policy,Environment,Tags,key_source,issuer,profile,team_id,Colour,Certificate\n" +
				"shop,Web team,late,prod,app=shop; tier=1,server,iss-local,prof-server,t-default,red," + cell("a.example.com") + "\n" +
				",o-web,rp-late,,,,,,,," + cell("b.example.com") + "\n",
			Record: leafward.Certificate{Environment: "lab"},
		})
		first, err := w.Get(w.ctx, rows[0].Certificate)
		check(t, err)
		if first.Name != "shop" || first.Owner != "o-web" || first.Policy != "rp-late" || first.Environment != "prod" || fmt.Sprint(first.Tags) != "map[app:shop tier:1]" || first.KeySource != leafward.ServerKey {
			t.Errorf("the first is %+v", first.Certificate)
		}
		second, err := w.Get(w.ctx, rows[1].Certificate)
		check(t, err)
		if second.Name != "b.example.com" || second.Owner != "o-web" || second.Policy != "rp-late" || second.Environment != "lab" || second.KeySource != leafward.AgentKey {
			t.Errorf("the second is %+v", second.Certificate)
		}
	})
}

func TestACertificateThatWasRenewedElsewhereIsTheNextVersion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		e := newElsewhere(t, time.Now().AddDate(0, 0, -80))
		one := e.changed(t, 90*24*time.Hour, nil, "a.example.com")
		two := e.changed(t, 120*24*time.Hour, nil, "a.example.com")
		id := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(one)})[0].Certificate
		check(t, w.orders.Sweep(w.ctx)) // it is due, and waits for a CSR
		older := e.changed(t, 85*24*time.Hour, nil, "a.example.com")
		if row := w.take(t, lifecycle.Listed{PEM: pemOf(older)})[0]; row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Problem, "is older") {
			t.Errorf("an older one: %+v", row)
		}
		next := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(two)})[0]
		shown, err := w.Get(w.ctx, id)
		check(t, err)
		if next.Certificate != id || shown.Version.ID != next.Version || shown.Version.Predecessor == "" || !shown.ExpiresAt.Equal(shown.Version.NotAfter) || shown.OpenJob != "" || shown.Status != leafward.StatusActive {
			t.Errorf("%+v is %s until %s", next, shown.Status, shown.ExpiresAt)
		}
		w.taken(t, lifecycle.ImportKnown, lifecycle.Listed{PEM: pemOf(one, two)})
		more := e.changed(t, 200*24*time.Hour, nil, "a.example.com", "b.example.com")
		if row := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(more)})[0]; row.Certificate == id || row.Name != "a.example.com ("+row.SHA256[:8]+")" {
			t.Errorf("with other names it is %+v", row)
		}
		named := "name,certificate\na.example.com," + base64.StdEncoding.EncodeToString(e.sign(t, "c.example.com")) + "\n"
		if row := w.take(t, lifecycle.Listed{CSV: named})[0]; row.Outcome != lifecycle.ImportRefused || row.Problems[0].Field != "name" {
			t.Errorf("a name that is taken: %+v", row)
		}
	})
}

func TestWhatAnotherAuthoritySignedIsNotSaidToBeRevoked(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	e := newElsewhere(t, time.Now())
	id := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(e.sign(t, "a.example.com")), Record: leafward.Certificate{KeySource: leafward.ServerKey}})[0].Certificate
	_, err := w.Revoke(w.ctx, id, lifecycle.Revocation{Reason: leafward.Superseded}, lifecycle.Once{})
	refused(t, err, leafward.Conflict)
	_, err = w.Renew(w.ctx, id, lifecycle.Once{})
	check(t, err)
	w.renewedHere(t, id)
	shown, err := w.Revoke(w.ctx, id, lifecycle.Revocation{Reason: leafward.Superseded}, lifecycle.Once{})
	check(t, err)
	page, err := w.Versions(w.ctx, id, leafward.Query{})
	check(t, err)
	for _, v := range page.Items {
		if ours := v.Version.Source == leafward.VersionIssued; ours == v.Version.RevokedAt.IsZero() {
			t.Errorf("%s is revoked at %s", v.Version.Source, v.Version.RevokedAt)
		}
	}
	if shown.Status != leafward.StatusRevoked || w.status(t, shown.Version).Status != ocsp.Revoked {
		t.Errorf("it is %s", shown.Status)
	}
}

func TestAnAuthorityAnswersAgainForACertificateThatItLost(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		made := w.issued(t, of("a.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")})
		list := lifecycle.Listed{PEM: pemOf(made.Version.DER)}
		w.taken(t, lifecycle.ImportKnown, list)
		check(t, w.Archive(w.ctx, made.ID, ""))
		w.write(t, func(tx *store.Tx) error { // as a backup from before would leave it
			tx.Exec("DELETE FROM versions WHERE id = $1", made.Version.ID)
			tx.Exec("DELETE FROM serials WHERE serial = $1", made.Version.Serial)
			return tx.Err()
		})
		row := w.taken(t, lifecycle.ImportDone, list)[0]
		shown, err := w.Get(w.ctx, row.Certificate)
		check(t, err)
		if shown.Version.Authority != made.Version.Authority || shown.Version.Issuer != "iss-local" || w.status(t, shown.Version).Status != ocsp.Good {
			t.Errorf("it is %+v", shown.Version)
		}
		_, err = w.Revoke(w.ctx, shown.ID, lifecycle.Revocation{Reason: leafward.Superseded}, lifecycle.Once{})
		check(t, err)
		if status := w.status(t, shown.Version).Status; status != ocsp.Revoked {
			t.Errorf("OCSP says %v", status)
		}
	})
}

func TestATeamTakesInNothingThatOurAuthorityLost(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	made := w.issued(t, of("a.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")})
	check(t, w.Archive(w.ctx, made.ID, ""))
	w.write(t, func(tx *store.Tx) error {
		tx.Exec("DELETE FROM versions WHERE id = $1", made.Version.ID)
		return tx.Err()
	})
	one := leafward.WithActor(t.Context(), leafward.Actor{ID: "p-one", Name: "one", Type: leafward.ActorUser, Role: leafward.RoleOperator, Teams: []string{leafward.DefaultTeam}})
	done, err := w.Import(one, lifecycle.Listed{PEM: pemOf(made.Version.DER)})
	check(t, err)
	if row := done.Rows[0]; row.Outcome != lifecycle.ImportRefused || !strings.Contains(row.Problems[0].Problem, "authority of this server") {
		t.Errorf("the row is %+v", row)
	}
}

func TestACertificateThatCameAloneGetsItsChainLater(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		below, err := newElsewhere(t, time.Now()).Below("below")
		check(t, err)
		e := &elsewhere{below, 1}
		der := e.sign(t, "a.example.com")
		alone := lifecycle.Listed{PEM: pemOf(der)}
		whole := lifecycle.Listed{PEM: pemOf(der, e.Certificate.Raw)}
		id := w.taken(t, lifecycle.ImportDone, alone)[0].Certificate
		w.taken(t, lifecycle.ImportKnown, alone)
		if row := w.taken(t, lifecycle.ImportDone, whole)[0]; row.Certificate != id {
			t.Errorf("the chain came to %+v", row)
		}
		for _, l := range []lifecycle.Listed{whole, alone} {
			w.taken(t, lifecycle.ImportKnown, l)
		}
		shown, err := w.Get(w.ctx, id)
		check(t, err)
		if string(shown.Chain) != whole.PEM {
			t.Errorf("its chain is %s", shown.Chain)
		}
		if got := w.events(t, id); !slices.Equal(got, []leafward.Action{leafward.CertificateImported, leafward.CertificateUpdated}) {
			t.Errorf("recorded are %v", got)
		}
		check(t, w.Archive(w.ctx, id, ""))
		if row := w.taken(t, lifecycle.ImportKnown, whole)[0]; !row.Archived {
			t.Errorf("of an archived one it is said %+v", row)
		}
	})
}

func TestATeamTakesInItsOwnOnly(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	w.write(t, func(tx *store.Tx) error {
		var team leafward.Team
		return store.Teams().Insert(tx, &team, func(n *leafward.Team) error { n.ID, n.Name = "t-two", "two"; return nil }, nil)
	})
	e := newElsewhere(t, time.Now())
	der := e.sign(t, "a.example.com")
	w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(der)})
	two := leafward.WithActor(t.Context(), leafward.Actor{ID: "p-two", Name: "two", Type: leafward.ActorUser, Role: leafward.RoleOperator, Teams: []string{"t-two"}})
	done, err := w.Import(two, lifecycle.Listed{PEM: pemOf(der, e.sign(t, "b.example.com"))})
	check(t, err)
	if rows := done.Rows; rows[0].Outcome != lifecycle.ImportRefused || rows[0].Certificate != "" || !strings.Contains(rows[0].Problems[0].Problem, "a team that you do not see") || rows[1].Outcome != lifecycle.ImportDone {
		t.Errorf("the rows are %+v", rows)
	}
	_, err = w.Import(two, lifecycle.Listed{PEM: pemOf(der), Record: leafward.Certificate{Team: "t-default"}})
	about(t, err, "team_id")
	_, err = w.Import(two, lifecycle.Listed{PEM: pemOf(der), Record: leafward.Certificate{Issuer: "iss-none"}})
	about(t, err, "issuer_id")
	done, err = w.Import(two, lifecycle.Listed{CSV: "team,certificate\nt-default," + base64.StdEncoding.EncodeToString(e.sign(t, "c.example.com")) + "\n"})
	check(t, err)
	if row := done.Rows[0]; row.Outcome != lifecycle.ImportRefused || row.Problems[0].Field != "team" {
		t.Errorf("into another team: %+v", row)
	}
}

func TestAListIsBounded(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	_, err := w.Import(w.ctx, lifecycle.Listed{PEM: strings.Repeat("-----END X-----\n", 3001)})
	refused(t, err, leafward.TooLarge)
	for _, l := range []lifecycle.Listed{{}, {PEM: "x"}} {
		_, err := w.Import(w.ctx, l)
		about(t, err, "pem")
	}
	for _, l := range []lifecycle.Listed{{PEM: "x", CSV: "x"}, {CSV: "name\nx\n"}, {CSV: "certificate\n"}} {
		_, err = w.Import(w.ctx, l)
		about(t, err, "csv")
	}
}

// sanExtension is a subjectAltName with a host and a directoryName.
func sanExtension() pkix.Extension {
	host := append([]byte{0x82, 15}, "dir.example.com"...)
	directory := []byte{0xa4, 2, 0x30, 0}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: slices.Concat([]byte{0x30, byte(len(host) + len(directory))}, host, directory)}
}
