package lifecycle_test

import (
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// forget takes back what happened to serials, versions and certificates after an event, as an older database has it, and
// gives the events that happened since.
func (w *world) forget(t *testing.T, after int64, back ...string) (events []leafward.Event) {
	t.Helper()
	_, err := w.db.Sequence(w.ctx, "test")
	check(t, err)
	check(t, w.db.Write(w.ctx, func(tx *store.Tx) (err error) {
		events, err = tx.EventsAfter(after, 1000)
		for _, statement := range back {
			tx.Exec(statement)
		}
		return err
	}))
	return events
}

// last is the number of the last event.
func (w *world) last(t *testing.T) (seq int64) {
	t.Helper()
	_, err := w.db.Sequence(w.ctx, "test")
	check(t, err)
	check(t, w.db.View(w.ctx, func(v *store.View) (err error) {
		seq, err = v.LastSequence()
		return err
	}))
	return seq
}

// recovered does again what the events tell.
func (w *world) recovered(t *testing.T, events []leafward.Event) (done lifecycle.Recovered) {
	t.Helper()
	check(t, w.db.Write(w.ctx, func(tx *store.Tx) error {
		done = lifecycle.Recovered{}
		for i := range events {
			part, err := lifecycle.Recover(tx, &events[i])
			if err != nil {
				return err
			}
			done.Add(part)
		}
		return nil
	}))
	return done
}

const forgetRevocations = "UPDATE serials SET revoked_at = 0, reason = '', held = FALSE WHERE subject <> authority"

func TestWhatTheLogTellsOfRevocationsIsDoneAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b", "c")
		closed := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		held := w.issued(t, of("b.example.com", serverKey), lifecycle.Asked{})
		lifted := w.issued(t, of("c.example.com", serverKey), lifecycle.Asked{})
		w.revoke(t, lifted.ID, lifecycle.Revocation{Reason: leafward.CertificateHold})
		end := w.last(t)
		_, err := w.Release(w.ctx, lifted.ID, lifecycle.Once{})
		check(t, err)
		w.revoke(t, closed.ID, lifecycle.Revocation{Reason: leafward.KeyCompromise})
		w.revoke(t, held.ID, lifecycle.Revocation{Reason: leafward.CertificateHold})
		events := w.forget(t, end, forgetRevocations,
			"UPDATE versions SET revoked_at = 0, revocation_reason = ''", "UPDATE certificates SET revoked_at = 0, revocation_reason = ''", "UPDATE keys SET compromised_at = 0",
			"UPDATE serials SET revoked_at = 1, reason = 'certificateHold', held = TRUE WHERE serial = '"+lifted.Version.Serial+"'",
			"UPDATE versions SET revoked_at = 1, revocation_reason = 'certificateHold' WHERE serial = '"+lifted.Version.Serial+"'",
			"UPDATE certificates SET revoked_at = 1, revocation_reason = 'certificateHold' WHERE id = '"+lifted.ID+"'")

		if done := w.recovered(t, events); done.Revocations != 3 || done.Lost != 0 {
			t.Errorf("it did again %+v", done)
		}
		if done := w.recovered(t, events); done.Revocations != 0 {
			t.Errorf("done twice, it changed %+v", done)
		}
		if s := w.status(t, closed.Version); s.Status != ocsp.Revoked || s.Reason != pki.KeyCompromise {
			t.Errorf("OCSP says %v %v of the compromised one", s.Status, s.Reason)
		}
		if s := w.status(t, held.Version); s.Status != ocsp.Revoked || s.Reason != pki.CertificateHold {
			t.Errorf("OCSP says %v %v of the held one", s.Status, s.Reason)
		}
		if s := w.status(t, lifted.Version); s.Status != ocsp.Good {
			t.Errorf("OCSP says %v of the one that was lifted", s.Status)
		}
		for id, want := range map[string]leafward.CertificateStatus{closed.ID: leafward.StatusRevoked, held.ID: leafward.StatusRevoked, lifted.ID: leafward.StatusActive} {
			if shown, err := w.Get(w.ctx, id); err != nil || shown.Status != want {
				t.Errorf("%s is %s (%v), not %s", id, shown.Status, err, want)
			}
		}
		check(t, w.db.View(w.ctx, func(v *store.View) error {
			key, err := v.KeyPair(closed.Version.Key)
			if err == nil && key.CompromisedAt.IsZero() {
				t.Error("the compromised key may be certified again")
			}
			return err
		}))
	})
}

