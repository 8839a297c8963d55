package rest_test

import (
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func csrFor(t *testing.T, names ...string) string {
	t.Helper()
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	check(t, err)
	all, err := pki.ParseNames(names)
	check(t, err)
	der, err := pki.MakeCSR(key, names[0], all)
	check(t, err)
	return string(pki.EncodeCSR(der))
}

func TestACertificateLivesThroughTheClient(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		c, ctx := h.client("operator"), t.Context()
		made, err := api.CreateCertificate.Call(ctx, c, api.CreateCertificateInput{Wait: 30, Body: api.NewCertificate{CSRPEM: csrFor(t, "shop.example.com")}})
		check(t, err)
		if made.Status != "Active" || made.Version == nil || !strings.HasPrefix(made.Version.PEMChain, "-----BEGIN CERTIFICATE") || made.Version.CSRPEM == "" || made.ExpiresAt == nil {
			t.Fatalf("%+v", made)
		}
		changed, err := api.UpdateCertificate.Call(ctx, c, api.Update[api.CertificateWrite]{ID: made.ID, Body: api.CertificateWrite{Environment: api.Some("live"), SANs: api.Some([]string{"b.example.com"})}})
		check(t, err)
		if changed.Environment != "live" || !changed.PendingChange {
			t.Fatalf("%+v", changed)
		}
		versions, err := api.ListCertificateVersions.Call(ctx, c, api.ListVersionsInput{ID: made.ID})
		check(t, err)
		if versions.Total != 1 || versions.Data[0].SerialNumber != made.Version.SerialNumber {
			t.Fatalf("%+v", versions)
		}
		out, err := api.ExportCertificatePEM.Call(ctx, c, api.ExportPEMInput{ID: made.ID})
		check(t, err)
		if out.FullPEM != made.Version.PEMChain || out.CertPEM+out.ChainPEM != out.FullPEM {
			t.Fatalf("%+v", out)
		}
		gone, err := api.RevokeCertificate.Call(ctx, c, api.AskWith[api.RevokeRequest]{ID: made.ID, Body: &api.RevokeRequest{Reason: "superseded"}})
		check(t, err)
		if gone.Status != "revoked" || gone.Certificate.Status != "Revoked" || gone.Certificate.RevocationReason != "superseded" {
			t.Fatalf("%+v", gone)
		}
		if _, err := api.ArchiveCertificate.Call(ctx, c, api.ByID{ID: made.ID}); err != nil {
			t.Fatal(err)
		}
		page, err := api.ListCertificates.Call(ctx, c, api.ListCertificatesInput{})
		check(t, err)
		if page.Total != 0 {
			t.Fatalf("archived ones are listed: %+v", page)
		}
	})
}
