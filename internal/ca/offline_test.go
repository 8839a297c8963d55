package ca_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/envelope"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// rootID is the id of the root that the first start made.
func (w *world) rootID(t testing.TB) string {
	t.Helper()
	return w.authority(t, w.issuingID(t)).Parent
}

// copyKey has a key handed out and opens it, as its keeper does.
func (w *world) copyKey(t testing.TB, id string) (sha string, text []byte) {
	t.Helper()
	keeper, err := age.GenerateX25519Identity()
	check(t, err)
	sealed, sha, err := w.CopyKey(w.ctx, id, []string{keeper.Recipient().String()})
	check(t, err)
	opened, err := envelope.Open(sealed, []age.Identity{keeper})
	check(t, err)
	return sha, opened.Reveal()
}

// away takes an authority offline and gives the file of its key.
func (w *world) away(t testing.TB, id string) []byte {
	t.Helper()
	sha, text := w.copyKey(t, id)
	check(t, w.TakeOffline(w.ctx, id, sha, 365))
	return text
}

// back brings an authority back with the text of a file.
func (w *world) back(t testing.TB, id string, text []byte) error {
	t.Helper()
	to, err := envelope.ForRecipients([]string{w.authority(t, id).Recipient})
	check(t, err)
	sealed, err := envelope.Seal(to, text)
	check(t, err)
	return w.BringOnline(w.ctx, id, string(sealed))
}

// sealedKey is the private key of an authority as it lies in the database.
func (w *world) sealedKey(t testing.TB, id string) []byte {
	t.Helper()
	var key leafward.Key
	check(t, w.config.DB.View(w.ctx, func(v *store.View) (err error) { key, err = v.KeyPair(w.authority(t, id).Key); return err }))
	return key.Sealed
}

func TestARootGoesOfflineAndComesBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db, publicURL)
		root := w.rootID(t)
		before := w.list(t, root)
		check(t, w.PrepareResponders(w.ctx))
		text := w.away(t, root)

		if row := w.authority(t, root); row.Custody != leafward.CustodyOffline || row.OfflineAt.IsZero() || len(w.sealedKey(t, root)) != 0 {
			t.Fatalf("the key is %s since %v with %d octets", row.Custody, row.OfflineAt, len(w.sealedKey(t, root)))
		}
		last := w.list(t, root)
		if last.Number.Cmp(before.Number) <= 0 || last.NextUpdate.Sub(last.ThisUpdate) != 365*24*time.Hour {
			t.Errorf("the list it left is number %v, valid for %v", last.Number, last.NextUpdate.Sub(last.ThisUpdate))
		}
		w.issue(t, order(t, "meanwhile"))
		if issuing := w.certificate(t, ca.LocalIssuer); w.status(t, root, pki.SerialHex(issuing.SerialNumber)).Status != ocsp.Good {
			t.Error("OCSP does not know the issuing authority")
		}
		w.restart(t, publicURL)

		check(t, w.back(t, root, text))
		if row := w.authority(t, root); row.Custody != leafward.CustodyLocal || len(w.sealedKey(t, root)) == 0 {
			t.Fatalf("the key is %s", row.Custody)
		}
		if list := w.list(t, root); list.Number.Cmp(last.Number) <= 0 || list.NextUpdate.Sub(list.ThisUpdate) != 24*time.Hour {
			t.Errorf("the new list is number %v, valid for %v", list.Number, list.NextUpdate.Sub(list.ThisUpdate))
		}
		sound(t, w, root)
		check(t, w.back(t, root, text))
	})
}

func TestWhatAnOfflineAuthorityMustSignIsRefusedWithTheWayOut(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	root := w.rootID(t)
	w.away(t, root)
	fails := func(what string, err error) {
		t.Helper()
		if leafward.KindOf(err) != leafward.Conflict || !strings.Contains(errText(err), "leafward ca online") {
			t.Errorf("%s: %v", what, errText(err))
		}
	}
	o := order(t, "leaf")
	o.Authority = root
	_, err := w.Issue(w.ctx, o)
	fails("a certificate", err)
	_, _, err = w.CopyKey(w.ctx, root, nil)
	fails("another copy", err)
	_, err = w.CreateIssuer(w.ctx, leafward.Issuer{Name: "below", Type: leafward.GenericCA, Config: []byte("{}"), Enabled: true},
		ca.Spec{Key: pki.KeyKind{Algorithm: pki.ECDSA, Size: 256}, Subject: pki.Subject{CommonName: "below"}, Parent: root})
	fails("an authority below it", err)
	steps, err := w.Test(w.ctx, root)
	check(t, err)
	if step := steps[len(steps)-1]; step.OK || step.Name != "key" || !strings.Contains(step.Message, "leafward ca online") {
		t.Errorf("its test says %+v", step)
	}
}