func TestWhatTheLogTellsOfIssuancesIsKnownAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b", "c")
		end := w.last(t)
		good := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		revoked := w.issued(t, of("b.example.com", serverKey), lifecycle.Asked{})
		reserved := w.issued(t, of("c.example.com", serverKey), lifecycle.Asked{}) // when the backup was taken
		for _, s := range []lifecycle.Shown{revoked, reserved} {
			w.revoke(t, s.ID, lifecycle.Revocation{Reason: leafward.Superseded})
		}
		w.stop()
		events := w.forget(t, end, "DELETE FROM versions", forgetRevocations,
			"UPDATE serials SET state = 'reserved' WHERE serial = '"+reserved.Version.Serial+"'",
			"DELETE FROM serials WHERE serial IN ('"+good.Version.Serial+"', '"+revoked.Version.Serial+"')")
		if s := w.status(t, good.Version); s.Status != ocsp.Unknown {
			t.Fatalf("OCSP says %v of what is forgotten", s.Status)
		}
		if done := w.recovered(t, events); done.Serials != 3 || done.Revocations != 2 || done.Lost != 0 {
			t.Errorf("it did again %+v", done)
		}
		if done := w.recovered(t, events); done != (lifecycle.Recovered{}) {
			t.Errorf("done twice, it changed %+v", done)
		}
		if s := w.status(t, good.Version); s.Status != ocsp.Good {
			t.Errorf("OCSP says %v of what was issued", s.Status)
		}
		for _, shown := range []lifecycle.Shown{revoked, reserved} {
			if s := w.status(t, shown.Version); s.Status != ocsp.Revoked || s.Reason != pki.Superseded {
				t.Errorf("OCSP says %v %v of what was issued and revoked", s.Status, s.Reason)
			}
		}
	})
}

func TestACertificateOfAnAuthorityThatIsMissingIsCounted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a")
		end := w.last(t)
		w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		events := w.forget(t, end)
		for i := range events {
			if events[i].Action == leafward.CertificateIssued {
				events[i].Payload = `{"details":{"version":"cv-x","serial":"abc","authority":"ca-gone","not_after":"2030-01-01T00:00:00Z","names":["a"]}}`
			}
		}
		if done := w.recovered(t, events); done.Lost != 1 {
			t.Errorf("it did again %+v", done)
		}
	})
}

func TestAListOfAnotherHistoryIsHeardThoughItsNumberIsLower(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	w.hosts(t, "a", "b")
	gone, held := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{}), w.issued(t, of("b.example.com", serverKey), lifecycle.Asked{})
	w.revoke(t, gone.ID, lifecycle.Revocation{Reason: leafward.Superseded})
	w.revoke(t, held.ID, lifecycle.Revocation{Reason: leafward.CertificateHold})
	check(t, w.ca.Republish(w.ctx))
	list, err := w.ca.CRL(w.ctx, gone.Version.Authority)
	check(t, err)
	w.stop()
	w.forget(t, 0, forgetRevocations, "DELETE FROM revocations", "UPDATE crls SET number = 9000000000000000", // restored, and published since
		"UPDATE versions SET revoked_at = 0, revocation_reason = ''", "UPDATE certificates SET revoked_at = 0, revocation_reason = ''")
	p, done, err := lifecycle.RecoverCRL(w.ctx, w.db, list.DER)
	check(t, err)
	if p.Number >= p.Last || done.Revocations != 1 {
		t.Errorf("of list %d after %d it took %+v", p.Number, p.Last, done)
	}
	if s := w.status(t, gone.Version); s.Status != ocsp.Revoked {
		t.Errorf("OCSP says %v of what the list names", s.Status)
	}
	if s := w.status(t, held.Version); s.Status != ocsp.Good {
		t.Errorf("OCSP says %v of a hold that may have been lifted", s.Status)
	}
}

