package lifecycle_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestTheRecordDecidesTheNames(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		names := []string{"shop.example.com", "*.shop.example.com", "192.0.2.1", "ann@example.com"}
		shown := w.issued(t, of("Shop front", w.profile(t, "prof-any", func(*leafward.Profile) {}), serverKey, func(c *leafward.Certificate) { c.SANs = names }), lifecycle.Asked{})
		cert := leaf(t, shown)
		if cert.Subject.CommonName != "Shop front" || !slices.Equal(cert.DNSNames, names[:2]) || len(cert.IPAddresses) != 1 || !slices.Equal(cert.EmailAddresses, names[3:]) {
			t.Errorf("it says %s %v %v %v", cert.Subject, cert.DNSNames, cert.IPAddresses, cert.EmailAddresses)
		}
		alone := w.issued(t, of("alone.example.com", serverKey), lifecycle.Asked{})
		if cert := leaf(t, alone); cert.Subject.CommonName != "alone.example.com" || !slices.Equal(cert.DNSNames, []string{"alone.example.com"}) {
			t.Errorf("it says %s %v", cert.Subject, cert.DNSNames)
		}
		less := w.issued(t, of("", func(c *leafward.Certificate) { c.SANs = []string{"a.example.com", "b.example.com"} }), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")})
		if cert := leaf(t, less); !slices.Equal(cert.DNSNames, []string{"a.example.com", "b.example.com"}) {
			t.Errorf("a CSR that asks for less took %v", cert.DNSNames)
		}
	})
}

func TestACertificateIsOfItsTeam(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.team(t, "t-shop")
		scoped := leafward.WithActor(t.Context(), leafward.Actor{ID: "pr-shop", Role: leafward.RoleAdmin, Teams: []string{"t-shop"}})
		shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		if _, err := w.Get(scoped, shown.ID); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("another team reads it: %v", err)
		}
		_, err := w.Update(w.ctx, shown.ID, "", of("", func(c *leafward.Certificate) { c.Team = "t-shop" }), lifecycle.Asked{})
		check(t, err)
		now, err := w.Get(scoped, shown.ID)
		check(t, err)
		if now.Version.ID != shown.Version.ID || now.Spec != shown.Spec {
			t.Errorf("it moved with %+v", now.Version)
		}
		versions, err := w.Versions(scoped, shown.ID, leafward.Query{})
		check(t, err)
		if versions.Total != 1 {
			t.Errorf("%d versions moved with it", versions.Total)
		}
		_, err = w.Renew(scoped, shown.ID, lifecycle.Once{})
		check(t, err)
		own, err := w.Create(scoped, of("b.example.com"), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		if own.Team != "t-shop" {
			t.Errorf("it is of %s", own.Team)
		}
		_, err = w.Create(scoped, of("c.example.com", func(c *leafward.Certificate) { c.Team = leafward.DefaultTeam }), lifecycle.Asked{}, lifecycle.Once{})
		about(t, err, "team_id")
	})
}

func TestAnotherTeamsCertificateAtASharedTargetIsNotNamed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.team(t, "t-shop")
		w.hosts(t, "a")
		w.served(t, "hidden.example.com", "a")
		for ctx, told := range map[context.Context]bool{w.ctx: true, storetest.Scoped(t.Context(), "t-shop"): false} {
			_, err := w.Create(ctx, of("b.example.com"), at("a"), lifecycle.Once{})
			about(t, err, "target_ids[0]")
			if strings.Contains(err.Error(), "hidden.example.com") != told {
				t.Error(err)
			}
		}
	})
}

