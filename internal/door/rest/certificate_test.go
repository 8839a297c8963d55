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

func TestTheAnswerToAnOrderComesWithItsVersionOrWhenTheWaitIsOver(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	made := h.make(t, "/api/v1/certificates?wait=60", `{"common_name":"a.example.com","key_source":"server"}`)
	chain, _ := made["version"].(map[string]any)["pem_chain"].(string)
	certs, err := pki.ParseChainPEM([]byte(chain))
	if err != nil || made["status"] != "Active" || len(certs) != 2 || certs[0].IsCA || !certs[1].IsCA {
		t.Errorf("%v: %v", made, err)
	}
	shown := h.expect(t, "viewer", "GET", "/api/v1/certificates/"+made["id"].(string), "", 200, "private_key_pem", "<nil>")
	if again, _ := shown["version"].(map[string]any); again["pem_chain"] != chain || made["private_key_pem"] == nil {
		t.Errorf("%v", shown)
	}
	for _, wait := range []string{"", "?wait=0", "?wait=1"} { // for a CSR that never comes
		late := h.make(t, "/api/v1/certificates"+wait, fill(`{"common_name":"c#.example.com"}`))
		if _, signed := late["version"]; signed || late["status"] != "Pending" || late["job_id"] == "" {
			t.Errorf("%s: %v", wait, late)
		}
	}
	for _, wait := range []string{"61", "-1", "x"} {
		h.expect(t, "admin", "POST", "/api/v1/certificates?wait="+wait, `{"common_name":"b.example.com"}`, 400, "error", "invalid_request")
	}
}
