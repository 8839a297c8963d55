package rest_test

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const issuersPath = "/api/v1/issuers"

// issuer makes an issuer of type GenericCA and returns its id.
func (h house) issuer(t *testing.T, name, config string) string {
	t.Helper()
	return posted(issuersPath, fmt.Sprintf(`"type":"GenericCA","name":%q,"config":%s`, name, config))(t, h, "")
}

// authority is the certificate of an issuer.
func (h house) authority(t *testing.T, id string) *x509.Certificate {
	t.Helper()
	der, err := h.ca.Certificate(storetest.Admin(t.Context()), id)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert
}

func TestAnIssuerLivesThroughTheClient(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		c, ctx := h.client("admin"), t.Context()
		made, err := api.CreateIssuer.Call(ctx, c, api.Make[api.IssuerWrite]{Body: api.IssuerWrite{
			Name: api.Some("corp"), Type: api.Some("GenericCA"), Config: api.Some(api.Config(`{"common_name":"Corp CA","organization":"Corp","key_algorithm":"Ed25519","validity_days":100}`)),
		}})
		check(t, err)
		if cert := h.authority(t, made.ID); cert.Subject.CommonName != "Corp CA" || !slices.Equal(cert.Subject.Organization, []string{"Corp"}) || made.AuthorityID == "" || !made.Enabled {
			t.Errorf("%+v %v", made, cert.Subject)
		}
		changed, err := api.UpdateIssuer.Call(ctx, c, api.Update[api.IssuerWrite]{ID: made.ID, IfMatch: fmt.Sprint(made.Revision), Body: api.IssuerWrite{Name: api.Some("corporation"), Enabled: api.Some(false)}})
		if err != nil || changed.Name != "corporation" || changed.Enabled || string(changed.Config) != string(made.Config) {
			t.Errorf("%+v %v", changed, err)
		}
		page, err := api.ListIssuers.Call(ctx, c, api.ListIssuersInput{Listing: api.Listing{Search: "corpo"}, Enabled: "false", Type: "GenericCA"})
		if err != nil || page.Total != 1 || page.Data[0].ID != made.ID {
			t.Errorf("%+v %v", page, err)
		}
		tested, err := api.TestIssuerConnection.Call(ctx, c, api.IssuerID{ID: made.ID})
		if err != nil || tested.Status != "success" || len(tested.Steps) == 0 {
			t.Errorf("%+v %v", tested, err)
		}
		_, err = api.DeleteIssuer.Call(ctx, c, api.ByID{ID: made.ID})
		check(t, err)
		if _, err := api.GetIssuer.Call(ctx, c, api.ByID{ID: made.ID}); err == nil || !strings.Contains(err.Error(), "no issuer") {
			t.Error(err)
		}
	})
}

// subordinate is an authority made elsewhere: its chain and key in PEM, as a configuration.
func subordinate(t *testing.T) string {
	t.Helper()
	dummy := pki.NewDummy()
	sign := func(template pki.Template, issuer pki.Issuer, pub crypto.PublicKey, signer crypto.Signer) []byte {
		draft, err := dummy.BuildTBS(template, issuer, pub)
		check(t, err)
		der, err := pki.SignTBS(draft.TBS, signer)
		check(t, err)
		return der
	}
	rootKey, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 384})
	check(t, err)
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	check(t, err)
	template := pki.Template{Serial: pki.NewSerial(), Subject: pki.Subject{CommonName: "Elsewhere Root"}, NotBefore: time.Now().Add(-time.Hour), TTL: 1000 * 24 * time.Hour, CA: true, PathLen: pki.NoPathLen}
	self, err := template.SelfIssuer(rootKey.Public())
	check(t, err)
	root := sign(template, self, rootKey.Public(), rootKey)
	template.Serial, template.Subject.CommonName, template.PathLen, template.TTL = pki.NewSerial(), "Elsewhere Issuing", 0, 100*24*time.Hour
	text, err := pki.EncodePrivateKey(key)
	check(t, err)
	config, err := json.Marshal(map[string]string{"certificate_pem": string(pki.EncodeChain(sign(template, self, key.Public(), rootKey), root)), "private_key_pem": string(text)})
	check(t, err)
	return string(config)
}

