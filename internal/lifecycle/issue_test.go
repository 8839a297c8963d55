package lifecycle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestACallersCSRIsSignedAndItsNamesBecomeTheRecord(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		key := newKey(t)
		shown := w.issued(t, of(""), lifecycle.Asked{CSR: csr(t, key, "shop.example.com", "WWW.example.com", "192.0.2.1")})
		cert := leaf(t, shown)
		if !slices.Equal(cert.DNSNames, []string{"shop.example.com", "www.example.com"}) || len(cert.IPAddresses) != 1 || cert.Subject.CommonName != "shop.example.com" {
			t.Errorf("it names %v %v %s", cert.DNSNames, cert.IPAddresses, cert.Subject)
		}
		if shown.Status != leafward.StatusActive || shown.KeySource != leafward.ClientKey || !slices.Equal(shown.SANs, []string{"shop.example.com", "www.example.com", "192.0.2.1"}) || shown.Name != "shop.example.com" {
			t.Errorf("it is shown as %+v", shown)
		}
		if w.status(t, shown.Version).Status != ocsp.Good || !shown.ExpiresAt.Equal(cert.NotAfter) || !strings.Contains(string(shown.Chain), "BEGIN CERTIFICATE") {
			t.Errorf("OCSP says %v, it expires %s", w.status(t, shown.Version).Status, shown.ExpiresAt)
		}
		if got := w.events(t, shown.ID); !slices.Equal(got, []leafward.Action{leafward.CertificateRequested, leafward.CertificateIssued}) {
			t.Errorf("recorded: %v", got)
		}
	})
}

func TestTheServerMakesAKeyWhenItIsAskedAndHandsItOutOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		for _, kind := range []pki.KeyKind{{Algorithm: pki.RSA, Size: 2048}, {Algorithm: pki.ECDSA, Size: 384}, {Algorithm: pki.Ed25519, Size: 256}} {
			shown := w.issued(t, of(strings.ToLower(kind.Algorithm)+".example.com", serverKey, func(c *leafward.Certificate) {
				c.Algorithm = kind.Algorithm
				if kind.Size == 384 {
					c.Size = 384
				}
			}), lifecycle.Asked{})
			key, err := w.FirstKey(w.ctx, &shown, false)
			check(t, err)
			private, err := pki.ParsePrivateKeyPEM(key.Reveal())
			check(t, err)
			have, err := pki.SPKISHA256(private.Public())
			check(t, err)
			want, err := pki.SPKISHA256(leaf(t, shown).PublicKey)
			check(t, err)
			if got, err := pki.KindOf(private.Public()); err != nil || got != kind || have != want {
				t.Errorf("%v: the key is %v, that of the certificate: %t", kind, got, have == want)
			}
			if again, err := w.FirstKey(w.ctx, &shown, false); err != nil || again != nil {
				t.Errorf("the key was handed out twice: %v", err)
			}
			if again, err := w.FirstKey(w.ctx, &shown, true); err != nil || again == nil {
				t.Errorf("a repeated request does not get the key: %v", err)
			}
			_, _, err = w.TakeKey(w.ctx, shown.ID, lifecycle.Once{})
			refused(t, err, leafward.Gone)
			if n := count(w.events(t, shown.ID), leafward.CertificateKeyHanded); n != 2 {
				t.Errorf("%d deliveries were recorded", n)
			}
		}
	})
}

func TestACSRThatAsksForMoreIsRefused(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	asked := lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com", "b.example.com")}
	_, err := w.Create(w.ctx, of("a.example.com"), asked, lifecycle.Once{})
	about(t, err, "csr_pem")
	waiting, err := w.Create(w.ctx, of("a.example.com"), lifecycle.Asked{}, lifecycle.Once{})
	check(t, err)
	_, err = w.SubmitCSR(w.ctx, waiting.ID, "", asked.CSR, lifecycle.Once{})
	about(t, err, "csr_pem")
	_, err = w.SubmitCSR(w.ctx, waiting.ID, "", "no PEM", lifecycle.Once{})
	about(t, err, "csr_pem")
	_, err = w.Create(w.ctx, of("c.example.com", func(c *leafward.Certificate) { c.Algorithm = leafward.RSA }), lifecycle.Asked{CSR: csr(t, newKey(t), "c.example.com")}, lifecycle.Once{})
	about(t, err, "csr_pem")
	_, err = w.Create(w.ctx, of("d.example.com", serverKey), lifecycle.Asked{CSR: csr(t, newKey(t), "d.example.com")}, lifecycle.Once{})
	about(t, err, "key_source")
}