func TestAPublishedListIsTakenOver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b")
		stays := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		gone := w.issued(t, of("b.example.com", serverKey), lifecycle.Asked{})
		for _, s := range []lifecycle.Shown{stays, gone} {
			w.revoke(t, s.ID, lifecycle.Revocation{Reason: leafward.Superseded})
		}
		w.forget(t, 0, "UPDATE crls SET number = 9000000000000000") // as by a clock that was far ahead
		check(t, w.ca.Republish(w.ctx))
		list, err := w.ca.CRL(w.ctx, stays.Version.Authority)
		check(t, err)
		w.stop()
		w.forget(t, 0, forgetRevocations, "DELETE FROM revocations", "UPDATE crls SET number = 7",
			"UPDATE versions SET revoked_at = 0, revocation_reason = ''", "UPDATE certificates SET revoked_at = 0, revocation_reason = ''",
			"DELETE FROM serials WHERE serial = '"+gone.Version.Serial+"'", "DELETE FROM versions WHERE serial = '"+gone.Version.Serial+"'")
		p, done, err := lifecycle.RecoverCRL(w.ctx, w.db, list.DER)
		check(t, err)
		if p.Number != list.Number || p.Last != 7 || done.Revocations != 2 || done.Serials != 1 {
			t.Errorf("of list %d after %d it took %+v", p.Number, p.Last, done)
		}
		for _, shown := range []lifecycle.Shown{stays, gone} {
			if s := w.status(t, shown.Version); s.Status != ocsp.Revoked || s.Reason != pki.Superseded {
				t.Errorf("OCSP says %v %v of %s", s.Status, s.Reason, shown.Name)
			}
		}
		if shown, err := w.Get(w.ctx, stays.ID); err != nil || shown.RenewAt.After(shown.UpdatedAt) {
			t.Errorf("its certificate goes on with a revoked version until %v (%v)", shown.RenewAt, err)
		}
		check(t, w.ca.Republish(w.ctx))
		next, err := w.ca.CRL(w.ctx, stays.Version.Authority)
		check(t, err)
		if next.Number <= list.Number || next.Entries != 2 {
			t.Errorf("the next list is %d with %d entries, after %d", next.Number, next.Entries, list.Number)
		}
		if _, done, err := lifecycle.RecoverCRL(w.ctx, w.db, list.DER); err != nil || done != (lifecycle.Recovered{}) {
			t.Errorf("an older list was taken over: %+v, %v", done, err)
		}
		_, _, err = lifecycle.RecoverCRL(w.ctx, w.db, []byte("no list"))
		refused(t, err, leafward.Invalid)
	})
}

// back is what an older database has of everything that was revoked since.
func back() []string {
	return []string{
		forgetRevocations, "UPDATE versions SET revoked_at = 0, revocation_reason = ''", "UPDATE certificates SET revoked_at = 0, revocation_reason = ''",
		"UPDATE keys SET compromised_at = 0",
	}
}

// compromised issues two certificates with two versions each of one key, and revokes a single version for the key's compromise.
func (w *world) compromised(t *testing.T) (all []*leafward.Version) {
	t.Helper()
	key := newKey(t)
	again := func(c *leafward.Certificate) { c.ReuseKey = true }
	for _, name := range []string{"a.example.com", "b.example.com"} {
		shown := w.issued(t, of("", again), lifecycle.Asked{CSR: csr(t, key, name)})
		all = append(all, shown.Version, w.renewed(t, shown).Version)
	}
	w.revoke(t, all[0].Certificate, lifecycle.Revocation{Reason: leafward.KeyCompromise, Version: all[0].ID})
	return all
}

// closed says which of the versions OCSP does not call compromised.
func (w *world) closed(t *testing.T, all []*leafward.Version) {
	t.Helper()
	for i, v := range all {
		if s := w.status(t, v); s.Status != ocsp.Revoked || s.Reason != pki.KeyCompromise {
			t.Errorf("OCSP says %v %v of version %d of the compromised key", s.Status, s.Reason, i)
		}
	}
}

