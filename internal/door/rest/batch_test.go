package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestManyCertificatesAreChangedThroughTheClient(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		c, ctx := h.client("admin"), t.Context()
		var ids []string
		for i := range 3 {
			made, err := api.CreateCertificate.Call(ctx, c, api.CreateCertificateInput{Wait: 30, Body: api.NewCertificate{CSRPEM: csrFor(t, fmt.Sprintf("m%d.example.com", i))}})
			check(t, err)
			ids = append(ids, made.ID)
		}
		h.make(t, "/api/v1/teams", `{"id":"t-heir","name":"heir"}`)
		heir := posted("/api/v1/owners", `"name":"heir","id":"o-heir"`)(t, h, "t-default")
		moved, err := api.BulkReassignCertificates.Call(ctx, h.client("operator"), api.Create[api.BulkReassignRequest]{Body: api.BulkReassignRequest{CertificateIDs: ids, OwnerID: heir, TeamID: "t-heir"}})
		check(t, err)
		if moved.TotalMatched != 3 || moved.TotalReassigned != 3 || moved.Status != "completed" || moved.Errors == nil {
			t.Errorf("%+v", moved)
		}
		h.expect(t, "viewer", "GET", "/api/v1/certificates?team_id=t-heir&owner_id="+heir, "", 200, "total", "3")
		renew := api.Create[api.BulkRenewRequest]{IdempotencyKey: "k", Body: api.BulkRenewRequest{OwnerID: heir}}
		begun, err := api.BulkRenewCertificates.Call(ctx, h.client("operator"), renew)
		check(t, err)
		if begun.TotalMatched != 3 || begun.TotalEnqueued != 3 || len(begun.EnqueuedJobs) != 3 || begun.EnqueuedJobs[0].CertificateID != ids[0] {
			t.Errorf("%+v", begun)
		}
		job, err := api.GetJob.Call(ctx, c, api.JobID{ID: begun.EnqueuedJobs[2].JobID})
		check(t, err)
		if job.BatchID != begun.BatchID || job.CertificateID != begun.EnqueuedJobs[2].CertificateID || job.Type != "Renewal" {
			t.Errorf("%+v", job)
		}
		again, err := api.BulkRenewCertificates.Call(ctx, h.client("operator"), renew)
		check(t, err)
		if again.BatchID != begun.BatchID || again.TotalEnqueued != 3 {
			t.Errorf("a repeated request: %+v", again)
		}
		revoke := api.BulkRevokeRequest{Reason: "superseded", BulkRenewRequest: api.BulkRenewRequest{CertificateIDs: append(ids, ids[0], "mc-nobody")}}
		gone, err := api.BulkRevokeCertificates.Call(ctx, c, api.Create[api.BulkRevokeRequest]{Body: revoke})
		check(t, err)
		if gone.TotalMatched != 4 || gone.TotalRevoked != 3 || gone.TotalFailed != 1 || len(gone.Errors) != 1 || gone.Errors[0].CertificateID != "mc-nobody" {
			t.Errorf("%+v", gone)
		}
		batch, err := api.GetBatch.Call(ctx, h.client("viewer"), api.BatchID{ID: gone.BatchID})
		check(t, err)
		if batch.Kind != "revoke" || batch.TotalDone != 3 || batch.EndedAt == nil || len(batch.Errors) != 1 {
			t.Errorf("%+v", batch)
		}
	})
}

func TestABatchWithoutACriterionIsRefused(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for path, bodies := range map[string][]string{
		"bulk-renew":    {`{}`, `{"owner_id":""}`, `{"certificate_ids":[]}`, `{"certificate_ids":[],"owner_id":"o-default"}`, `{"certificate_ids":null}`},
		"bulk-revoke":   {`{"reason":"superseded"}`, `{"certificate_ids":["mc-a"]}`, `{"reason":"","certificate_ids":["mc-a"]}`, `{"reason":"superseded","certificate_ids":[]}`},
		"bulk-reassign": {`{}`, `{"owner_id":"o-default"}`, `{"owner_id":"o-default","certificate_ids":[]}`, `{"certificate_ids":["mc-a"],"owner_id":""}`, `{"certificate_ids":["mc-a"],"owner_id":"o-none"}`},
	} {
		for _, body := range bodies {
			status, out, _ := h.send(t, "admin", http.MethodPost, "/api/v1/certificates/"+path, body)
			if status != 400 || !strings.Contains(fmt.Sprint(out["fields"]), "field:") {
				t.Errorf("%s %s: %d %v", path, body, status, out)
			}
		}
	}
}

func TestABatchSelectsWhatItsRequestSays(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	h.make(t, "/api/v1/teams", `{"id":"t-shop","name":"shop"}`)
	h.make(t, "/api/v1/owners", `{"id":"o-shop","name":"shop","team_id":"t-shop"}`)
	h.make(t, "/api/v1/profiles", `{"id":"prof-shop","name":"shop"}`)
	h.make(t, "/api/v1/issuers", `{"id":"iss-shop","name":"shop","type":"GenericCA"}`)
	agent := h.make(t, "/api/v1/agents", `{"name":"shop"}`)["id"].(string)
	h.make(t, "/api/v1/targets", `{"id":"tgt-shop","name":"shop","type":"NGINX","agent_id":"`+agent+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)
	for name, property := range map[string]string{
		"owned": `"owner_id":"o-shop"`, "profiled": `"certificate_profile_id":"prof-shop"`, "signed": `"issuer_id":"iss-shop"`, "placed": `"target_ids":["tgt-shop"]`, "plain": `"environment":"live"`,
	} {
		h.make(t, "/api/v1/certificates", fmt.Sprintf(`{"id":"mc-%s","common_name":"%s.example.com",%s}`, name, name, property))
	}
	for criterion, matched := range map[string]string{
		`"owner_id":"o-shop"`: "1", `"team_id":"t-shop"`: "1", `"profile_id":"prof-shop"`: "1", `"issuer_id":"iss-shop"`: "1", `"agent_id":"` + agent + `"`: "1",
		`"profile_id":"prof-server"`: "4", `"issuer_id":"iss-local"`: "4", `"owner_id":"o-default"`: "4", `"owner_id":"o-shop","issuer_id":"iss-shop"`: "0",
		`"certificate_ids":["mc-plain","mc-owned"]`: "2",
	} {
		h.expect(t, "operator", "POST", "/api/v1/certificates/bulk-renew", "{"+criterion+"}", 200, "total_matched", matched)
		out := h.expect(t, "admin", "POST", "/api/v1/certificates/bulk-revoke", `{"reason":"superseded",`+criterion+"}", 200, "total_matched", matched)
		if fmt.Sprint(out["total_failed"]) != matched { // nothing was issued yet
			t.Errorf("%s: %v", criterion, out)
		}
	}
}