func TestWithoutTargetAndCSRItWaitsAndSaysSo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		made, err := w.Create(w.ctx, of("wait.example.com"), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		orders := w.open(t, made.ID, leafward.OrderJob)
		if made.Status != leafward.StatusPending || len(orders) != 1 || orders[0].Status != leafward.JobAwaitingCSR || !strings.Contains(orders[0].WaitingFor, "/csr") {
			t.Fatalf("%s %v", made.Status, w.jobs(t, made.ID))
		}
		request := csr(t, newKey(t), "wait.example.com")
		_, err = w.SubmitCSR(w.ctx, made.ID, "", request, lifecycle.Once{})
		check(t, err)
		w.version(t, made) // which may be there already when the CSR is answered
		_, err = w.SubmitCSR(w.ctx, made.ID, "", request, lifecycle.Once{})
		check(t, err) // the answer was lost
		_, err = w.SubmitCSR(w.ctx, made.ID, "", csr(t, newKey(t), "wait.example.com"), lifecycle.Once{})
		refused(t, err, leafward.Conflict)
	})
}

func TestAWaitingCertificateGoesOnWithATargetOrAServerMadeKey(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	w.hosts(t, "one", "two")
	made, err := w.Create(w.ctx, of("a.example.com"), lifecycle.Asked{}, lifecycle.Once{})
	check(t, err)
	shown, err := w.Update(w.ctx, made.ID, "", of(""), at("one"))
	check(t, err)
	orders := w.open(t, made.ID, leafward.OrderJob)
	if len(orders) != 1 || orders[0].Agent != "ag-one" || shown.OpenJob != made.OpenJob {
		t.Fatalf("the order does not wait for the agent: %v", w.jobs(t, made.ID))
	}
	_, err = w.Update(w.ctx, made.ID, "", of(""), at("two"))
	check(t, err)
	if orders = w.open(t, made.ID, leafward.OrderJob); len(orders) != 1 || orders[0].Agent != "ag-two" {
		t.Fatalf("the order does not follow the target: %v", w.jobs(t, made.ID))
	}
	_, err = w.Update(w.ctx, made.ID, "", of(""), at())
	check(t, err)
	if orders = w.open(t, made.ID, leafward.OrderJob); len(orders) != 1 || orders[0].Agent != "" || orders[0].Status != leafward.JobAwaitingCSR {
		t.Fatalf("without a target it waits for anybody's CSR: %v", w.jobs(t, made.ID))
	}
	shown, err = w.Update(w.ctx, made.ID, "", of("", serverKey), lifecycle.Asked{})
	check(t, err)
	if shown = w.version(t, shown); shown.Version.Slot != "server" {
		t.Errorf("the slot is %s", shown.Version.Slot)
	}
}

func TestARepeatedHandingOutIsOfTheSameKey(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	first := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
	once := lifecycle.Once{Operation: "takeCertificateKey", Key: "k", Body: []byte("b"), Replayed: new(bool)}
	version, key, err := w.TakeKey(w.ctx, first.ID, once)
	check(t, err)
	second := w.renewed(t, first)
	again, same, err := w.TakeKey(w.ctx, first.ID, once)
	check(t, err)
	if !*once.Replayed || again != version || string(same.Reveal()) != string(key.Reveal()) {
		t.Errorf("the first answer was of %s, the repeated one of %s", version, again)
	}
	if fresh, _, err := w.TakeKey(w.ctx, first.ID, lifecycle.Once{}); err != nil || fresh != second.Version.ID {
		t.Errorf("the repetition used up the key of the next version: %s %v", fresh, err)
	}
}
