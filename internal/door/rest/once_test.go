package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// keyed sends a POST as an administrator under an Idempotency-Key.
func (h house) keyed(t *testing.T, path, key, body string) (status int, out map[string]any, replayed string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+path, strings.NewReader(body))
	check(t, err)
	req.Header.Set("Authorization", "Bearer "+h.keys["admin"])
	req.Header.Set("Idempotency-Key", key)
	res, err := h.Client().Do(req)
	check(t, err)
	defer res.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(res.Body)
	check(t, err)
	check(t, json.Unmarshal(text.Bytes(), &out))
	return res.StatusCode, out, res.Header.Get("Idempotency-Replayed")
}

// asked is a request that goes well, and another one to the same path, which may go as it likes.
type asked struct{ path, body, other string }

// repeatable says how to ask for each operation that takes an Idempotency-Key.
func repeatable() map[string]func(*testing.T, house) asked {
	issued := func(t *testing.T, h house, more string) string {
		t.Helper()
		out := h.make(t, "/api/v1/certificates?wait=30", fill(`{"common_name":"c#.example.com"`)+more+"}")
		if out["version"] == nil {
			t.Fatalf("nothing was issued: %v", out)
		}
		return out["id"].(string)
	}
	at := func(id, verb string) string { return "/api/v1/certificates/" + id + "/" + verb }
	server := `,"key_source":"server"`
	return map[string]func(*testing.T, house) asked{
		api.CreateCertificate.ID: func(*testing.T, house) asked {
			return asked{"/api/v1/certificates?wait=30", `{"common_name":"once.example.com","key_source":"server"}`, `{"common_name":"other.example.com"}`}
		},
		api.TriggerRenewal.ID: func(t *testing.T, h house) asked { return asked{at(issued(t, h, server), "renew"), "", ""} },
		api.TriggerDeployment.ID: func(t *testing.T, h house) asked {
			agent := h.joined(t, "web1", "")
			h.make(t, "/api/v1/targets", `{"id":"tgt-web","name":"web","type":"NGINX","agent_id":"`+agent+`","config":{"cert_path":"/etc/c.pem","key_path":"/etc/k.pem"}}`)
			return asked{at(issued(t, h, server+`,"target_ids":["tgt-web"]`), "deploy"), `{}`, `{"target_id":"tgt-web"}`}
		},
		api.RevokeCertificate.ID: func(t *testing.T, h house) asked {
			return asked{at(issued(t, h, server), "revoke"), `{"reason":"superseded"}`, `{"reason":"keyCompromise"}`}
		},
		api.ReleaseCertificate.ID: func(t *testing.T, h house) asked {
			id := issued(t, h, server)
			h.expect(t, "admin", "POST", at(id, "revoke"), `{"reason":"certificateHold"}`, 200, "status", "revoked")
			return asked{at(id, "release"), "", ""}
		},
		api.SubmitCertificateCSR.ID: func(t *testing.T, h house) asked {
			id := h.make(t, "/api/v1/certificates", `{"common_name":"csr.example.com"}`)["id"].(string)
			text := func() string { return fmt.Sprintf(`{"csr_pem":%q}`, csrFor(t, "csr.example.com")) }
			return asked{at(id, "csr"), text(), text()}
		},
		api.TakeCertificateKey.ID: func(t *testing.T, h house) asked {
			id := issued(t, h, server) // whose answer had the first key
			h.expect(t, "admin", "POST", at(id, "renew"), "", 202, "", "")
			h.settles(t, id)
			return asked{at(id, "key"), "", ""}
		},
		api.BulkRevokeCertificates.ID: func(t *testing.T, h house) asked {
			return asked{"/api/v1/certificates/bulk-revoke", `{"reason":"superseded","certificate_ids":["` + issued(t, h, server) + `"]}`, `{"reason":"superseded","owner_id":"o-default"}`}
		},
		api.BulkRenewCertificates.ID: func(t *testing.T, h house) asked {
			return asked{"/api/v1/certificates/bulk-renew", `{"certificate_ids":["` + issued(t, h, server) + `"]}`, `{"owner_id":"o-default"}`}
		},
		api.BulkReassignCertificates.ID: func(t *testing.T, h house) asked {
			h.make(t, "/api/v1/owners", `{"id":"o-heir","name":"heir"}`)
			return asked{"/api/v1/certificates/bulk-reassign", `{"owner_id":"o-heir","certificate_ids":["` + issued(t, h, server) + `"]}`, `{"owner_id":"o-default","certificate_ids":["mc-x"]}`}
		},
	}
}

