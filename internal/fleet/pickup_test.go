package fleet_test

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAnAgentFetchesTheCertificateOfItsOwnKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "web1", false)
		b, other := w.agent(t, "web2", false)
		to, there := w.nginxAt(t, "a", a.ID), w.nginxAt(t, "b", b.ID)
		w.certificate(t, to, there)
		mine, theirs := w.version(t, a.ID, "", to), w.version(t, b.ID, "", there)
		p, err := w.Pickup(own, a.ID, shop, "")
		check(t, err)
		block, rest := pem.Decode(p.PEM)
		if !bytes.Equal(block.Bytes, mine.DER) || p.Version.ID != mine.ID || len(p.Key) > 0 {
			t.Errorf("leaf first: %+v", p.Version)
		}
		if above, last := pem.Decode(rest); above == nil || len(bytes.TrimSpace(last)) > 0 {
			t.Error("then the chain")
		}
		_, err = w.Pickup(own, a.ID, shop, theirs.ID)
		refused(t, "another agent's version", err, leafward.NotFound)
		if p, err := w.Pickup(other, b.ID, shop, theirs.ID); err != nil || p.Version.ID != theirs.ID {
			t.Errorf("%+v %v", p.Version, err)
		}
		if w.events(t, leafward.CertificateKeyHanded, shop) != 0 {
			t.Error("no key was handed out")
		}
	})
}

func TestTheVersionThatATargetWantsComesBeforeTheNewest(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	wanted := w.version(t, a.ID, "", to)
	newest := w.version(t, a.ID, "")
	for ask, want := range map[string]string{"": wanted.ID, newest.ID: newest.ID} {
		if p, err := w.Pickup(own, a.ID, shop, ask); err != nil || p.Version.ID != want {
			t.Errorf("%q: %+v %v", ask, p.Version.ID, err)
		}
	}
	w.write(t, func(tx *store.Tx) {
		v, err := tx.Version(wanted.ID)
		tx.Fail(err)
		v.RevokedAt = tx.Now
		tx.PutVersion(&v)
	})
	_, err := w.Pickup(own, a.ID, shop, "")
	refused(t, "a revoked version", err, leafward.Conflict)
	_, err = w.Pickup(own, a.ID, "mc-none", "")
	refused(t, "no certificate", err, leafward.NotFound)
}

func TestAServersKeyGoesToAgentsOfBoundTargetsAndEachTimeIsRecorded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "web1", true)
		b, other := w.agent(t, "web2", true)
		to := w.nginxAt(t, "a", a.ID)
		w.nginxAt(t, "b", b.ID)
		w.certificate(t, to)
		w.version(t, "server", w.serverKey(t), to)
		for n := int64(1); n <= 2; n++ {
			p, err := w.Pickup(own, a.ID, shop, "")
			check(t, err)
			if _, err := pki.ParsePrivateKeyPEM(p.Key.Reveal()); err != nil || !strings.Contains(string(p.Key.Reveal()), "PRIVATE KEY") {
				t.Errorf("%v", err)
			}
			if got := w.events(t, leafward.CertificateKeyHanded, shop); got != n {
				t.Errorf("%d events after %d pickups", got, n)
			}
		}
		_, err := w.Pickup(other, b.ID, shop, "")
		refused(t, "an agent without a bound target", err, leafward.NotFound)
	})
}

// serverKey stores a key as lifecycle does for key_source server.
func (w *world) serverKey(t *testing.T) string {
	t.Helper()
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	check(t, err)
	id := store.NewID("k")
	sealed, err := w.master.SealKey(keys.Context{Table: "keys", Column: "sealed", Row: id}, key)
	check(t, err)
	w.write(t, func(tx *store.Tx) {
		tx.AddKeyPair(&leafward.Key{Row: leafward.Row{ID: id}, SPKI: id, Algorithm: leafward.ECDSA, Size: 256, Custody: leafward.ServerKey, Sealed: sealed, Retrieval: "once"})
	})
	return id
}

func TestACSRWithoutACertificateIsForTheOneOrderThatWaits(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "edge", false)
	w.certificate(t)
	_, err := w.OrderFor(own, a.ID, "")
	refused(t, "no order", err, leafward.Invalid)
	w.order(t, a.ID)
	if c, err := w.OrderFor(own, a.ID, ""); err != nil || c != shop {
		t.Errorf("%s %v", c, err)
	}
	w.enqueue(t, leafward.Job{Kind: leafward.OrderJob, Type: leafward.Issuance, Subject: "mc-other/" + a.ID, Certificate: "mc-other", Agent: a.ID, Status: leafward.JobAwaitingCSR})
	_, err = w.OrderFor(own, a.ID, "")
	refused(t, "two orders", err, leafward.Invalid)
}

func TestACSRIsTakenForWhatConcernsTheAgentOnly(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "edge", false)
	_, other := w.agent(t, "inside", false)
	w.certificate(t)
	_, err := w.OrderFor(own, a.ID, shop)
	refused(t, "a certificate that is elsewhere", err, leafward.NotFound)
	w.order(t, a.ID)
	if c, err := w.OrderFor(own, a.ID, shop); err != nil || c != shop {
		t.Errorf("%s %v", c, err)
	}
	_, err = w.OrderFor(other, a.ID, shop)
	refused(t, "another agent", err, leafward.Denied)
}

func TestASignatureIsWaitedForAndItsOutcomeTold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.certificate(t)
		root := w.enqueue(t, leafward.Job{Kind: leafward.RootJob, Type: leafward.Issuance, Subject: shop, Certificate: shop})
		for _, order := range []struct { // the first stays open, and with it the root
			slot string
			end  func(tx *store.Tx, j *leafward.Job) error
		}{
			{"ag-3", nil},
			{"ag-1", func(tx *store.Tx, j *leafward.Job) error { return w.engine.Complete(tx, j, nil) }},
			{"ag-2", func(tx *store.Tx, j *leafward.Job) error {
				return w.engine.Fail(tx, j, leafward.Errorf(leafward.Invalid, "", "the CA said no"))
			}},
		} {
			slot, end := order.slot, order.end
			j := leafward.Job{Kind: leafward.OrderJob, Type: leafward.Issuance, Subject: shop + "/" + slot, Certificate: shop, Parent: root.ID}
			w.write(t, func(tx *store.Tx) {
				fresh := j
				_, err := job.Enqueue(tx, &fresh)
				tx.Fail(err)
			})
			if end != nil {
				go func() {
					if err := w.db.Write(w.ctx, func(tx *store.Tx) error {
						now, _, err := tx.OpenJob(leafward.OrderJob, shop+"/"+slot)
						if err != nil {
							return err
						}
						return end(tx, &now)
					}); err != nil {
						t.Error(err)
					}
				}()
			}
			wait := 20 * time.Second
			if end == nil {
				wait = 10 * time.Millisecond
			}
			signed, err := w.Signed(w.ctx, root.ID, shop, slot, wait)
			if signed != (slot == "ag-1") || (leafward.KindOf(err) == leafward.Conflict) != (slot == "ag-2") {
				t.Errorf("%s: %t %v", slot, signed, err)
			}
		}
	})
}
