package rest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestTheFreshnessOfEveryCRLIsTold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		ctx := storetest.Admin(t.Context())
		other := posted("/api/v1/teams", `"name":"other"`)(t, h, "")
		theirs := posted(issuersPath, `"type":"GenericCA","name":"theirs"`)(t, h, other)
		check(t, db.Write(ctx, func(tx *store.Tx) error {
			tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: "iss-acme"}, Name: "acme", Type: "ACME", Config: []byte("{}"), Secrets: []string{}})
			tx.RecordOn(leafward.CRLPublished, "crl", h.authorityID(t, ca.LocalIssuer), "", leafward.Details{"number": 7})
			return nil
		}))
		rows := func(who string) map[string]api.CRLCacheRow {
			t.Helper()
			cache, err := api.ListCRLCache.Call(t.Context(), h.client(who), api.Nothing{})
			check(t, err)
			if cache.RowCount != len(cache.CacheRows) || time.Since(cache.GeneratedAt).Abs() > time.Minute {
				t.Errorf("%+v", cache)
			}
			found := make(map[string]api.CRLCacheRow)
			for _, row := range cache.CacheRows {
				found[row.IssuerID+"/"+row.AuthorityID] = row
			}
			return found
		}
		all := rows("admin")
		local := all[ca.LocalIssuer+"/"+h.authorityID(t, ca.LocalIssuer)]
		if !local.CachePresent || local.IsStale || local.CRLNumber == 0 || local.NextUpdate.Sub(*local.ThisUpdate) != 24*time.Hour || local.SizeBytes == 0 || len(local.RecentEvents) != 1 || local.RecentEvents[0].Details["number"] != 7.0 {
			t.Errorf("%+v", local)
		}
		if acme, listed := all["iss-acme/"]; !listed || acme.CachePresent || acme.IsStale || acme.ThisUpdate != nil {
			t.Errorf("%+v", acme)
		}
		if len(all) != 4 { // the root, the issuing authority, theirs and the upstream issuer
			t.Errorf("%d rows", len(all))
		}
		for key := range rows("team admin") {
			if strings.HasPrefix(key, theirs) {
				t.Errorf("another team's %s is shown", key)
			}
		}
	})
}

// authorityID is the authority of an issuer.
func (h house) authorityID(t *testing.T, issuer string) string {
	t.Helper()
	_, out, _ := h.send(t, "admin", "GET", issuersPath+"/"+issuer, "")
	return out["authority_id"].(string)
}

func TestTheDocumentTellsOfTheDoorsThatNeedNoKey(t *testing.T) {
	text, err := rest.Document("test")
	check(t, err)
	var doc struct {
		Paths map[string]map[string]struct {
			Security  *[]any
			Responses map[string]struct{ Content map[string]any }
			Body      struct{ Content map[string]any } `json:"requestBody"`
		}
	}
	check(t, json.Unmarshal(text, &doc))
	for _, op := range api.Operations() {
		if op.Elsewhere == nil {
			continue
		}
		got := doc.Paths[op.Path][strings.ToLower(op.Method)]
		if got.Security == nil || len(*got.Security) != 0 || got.Responses["200"].Content[op.Elsewhere.Answer] == nil || got.Responses["501"].Content["application/json"] == nil {
			t.Errorf("%s: %+v", op.ID, got)
		}
		if op.Elsewhere.Also != "" && got.Responses["200"].Content[op.Elsewhere.Also] == nil {
			t.Errorf("%s does not tell of %s", op.ID, op.Elsewhere.Also)
		}
		if op.Elsewhere.Ask != "" && got.Body.Content[op.Elsewhere.Ask] == nil {
			t.Errorf("%s takes %v", op.ID, got.Body)
		}
	}
}
