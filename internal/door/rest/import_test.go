package rest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAnImportDoesWhatItsRequestSays(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	h.furnish(t)
	a, err := inventorytest.New("elsewhere", time.Now())
	check(t, err)
	one, err := a.Leaf(2, inventorytest.Year, nil, "one.example.com")
	check(t, err)
	two, err := a.Leaf(3, inventorytest.Year, nil, "two.example.com")
	check(t, err)
	send := func(status int, body map[string]any) map[string]any {
		t.Helper()
		text, err := json.Marshal(body)
		check(t, err)
		got, out, _ := h.send(t, "operator", "POST", "/api/v1/certificates/import", string(text))
		if got != status {
			t.Fatalf("%s: %d %v", text, got, out)
		}
		return out
	}
	said := map[string]any{
		"owner_id": "o-own", "team_id": "t-own", "issuer_id": "iss-own", "renewal_policy_id": "rp-own", "certificate_profile_id": "prof-own", "environment": "lab",
		"tags": map[string]any{"app": "shop"}, "key_source": "server",
	}
	body := map[string]any{"pem": "\n" + inventorytest.PEM(one) + inventorytest.PEM(one[:40]), "first_line": 100}
	for property, value := range said {
		body[property] = value
	}
	out := send(200, body)
	rows := out["rows"].([]any)
	first, second := rows[0].(map[string]any), rows[1].(map[string]any)
	if fmt.Sprint(out["total"], out["imported"], out["known"], out["refused"]) != "2 1 0 1" || first["line"] != 101.0 || first["outcome"] != "imported" || second["outcome"] != "refused" {
		t.Fatalf("%v", out)
	}
	problem := second["problems"].([]any)[0].(map[string]any)
	if line := 101 + strings.Count(inventorytest.PEM(one), "\n"); second["line"] != float64(line) || problem["field"] != "certificate" || problem["fix"] == "" {
		t.Errorf("%v, wanted line %d", second, line)
	}
	at := "/api/v1/certificates/" + first["certificate_id"].(string)
	shown := h.expect(t, "viewer", "GET", at, "", 200, "", "")
	for property, value := range said {
		if fmt.Sprint(shown[property]) != fmt.Sprint(value) {
			t.Errorf("%s is %v, and %v was said", property, shown[property], value)
		}
	}
	out = send(200, map[string]any{"csv": "colour,certificate\nred," + base64.StdEncoding.EncodeToString(two) + "\nred," + base64.StdEncoding.EncodeToString(one) + "\n"})
	if fmt.Sprint(out["imported"], out["known"], out["refused"], out["ignored_columns"]) != "1 1 0 [colour]" {
		t.Errorf("%v", out)
	}
	for field, body := range map[string]map[string]any{
		"pem": {}, "csv": {"csv": "name\n"}, "issuer_id": {"pem": "x", "issuer_id": "iss-none"}, "key_source": {"pem": "x", "key_source": "nobody"}, "first_line": {"pem": "x", "first_line": -1},
		"environment": {"pem": "x", "environment": strings.Repeat("x", 300)},
	} {
		if got := fieldOf(send(400, body)); strings.TrimPrefix(got, "body.") != field {
			t.Errorf("%v is refused for %s", body, got)
		}
	}
}