func TestTargetsAreBoundAndUnboundWithTheRecord(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b")
		first := w.served(t, "a.example.com", "a")
		shown, err := w.Update(w.ctx, first.ID, "", of(""), at("a", "b"))
		check(t, err)
		orders := w.open(t, first.ID, leafward.OrderJob)
		if !slices.Equal(shown.Targets, []string{"tgt-a", "tgt-b"}) || len(orders) != 1 || orders[0].Agent != "ag-b" {
			t.Fatalf("bound to %v: %v", shown.Targets, w.jobs(t, first.ID))
		}
		w.bringTo(t, first.ID, "a.example.com", "b")
		w.settled(t, first.ID)
		if at := w.place(t, first.ID, "b"); at.Proved == "" || at.Proved == w.place(t, first.ID, "a").Proved {
			t.Errorf("at b is %+v", at) // a key and a version of its own
		}
		shown, err = w.Update(w.ctx, first.ID, "", of(""), at("b"))
		check(t, err)
		if len(shown.Targets) != 1 || w.place(t, first.ID, "a").ID != "" {
			t.Errorf("still bound to %v", shown.Targets)
		}
		_, err = w.Renew(w.ctx, first.ID, lifecycle.Once{})
		check(t, err)
		if orders = w.open(t, first.ID, leafward.OrderJob); len(orders) != 1 || orders[0].Agent != "ag-b" {
			t.Errorf("a renewal asks %v", w.jobs(t, first.ID))
		}
		_, err = w.Update(w.ctx, first.ID, "", of(""), at("b", "a"))
		check(t, err)
		if deployments := w.open(t, first.ID, leafward.DeployJob); len(deployments) != 1 || deployments[0].Target != "tgt-a" {
			t.Errorf("what is signed for a is not deployed there: %v", w.jobs(t, first.ID))
		}
		for field, c := range map[string]struct {
			ids  lifecycle.Asked
			fill func(*leafward.Certificate)
		}{
			"target_ids[0]": {at("none"), func(*leafward.Certificate) {}},
			"target_ids":    {at("a"), func(c *leafward.Certificate) { c.KeySource = leafward.ClientKey }},
		} {
			_, err = w.Create(w.ctx, of("b.example.com", c.fill), c.ids, lifecycle.Once{})
			about(t, err, field)
		}
	})
}

func TestAnIssuerThatIsSwitchedOffSignsNothing(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	waiting, err := w.Create(w.ctx, of("a.example.com"), lifecycle.Asked{}, lifecycle.Once{})
	check(t, err)
	_, err = store.Issuers().Update(w.ctx, w.db, leafward.DefaultIssuer, "", func(i *leafward.Issuer) error { i.Enabled = false; return nil }, nil)
	check(t, err)
	about(t, w.asks(of("b.example.com"), lifecycle.Asked{}), "issuer_id")
	_, err = w.SubmitCSR(w.ctx, waiting.ID, "", csr(t, newKey(t), "a.example.com"), lifecycle.Once{})
	check(t, err)
	var order leafward.Job
	w.wait(t, "the order", func() bool {
		order = w.open(t, waiting.ID, leafward.OrderJob)[0]
		return order.LastError != ""
	})
	if order.Status != leafward.JobPending || !strings.Contains(order.LastError, "switched off") {
		t.Errorf("the order is %s: %s", order.Status, order.LastError)
	}
}

func TestATargetCarriesOneCertificate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b")
		first := w.served(t, "a.example.com", "a")
		_, err := w.Create(w.ctx, of("b.example.com"), at("b", "a"), lifecycle.Once{})
		about(t, err, "target_ids[0]")
		if !strings.Contains(err.Error(), first.Name) {
			t.Errorf("it does not say which one is there: %v", err)
		}
		second, err := w.Create(w.ctx, of("b.example.com"), at("b"), lifecycle.Once{})
		check(t, err)
		_, err = w.Update(w.ctx, second.ID, "", of(""), at("a", "b"))
		about(t, err, "target_ids[0]")
		_, err = w.Update(w.ctx, first.ID, "", of(""), at("a"))
		check(t, err)
		_, err = w.Update(w.ctx, first.ID, "", of(""), at())
		check(t, err)
		_, err = w.Update(w.ctx, second.ID, "", of(""), at("a", "b"))
		check(t, err)
	})
}