// errText is an error with the way out.
func errText(err error) string {
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		return e.Message + ": " + e.Fix
	}
	return "no error for users"
}

func TestAnAuthorityThatIsNeededStays(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	issuing := w.issuingID(t)
	key := []string{recipient(t)}
	if _, _, err := w.CopyKey(w.ctx, issuing, key); leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "local") {
		t.Errorf("one that signs for an issuer: %v", err)
	}
	w.issue(t, order(t, "leaf"))
	switchOff(t, w, ca.LocalIssuer)
	if _, _, err := w.CopyKey(w.ctx, issuing, key); leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "1 valid certificates") {
		t.Errorf("one that must be able to revoke: %v", err)
	}
}

func switchOff(t *testing.T, w *world, id string) {
	t.Helper()
	check(t, w.config.DB.Write(w.ctx, func(tx *store.Tx) error {
		i, err := tx.Issuer(id)
		i.Enabled = false
		tx.PutIssuer(&i)
		return err
	}))
}

func recipient(t *testing.T) string {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	check(t, err)
	return key.Recipient().String()
}

func TestAKeyLeavesOnlyWithTheCopyThatWasHandedOutLast(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	root := w.rootID(t)
	if err := w.TakeOffline(w.ctx, root, strings.Repeat("0", 64), 365); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("without a copy: %v", err)
	}
	first, _ := w.copyKey(t, root)
	second, _ := w.copyKey(t, root)
	if err := w.TakeOffline(w.ctx, root, first, 365); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("with an earlier copy: %v", err)
	}
	for _, days := range []int{0, -1, ca.MaxCRLDays + 1} {
		if err := w.TakeOffline(w.ctx, root, second, days); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("with a list for %d days: %v", days, err)
		}
	}
	if len(w.sealedKey(t, root)) == 0 {
		t.Fatal("the key is gone")
	}
	for range 2 {
		check(t, w.TakeOffline(w.ctx, root, second, 365))
	}
	if err := w.TakeOffline(w.ctx, root, first, 365); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("afterwards with another copy: %v", err)
	}
}

func TestOnlyTheKeyOfTheAuthorityComesBack(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	root := w.rootID(t)
	text := w.away(t, root)
	other, err := pki.EncodePrivateKey(newKey(t))
	check(t, err)
	for what, wrong := range map[string][]byte{"another key": other, "no key": []byte("nothing"), "a part of it": text[:len(text)/4]} {
		if err := w.back(t, root, wrong); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := w.BringOnline(w.ctx, root, string(text)); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("in the clear: %v", err)
	}
	if w.authority(t, root).Custody != leafward.CustodyOffline {
		t.Error("it is online")
	}
}

// What is in the file can be used without leafward.
func TestTheFileOfAnOfflineKeyIsReadByOpenSSL(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil), publicURL)
	root := w.rootID(t)
	dir := folder(t, map[string][]byte{"root.txt": w.away(t, root)})
	out, err := openssl(t, dir, "pkey", "-in", "root.txt", "-pubout")
	if err != nil {
		t.Fatal(out)
	}
	public, err := x509.MarshalPKIXPublicKey(w.certificate(t, root).PublicKey)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "public.der"), public, 0o600))
	want, err := openssl(t, dir, "pkey", "-pubin", "-inform", "DER", "-in", "public.der")
	_, got, _ := strings.Cut(out, ": ")
	_, wanted, _ := strings.Cut(want, ": ")
	if err != nil || got != wanted {
		t.Errorf("the file has another key:\n%s%s", got, wanted)
	}
}

func TestASealedKeyThatWentOfflineIsNoMoreInTheFilesOfTheDatabase(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "leafward.db")})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	check(t, db.Migrate(t.Context(), storetest.Seed(db)))
	w := start(t, db, publicURL)
	large, err := w.CreateIssuer(w.ctx, leafward.Issuer{Name: "large", Type: leafward.GenericCA, Config: []byte("{}")},
		ca.Spec{Key: pki.KeyKind{Algorithm: pki.RSA, Size: 4096}, Subject: pki.Subject{CommonName: "large"}})
	check(t, err)
	for _, id := range []string{w.rootID(t), large.Authority} {
		sealed := w.sealedKey(t, id)
		first, last := sealed[:64], sealed[len(sealed)-64:]
		if !inFiles(t, dir, first) || !inFiles(t, dir, last) {
			t.Fatal("the sealed key is not found where it is")
		}
		w.away(t, id)
		if inFiles(t, dir, first) || inFiles(t, dir, last) {
			t.Errorf("a sealed key of %d octets is still in a file", len(sealed))
		}
	}
}

func inFiles(t *testing.T, dir string, part []byte) bool {
	t.Helper()
	files, err := os.ReadDir(dir)
	check(t, err)
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		check(t, err)
		if bytes.Contains(content, part) {
			return true
		}
	}
	return false
}
