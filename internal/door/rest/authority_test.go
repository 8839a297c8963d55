package rest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/leafward/leafward/internal/envelope"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestARootGoesOfflineAndComesBackThroughTheAPI(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	_, all, _ := h.send(t, "viewer", "GET", "/api/v1/authorities", "")
	roots := 0
	id := ""
	for _, one := range all["data"].([]any) {
		if a := one.(map[string]any); a["role"] == "root" {
			roots++
			id = a["id"].(string)
		}
	}
	if roots != 1 || all["total"] != 2.0 {
		t.Fatalf("%v", all)
	}
	keeper, err := age.GenerateX25519Identity()
	check(t, err)
	path := "/api/v1/authorities/" + id
	status, copied, _ := h.send(t, "admin", "POST", path+"/key-copies", fmt.Sprintf(`{"recipients":[%q]}`, keeper.Recipient()))
	if status != 201 {
		t.Fatalf("%d %v", status, copied)
	}
	text, err := envelope.Open([]byte(copied["sealed_key"].(string)), []age.Identity{keeper})
	check(t, err)
	if !strings.Contains(string(text.Reveal()), "-----BEGIN PRIVATE KEY-----") {
		t.Error("the copy holds no key")
	}
	status, away, _ := h.send(t, "admin", "POST", path+"/offline", fmt.Sprintf(`{"copy_sha256":%q,"crl_days":10}`, copied["copy_sha256"]))
	if status != 200 || away["custody"] != "offline" || away["offline_since"] == nil {
		t.Fatalf("%d %v", status, away)
	}
	if life := moment(t, away["crl_next_update"]).Sub(moment(t, away["crl_this_update"])); life != 240*time.Hour {
		t.Errorf("the CRL is valid for %v", life)
	}
	to, err := envelope.ForRecipients([]string{away["recipient"].(string)})
	check(t, err)
	sealed, err := envelope.Seal(to, text.Reveal())
	check(t, err)
	status, back, _ := h.send(t, "admin", "POST", path+"/online", fmt.Sprintf(`{"sealed_key":%q}`, sealed))
	if status != 200 || back["custody"] != "local" || back["offline_since"] != nil || back["recipient"] != "" {
		t.Errorf("%d %v", status, back)
	}
	if status, out, _ := h.send(t, "operator", "POST", path+"/key-copies", fmt.Sprintf(`{"recipients":[%q]}`, keeper.Recipient())); status != 403 {
		t.Errorf("an operator gets a copy: %d %v", status, out)
	}
}

func moment(t *testing.T, value any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, value.(string))
	check(t, err)
	return at
}
