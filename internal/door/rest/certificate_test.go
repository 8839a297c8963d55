package rest_test

import (
	"fmt"
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

func TestAnExportIsAnObjectOrAFile(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	made := h.make(t, "/api/v1/certificates?wait=30", fmt.Sprintf(`{"csr_pem":%q}`, csrFor(t, "shop.example.com")))
	at := "/api/v1/certificates/" + made["id"].(string) + "/export/pem"
	out := h.ask(t, "viewer", "GET", at, "")
	file := h.ask(t, "viewer", "GET", at+"?download=true", "")
	whole := out.json(t)
	if whole["full_pem"] != file.text || file.text != made["version"].(map[string]any)["pem_chain"] || whole["cert_pem"].(string)+whole["chain_pem"].(string) != file.text || strings.Contains(out.text, "PRIVATE") {
		t.Errorf("%s and %s", out.text, file.text)
	}
	if file.status != 200 || file.header.Get("Content-Type") != "application/x-pem-file" || !strings.Contains(file.header.Get("Content-Disposition"), made["id"].(string)+".pem") || out.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", file.status, file.header)
	}
	h.expect(t, "viewer", "GET", at+"?download=maybe", "", 400, "error", "invalid_request")
	waiting := h.make(t, "/api/v1/certificates", `{"common_name":"waiting.example.com"}`)["id"].(string)
	if none := h.ask(t, "viewer", "GET", "/api/v1/certificates/"+waiting+"/export/pem?download=true", ""); none.status != 404 && none.status != 409 {
		t.Errorf("before anything was issued: %d %s", none.status, none.text)
	}
}

func TestWhereACertificateIsIsTold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		agent := h.joined(t, "web1", "")
		id := h.ordered(t, agent, "shop.example.com")
		place := func() map[string]any {
			t.Helper()
			out := h.expect(t, "viewer", "GET", "/api/v1/certificates/"+id+"/deployments", "", 200, "total", "1")
			return out["data"].([]any)[0].(map[string]any)
		}
		if at := place(); at["name"] != "shop.example.com" || at["type"] != "NGINX" || at["agent_id"] != agent || at["config"].(map[string]any)["cert_path"] != "/etc/shop.example.com.pem" || at["desired_version_id"] != "" || at["proof"] != "none" {
			t.Errorf("before anything was issued: %v", at)
		}
		door := "/api/v1/agents/" + agent
		h.expect(t, "web1", "POST", door+"/csr", csrBody(t, id, csrFor(t, "shop.example.com")), 202, "status", "csr_signed")
		var item map[string]any
		for { // the deployment comes with the version
			changed := h.db.Changed()
			if jobs := h.ask(t, "web1", "GET", door+"/work", "").json(t)["jobs"].([]any); len(jobs) == 1 {
				item = jobs[0].(map[string]any)
				break
			}
			<-changed
		}
		if at := place(); at["desired_version_id"] != item["version_id"] || at["deployed_version_id"] != "" {
			t.Errorf("before it was deployed: %v", at)
		}
		job := item["id"].(string)
		h.expect(t, "web1", "POST", door+"/jobs/"+job+"/status", `{"status":"Completed"}`, 200, "status", "updated")
		if at := place(); at["deployed_version_id"] != item["version_id"] || at["deployed_at"] == nil || at["proved_version_id"] != "" {
			t.Errorf("before it was proved: %v", at)
		}
		said := fmt.Sprintf(`{"target_id":%q,"expected_fingerprint":%q,"actual_fingerprint":%q,"verified":true,"error":""}`, item["target_id"], item["fingerprint"], item["fingerprint"])
		h.expect(t, "web1", "POST", "/api/v1/jobs/"+job+"/verify", said, 200, "verified", "true")
		h.settles(t, id)
		if at := place(); at["proved_version_id"] != item["version_id"] || at["proved_at"] == nil || at["proof"] != "served" || at["pinned"] != false {
			t.Errorf("after it was proved: %v", at)
		}
	})
}
