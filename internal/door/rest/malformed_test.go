package rest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store/storetest"
)

// block is a PEM block of a kind around a text.
func block(kind, text string) string {
	return "-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----\n"
}

// malformed are texts that are neither a CSR nor a chain nor a key.
func malformed(t *testing.T, kind string) map[string]string {
	t.Helper()
	good := csrFor(t, "shop.example.com")
	return map[string]string{
		"no PEM": "hello", "a block that does not end": "-----BEGIN " + kind + "-----\nMAA=\n", "no base64": block(kind, "!!!!"), "no DER": block(kind, "AAAA"),
		"an empty sequence": block(kind, "MAA="), "a block of another kind": block("ENCRYPTED MESSAGE", "MAA="), "half of it": good[:len(good)/2],
		"two of them": good + good, "too long": block(kind, strings.Repeat("A", 70000)),
	}
}

func TestMalformedCSRsAndPEMAreRefusedByTheirField(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id, agent := h.make(t, "/api/v1/certificates", `{"common_name":"shop.example.com"}`)["id"].(string), h.joined(t, "web1", "")
	ordered := h.ordered(t, agent, "web.example.com")
	refuse := func(path, field, what string, body map[string]any) {
		t.Helper()
		text, err := json.Marshal(body)
		check(t, err)
		status, out, _ := h.send(t, "admin", "POST", path, string(text))
		told := fmt.Sprint(out["fields"])
		if status != 400 || out["error"] != "invalid_request" || !strings.Contains(told, "field:"+field+" ") || !strings.Contains(told, "problem:") {
			t.Errorf("%s with %s in %s: %d %.300v", path, what, field, status, out)
		}
	}
	for what, text := range malformed(t, "CERTIFICATE REQUEST") {
		refuse("/api/v1/certificates", "csr_pem", what, map[string]any{"common_name": "shop.example.com", "name": "second", "csr_pem": text})
		refuse("/api/v1/certificates/"+id+"/csr", "csr_pem", what, map[string]any{"csr_pem": text})
		refuse("/api/v1/agents/"+agent+"/csr", "csr_pem", what, map[string]any{"certificate_id": ordered, "csr_pem": text})
	}
	var imported map[string]any
	check(t, json.Unmarshal([]byte(subordinate(t)), &imported))
	for property, kind := range map[string]string{"certificate_pem": "CERTIFICATE", "private_key_pem": "PRIVATE KEY"} {
		for what, text := range malformed(t, kind) {
			config := map[string]any{"certificate_pem": imported["certificate_pem"], "private_key_pem": imported["private_key_pem"]}
			config[property] = text
			refuse("/api/v1/issuers", "config."+property, what, map[string]any{"name": "imported", "type": "GenericCA", "config": config})
		}
	}
}

// signedWith is a CSR in PEM of a key and a template.
func signedWith(t *testing.T, key crypto.Signer, template x509.CertificateRequest, change func(der []byte)) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	check(t, err)
	change(der)
	return string(pki.EncodeCSR(der))
}

func TestACSRThatIsRefusedHasOneReasonAndTheFixForIt(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := h.make(t, "/api/v1/certificates", `{"common_name":"www.example.com"}`)["id"].(string)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	large, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	check(t, err)
	good, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	check(t, err)
	asIs, named := func([]byte) {}, x509.CertificateRequest{Subject: pkix.Name{CommonName: "www.example.com"}}
	newKey := "make a new key, RSA of 2048 to 4096 bits, ECDSA P-256 or P-384, or Ed25519, and a CSR with it"
	for name, c := range map[string]struct{ csr, problem, fix string }{
		"no PEM":        {"garbage", "is refused: there is no PEM block: it begins with a line of -----BEGIN", "send one CERTIFICATE REQUEST block, such as `openssl req -new` makes"},
		"no DER":        {block("CERTIFICATE REQUEST", "AAAA"), "is refused: it cannot be read: it is not the DER of a certification request (RFC 2986)", "send one CERTIFICATE REQUEST block, such as `openssl req -new` makes"},
		"a weak key":    {signedWith(t, weak, named, asIs), "is refused: an RSA key of 1024 bits is not issued for: use 2048, 3072 or 4096 bits", newKey},
		"another curve": {signedWith(t, large, named, asIs), "is refused: an ECDSA key on P-521 is not issued for: use P-256 or P-384", newKey},
		"a bad signature": {
			signedWith(t, good, named, func(der []byte) { der[len(der)-1] ^= 1 }), "is refused: its signature is not by its own key",
			"make the CSR again, signed by its own key with SHA-256, such as by `openssl req -new -sha256 -key FILE`",
		},
		"a wrong name": {
			signedWith(t, good, x509.CertificateRequest{DNSNames: []string{"a_b.example.com"}}, asIs), `is refused: the name "a_b.example.com" has an underscore, which host names do not have (RFC 1123 §2.1)`,
			"make the CSR again with names that are issued for: host names, IP addresses, e-mail addresses and URIs, at most 100",
		},
		"a long common name": {
			signedWith(t, good, x509.CertificateRequest{Subject: pkix.Name{CommonName: strings.Repeat("a", 65)}}, asIs), `is refused: the common name: "` + strings.Repeat("a", 65) + `" has 65 characters; at most 64 are allowed (RFC 5280)`,
			"make the CSR again, with one common name of at most 64 visible characters, or with none",
		},
	} {
		text, err := json.Marshal(map[string]string{"csr_pem": c.csr})
		check(t, err)
		for _, path := range []string{"/api/v1/certificates", "/api/v1/certificates/" + id + "/csr"} {
			status, out, _ := h.send(t, "admin", "POST", path, string(text))
			want := []any{map[string]any{"field": "csr_pem", "problem": c.problem, "fix": c.fix}}
			if status != 400 || out["message"] != "the request is not valid: csr_pem "+c.problem || out["fix"] != c.fix || !reflect.DeepEqual(out["fields"], want) {
				t.Errorf("%s: %s: %d %v", path, name, status, out)
			}
		}
	}
}

func TestMalformedTokensAreRefusedWithWhatToSend(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	for _, token := range []string{"x", "lwk_", "lwk_!", "LWA-", "LWA-x", "lwk_" + strings.Repeat("x", 600), strings.Repeat("y", 5000), "lwk_unknown extra"} {
		h.keys["odd"] = token
		for _, c := range [][3]string{{"GET", "/api/v1/teams", ""}, {"POST", "/api/v1/agents", `{"hostname":"web1"}`}} {
			status, out, _ := h.send(t, "odd", c[0], c[1], c[2])
			if status != 401 || out["error"] != "unauthorized" || out["message"] == "" || !strings.Contains(fmt.Sprint(out["fix"]), "Authorization: Bearer") {
				t.Errorf("%s %s with %.20q: %d %v", c[0], c[1], token, status, out)
			}
		}
	}
}