// settles waits until nothing is open for a certificate.
func (h house) settles(t *testing.T, id string) {
	t.Helper()
	for {
		changed := h.db.Changed()
		if _, out, _ := h.send(t, "admin", "GET", "/api/v1/certificates/"+id, ""); out["job_id"] == "" {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the certificate does not come to rest")
		}
	}
}

func TestARepeatedRequestIsAnsweredAsTheFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		doc := readDocument(t)
		for _, op := range api.Operations() {
			if !slices.ContainsFunc(doc.operations[op.ID].Parameters, func(p parameter) bool { return p.Name == "Idempotency-Key" }) {
				continue
			}
			ask := repeatable()[op.ID]
			if ask == nil {
				t.Errorf("repeatable does not say how to ask for %s", op.ID)
				continue
			}
			a := ask(t, h)
			status, first, replayed := h.keyed(t, a.path, op.ID, a.body)
			if status != op.Status || replayed != "" {
				t.Errorf("%s: %d %v", op.ID, status, first)
				continue
			}
			status, again, replayed := h.keyed(t, a.path, op.ID, a.body)
			if status != op.Status || replayed != "true" {
				t.Errorf("%s again: %d %v", op.ID, status, again)
			}
			for _, property := range []string{"id", "job_id", "job_ids", "batch_id", "private_key_pem", "version_id", "total_matched"} {
				if property != "job_id" || op.ID == api.TriggerRenewal.ID { // which is over elsewhere
					if fmt.Sprint(first[property]) != fmt.Sprint(again[property]) {
						t.Errorf("%s: %s is %v, and then %v", op.ID, property, first[property], again[property])
					}
				}
			}
			if a.other == "" {
				continue
			}
			if status, out, _ := h.keyed(t, a.path, op.ID, a.other); status != 409 || out["error"] != "conflict" {
				t.Errorf("%s with another body: %d %v", op.ID, status, out)
			}
		}
	})
}

func TestARepetitionThatOvertakesTheFirstRequestIsToldToComeBack(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	const path, body = "/api/v1/certificates?wait=60", `{"common_name":"slow.example.com"}`
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+path, strings.NewReader(body))
	check(t, err)
	req.Header.Set("Authorization", "Bearer "+h.keys["admin"])
	req.Header.Set("Idempotency-Key", "k")
	left := make(chan struct{})
	go func() {
		defer close(left)
		if res, err := h.Client().Do(req); err == nil { // it waits for a CSR that never comes
			_ = res.Body.Close()
		}
	}()
	for recorded := false; !recorded; {
		changed := h.db.Changed()
		if recorded = h.ask(t, "viewer", "GET", "/api/v1/certificates?common_name=slow.example.com", "").json(t)["total"] == 1.0; !recorded {
			<-changed
		}
	}
	again := h.ask(t, "admin", "POST", path, body, "Idempotency-Key", "k")
	if again.refusal(t, 409, "conflict"); again.header.Get("Retry-After") == "" {
		t.Errorf("%v", again.header)
	}
	if other := h.ask(t, "admin", "POST", "/api/v1/certificates", `{"common_name":"other.example.com"}`, "Idempotency-Key", "k2"); other.status != 201 {
		t.Errorf("another key: %d %s", other.status, other.text)
	}
	leave()
	<-left
	for { // the server hears of it a moment later
		late := h.ask(t, "admin", "POST", "/api/v1/certificates", body, "Idempotency-Key", "k")
		if late.status == 201 && late.header.Get("Idempotency-Replayed") == "true" && late.json(t)["common_name"] == "slow.example.com" {
			break
		}
		late.refusal(t, 409, "conflict")
	}
	h.expect(t, "viewer", "GET", "/api/v1/certificates?common_name=slow.example.com", "", 200, "total", "1")
}