func TestTheKeyOfAnImportedAuthorityIsSealedAndNeverShown(t *testing.T) {
	db := storetest.SQLite(t, nil)
	h := newHouse(t, db)
	id := h.issuer(t, "imported", subordinate(t))
	_, out, header := h.send(t, "admin", "GET", issuersPath+"/"+id, "")
	config := out["config"].(map[string]any)
	if key, set := config["private_key_pem"]; !set || key != nil || fmt.Sprint(out["secrets_set"]) != "[private_key_pem]" || config["certificate_pem"] == nil {
		t.Errorf("%v", out)
	}
	row, err := store.Issuers().Get(storetest.Admin(t.Context()), db, id)
	check(t, err)
	if all := fmt.Sprintf("%s %s", row.Config, row.Sealed); strings.Contains(all, "PRIVATE KEY") || len(row.Sealed) == 0 {
		t.Errorf("the key lies in the open: %s", all)
	}
	text, err := json.Marshal(out)
	check(t, err)
	if status, again, after := h.send(t, "admin", "PUT", issuersPath+"/"+id, string(text)); status != 200 || after.Get("ETag") != header.Get("ETag") || fmt.Sprint(again) != fmt.Sprint(out) {
		t.Errorf("sending back what was answered: %d %v", status, again)
	}
	if status, out, _ := h.send(t, "admin", "PUT", issuersPath+"/"+id, `{"config":{"private_key_pem":null}}`); status != 400 || fieldOf(out) != "config.private_key_pem" {
		t.Errorf("taking the key away: %d %v", status, out)
	}
	if status, out, _ := h.send(t, "admin", "POST", issuersPath+"/"+id+"/test", ""); status != 200 || out["status"] != "success" {
		t.Errorf("%d %v", status, out)
	}
}

// fieldOf is the first field that an answer complains about.
func fieldOf(out map[string]any) string {
	fields, _ := out["fields"].([]any)
	if len(fields) == 0 {
		return ""
	}
	return fields[0].(map[string]any)["field"].(string)
}

func TestWhatAnIssuerIsForLifeCannotBeChanged(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.issuer(t, "corp", `{"common_name":"Corp","validity_days":100}`)
	for body, field := range map[string]string{
		`{"config":{"common_name":"Other"}}`:     "config.common_name",
		`{"config":{"validity_days":200}}`:       "config.validity_days",
		`{"config":{"key_algorithm":"Ed25519"}}`: "config.key_algorithm",
		`{"config":{"colour":"red"}}`:            "config.colour",
		`{"config":null}`:                        "config.",
		`{"type":"VaultPKI"}`:                    "type",
		`{"authority_id":"ca-1"}`:                "authority_id",
		`{"secrets_set":["x"]}`:                  "secrets_set",
	} {
		status, out, _ := h.send(t, "admin", "PUT", issuersPath+"/"+id, body)
		if status != 400 || !strings.HasPrefix(fieldOf(out), field) || !strings.Contains(fmt.Sprint(out["message"]), "cannot be changed") && !strings.Contains(fmt.Sprint(out["message"]), "is ") {
			t.Errorf("%s: %d %v", body, status, out)
		}
	}
	if status, _, _ := h.send(t, "admin", "PUT", issuersPath+"/"+id, `{"config":{"common_name":"Corp"}}`); status != 200 {
		t.Errorf("the same again: %d", status)
	}
}

func TestATypeThatIsNotBuiltInIsRefusedWithThoseThatAre(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for _, kind := range append([]string{"Bogus", "genericca"}, leafward.IssuerTypes()...) {
		status, out, _ := h.send(t, "admin", "POST", issuersPath, fmt.Sprintf(`{"name":"x","type":%q}`, kind))
		if kind == leafward.GenericCA {
			continue
		}
		if status != 400 || out["error"] != "unsupported_type" || !strings.Contains(fmt.Sprint(out["fix"]), "GenericCA") {
			t.Errorf("%s: %d %v", kind, status, out)
		}
	}
	status, out, _ := h.send(t, "admin", "POST", issuersPath, `{"config":{"validity_days":0,"colour":"red","common_name":"a\u200bb"}}`)
	if status != 400 || !strings.Contains(fmt.Sprint(out["fields"]), "type") || !strings.Contains(fmt.Sprint(out["fields"]), "name") {
		t.Errorf("without a type: %d %v", status, out)
	}
	_, out, _ = h.send(t, "admin", "POST", issuersPath, `{"type":"GenericCA","config":{"validity_days":0,"colour":"red","common_name":"a\u200bb"}}`)
	for _, field := range []string{"field:name", "config.validity_days", "config.colour", "config.common_name"} {
		if !strings.Contains(fmt.Sprint(out["fields"]), field) {
			t.Errorf("%s is not told: %v", field, out)
		}
	}
	if status, out, _ = h.send(t, "admin", "POST", issuersPath, `{"name":"local","type":"GenericCA"}`); status != 409 {
		t.Errorf("a taken name: %d %v", status, out)
	}
	if status, out, _ = h.send(t, "admin", "POST", issuersPath, `{"id":"iss-local","name":"x","type":"GenericCA"}`); status != 409 {
		t.Errorf("a taken id: %d %v", status, out)
	}
}