func TestEveryVersionOfACompromisedKeyIsClosedAgain(t *testing.T) {
	for name, lost := range map[string][]string{
		"of versions that the backup has":     nil,
		"of a key that came after the backup": {"DELETE FROM versions", "DELETE FROM serials WHERE subject <> authority", "DELETE FROM keys WHERE id NOT IN (SELECT key_id FROM authorities)"},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				w := start(t, db)
				end := w.last(t)
				all := w.compromised(t)
				w.closed(t, all)
				var key leafward.Key
				w.view(t, func(v *store.View) (err error) { key, err = v.KeyPair(all[0].Key); return err })
				w.stop()
				events := w.forget(t, end, append(back(), lost...)...)
				if done := w.recovered(t, events); done.Revocations != len(all) {
					t.Errorf("it did again %+v", done)
				}
				if done := w.recovered(t, events); done.Revocations != 0 {
					t.Errorf("done twice, it changed %+v", done)
				}
				w.closed(t, all)
				w.view(t, func(v *store.View) error {
					k, found, err := v.KeyPairOf(key.SPKI)
					if err == nil && (!found || k.CompromisedAt.IsZero()) {
						t.Error("the compromised key may be certified again")
					}
					return err
				})
			})
		})
	}
}

func TestWhatTheRestoredServerSignedForACompromisedKeyIsClosedToo(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	end := w.last(t)
	all := w.compromised(t)
	w.stop()
	events := w.forget(t, end, back()...)
	for i := range events { // as if the log knew nothing but the key
		if events[i].Action == leafward.CertificateRevoked {
			var spki string
			w.view(t, func(v *store.View) error {
				k, err := v.KeyPair(all[0].Key)
				spki = k.SPKI
				return err
			})
			events[i].Payload = `{"details":{"reason":"keyCompromise","versions":[],"closed":false,"keys":["` + spki + `"]}}`
		}
	}
	w.recovered(t, events)
	w.closed(t, all)
}

func TestTheRevocationOfAnImportedCertificateOfOurOwnIsDoneAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		made := w.issued(t, of("a.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")})
		held := w.issued(t, of("b.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "b.example.com")})
		lose := []string{"DELETE FROM versions", "DELETE FROM serials WHERE subject <> authority"}
		for _, c := range []lifecycle.Shown{made, held} {
			check(t, w.Archive(w.ctx, c.ID, ""))
		}
		end := w.last(t)
		w.forget(t, end, lose...)
		rows := w.taken(t, lifecycle.ImportDone, lifecycle.Listed{PEM: pemOf(made.Version.DER, held.Version.DER)})
		w.revoke(t, rows[0].Certificate, lifecycle.Revocation{Reason: leafward.Superseded})
		w.revoke(t, rows[1].Certificate, lifecycle.Revocation{Reason: leafward.CertificateHold})
		_, err := w.Release(w.ctx, rows[1].Certificate, lifecycle.Once{})
		check(t, err)
		w.stop()
		events := w.forget(t, end, append(back(), lose...)...)
		if done := w.recovered(t, events); done.Revocations != 3 || done.Serials != 2 { // a hold and its release among them
			t.Errorf("it did again %+v", done)
		}
		if s := w.status(t, made.Version); s.Status != ocsp.Revoked || s.Reason != pki.Superseded {
			t.Errorf("OCSP says %v %v of what was imported and revoked", s.Status, s.Reason)
		}
		if s := w.status(t, held.Version); s.Status != ocsp.Good {
			t.Errorf("OCSP says %v of what was imported, held and released", s.Status)
		}
		w.forget(t, end, append(back(), lose...)...)
		for _, e := range events { // an export that begins behind the import
			if e.Action == leafward.CertificateRevoked {
				w.recovered(t, []leafward.Event{e})
			}
		}
		if s := w.status(t, made.Version); s.Status != ocsp.Revoked {
			t.Errorf("OCSP says %v when the import is not told", s.Status)
		}
	})
}