func TestAnAuthorityStandsBelowOneThatTheActorMayChange(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	other := posted("/api/v1/teams", `"name":"other"`)(t, h, "")
	theirs := posted(issuersPath, `"type":"GenericCA","name":"theirs"`)(t, h, other)
	own := posted(issuersPath, `"type":"GenericCA","name":"own"`)(t, h, leafward.DefaultTeam)
	shared := h.issuer(t, "shared", `{}`)
	off := h.issuer(t, "off", `{}`)
	h.send(t, "admin", "PUT", issuersPath+"/"+off, `{"enabled":false}`)
	_, row, _ := h.send(t, "admin", "GET", issuersPath+"/"+theirs, "")
	for i, c := range []struct {
		who, parent string
		status      int
	}{
		{"team admin", own, 201},
		{"team admin", theirs, 400},
		{"team admin", row["authority_id"].(string), 400},
		{"team admin", shared, 403},
		{"admin", shared, 201},
		{"admin", off, 400},
		{"admin", "iss-none", 400},
		{"admin", ca.LocalIssuer, 400},
	} {
		status, out, _ := h.send(t, c.who, "POST", issuersPath, fmt.Sprintf(`{"name":"below %d","type":"GenericCA","config":{"parent_issuer_id":%q}}`, i, c.parent))
		if status != c.status || status == 400 && fieldOf(out) != "config.parent_issuer_id" {
			t.Errorf("%+v: %d %v", c, status, out)
			continue
		}
		if status == 201 {
			check(t, h.authority(t, out["id"].(string)).CheckSignatureFrom(h.authority(t, c.parent)))
		}
	}
}

func TestAnIssuerThatIsNeededIsNotDeleted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		ctx := storetest.Admin(t.Context())
		root := h.issuer(t, "root", `{}`)
		below := h.issuer(t, "below", fmt.Sprintf(`{"parent_issuer_id":%q}`, root))
		refused := func(id, counted string) {
			t.Helper()
			status, out, _ := h.send(t, "admin", "DELETE", issuersPath+"/"+id, "")
			counts, _ := out["counts"].(map[string]any)
			if status != 409 || counts[counted] != 1.0 || out["fix"] == nil {
				t.Errorf("%d %v", status, out)
			}
		}
		refused(root, "authorities")
		key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
		check(t, err)
		issued, err := h.ca.Issue(ctx, ca.Order{Authority: below, Request: "r-1", Subject: pki.Subject{CommonName: "a.example.com"}, PublicKey: key.Public(), TTL: time.Hour})
		check(t, err)
		check(t, db.Write(ctx, func(tx *store.Tx) error { return ca.MarkIssued(tx, issued.Authority, issued.Serial) }))
		_, err = h.ca.RespondSerial(ctx, below, issued.Serial) // the responder's own serial does not count
		check(t, err)
		refused(below, "serials")
		check(t, db.Write(ctx, func(tx *store.Tx) error {
			_, err := ca.Revoke(tx, issued.Authority, issued.Serial, leafward.Superseded, time.Time{})
			return err
		}))
		child := h.authority(t, below)
		for _, id := range []string{below, root} {
			if status, out, _ := h.send(t, "admin", "DELETE", issuersPath+"/"+id, ""); status != 204 {
				t.Errorf("%d %v", status, out)
			}
		}
		if _, err := store.Issuers().Get(ctx, db, root); leafward.KindOf(err) != leafward.NotFound {
			t.Error(err)
		}
		check(t, db.View(ctx, func(v *store.View) error {
			own, err := v.AuthoritiesBelow("")
			if err != nil {
				return err
			}
			for _, a := range own {
				s, found, err := v.Serial(a.ID, pki.SerialHex(child.SerialNumber))
				if found && s.Reason != "cessationOfOperation" {
					t.Errorf("the certificate of the authority is %+v", s)
				}
				if err != nil || found {
					return err
				}
			}
			t.Error("the certificate of the authority is not known above it")
			return nil
		}))
	})
}
