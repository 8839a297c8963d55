//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// extensionWith is an extension by the octets of its identifier.
func extensionWith(oid, value string) pkix.Extension {
	var id asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(append([]byte{asn1.TagOID, byte(len(oid))}, oid...), &id); err != nil {
		panic(err)
	}
	return pkix.Extension{Id: id, Value: []byte(value)}
}

// canaries are secrets that may be nowhere, by what they are.
type canaries map[string]string

// Secrets of every kind go into a server: as they should, in the wrong places, and in requests that fail. None of them is in
// its log, audit log, ledger, metrics, lists or errors, nor in a file as it is.
func TestNoSecretIsToldAnywhere(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		e := newEstate(t, serve(t, dsn))
		c := canaries{}
		for _, who := range e.callers {
			if who.key != "" && who.name != "stranger" {
				c["key of "+who.name] = who.key
			}
		}
		c["invitation"] = text(e.admin.expect(t, 201, "POST", "/api/v1/agents/invitations", object{"name": "host"}), "token")
		made := e.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": "made.example.com", "key_source": "server"})
		c["key of a certificate"] = heart(text(made, "private_key_pem"))
		cert, key := elsewhere(t)
		c["key of an authority"] = heart(key)
		e.admin.expect(t, 201, "POST", "/api/v1/issuers", object{"name": "brought", "type": "GenericCA", "config": object{"certificate_pem": cert, "private_key_pem": key}})
		c.misplaced(t, e)
		master, err := os.ReadFile(e.dir + "/master.key")
		if err != nil {
			t.Fatal(err)
		}
		c["master key"] = strings.TrimSpace(string(master))
		told := e.told(t)
		for what, secret := range c {
			if len(secret) < 16 {
				t.Errorf("%s: %q is no canary", what, secret)
			}
			if at := bytes.Index(told, []byte(secret)); at >= 0 {
				t.Errorf("%s is told: …%s…", what, told[max(0, at-100):at+len(secret)])
			}
		}
		e.stop(t)
		c.files(t, e.dir)
	})
}

// heart is a line of a PEM block that no other has.
func heart(pemText string) string {
	lines := strings.Split(strings.TrimSpace(pemText), "\n")
	return lines[len(lines)/2]
}

// elsewhere is an authority that was made elsewhere.
func elsewhere(t *testing.T) (cert, key string) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(5), 100), Subject: pkix.Name{CommonName: "Brought"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(3650 * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// misplaced sends secrets where they do not belong, or in requests that fail, and looks at the answers.
func (c canaries) misplaced(t *testing.T, e *estate) {
	t.Helper()
	try := func(what, method, path string, body any, headers ...string) {
		canary := "canary" + rand.Text()
		c[what] = canary
		content, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		put := func(text string) string { return strings.ReplaceAll(text, "CANARY", canary) }
		for i := range headers {
			headers[i] = put(headers[i])
		}
		got := e.call(t, e.caller("admin"), method, put(path), put(string(content)), headers...)
		if bytes.Contains(got.body, []byte(canary)) {
			t.Errorf("%s: the answer has it: %d %s", what, got.status, got.body)
		}
	}
	try("key that is none", "POST", "/api/v1/issuers", object{"name": "a", "type": "GenericCA", "config": object{"private_key_pem": "CANARY", "certificate_pem": "x"}})
	try("key in PEM that is none", "POST", "/api/v1/issuers", object{"name": "a", "type": "GenericCA", "config": object{"private_key_pem": "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----", "certificate_pem": "x"}})
	try("secret of another type", "POST", "/api/v1/issuers", object{"name": "a", "type": "GenericCA", "config": object{"private_key_pem": []string{"CANARY"}}})
	try("password of another kind of issuer", "POST", "/api/v1/issuers", object{"name": "a", "type": "GenericCA", "config": object{"password": "CANARY"}})
	try("key in place of a CSR", "POST", "/api/v1/certificates", object{"common_name": "x.example.com", "csr_pem": "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----"})
	try("key in the query", "GET", "/api/v1/teams?key=CANARY", nil)
	try("key in a header", "GET", "/api/v1/teams", nil, "Authorization", "Bearer lwk_CANARY")
	try("password of Basic", "GET", "/api/v1/teams", nil, "Authorization", "Basic CANARY")
	try("key among certificates", "POST", "/api/v1/certificates/import", object{"pem": "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n"})
	try("password in a list", "POST", "/api/v1/certificates/import", object{"csv": "name,certificate,password\nx,y,CANARY\n"})
	try("cookie", "GET", "/api/v1/teams", nil, "Cookie", "session=CANARY")
	e.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "store.before-commit", "action": "error:broken"})
	cert, key := elsewhere(t)
	c["key of a request that fails inside"] = heart(key)
	body, err := json.Marshal(object{"name": "fails", "type": "GenericCA", "config": object{"certificate_pem": cert, "private_key_pem": key}})
	if err != nil {
		t.Fatal(err)
	}
	got := e.call(t, e.caller("admin"), "POST", "/api/v1/issuers", string(body))
	e.local().expect(t, 200, "POST", "/testhooks/failpoint", object{"name": "store.before-commit", "action": ""})
	if got.status != 500 || bytes.Contains(got.body, []byte(heart(key))) {
		t.Errorf("what fails inside: %d %s", got.status, got.body)
	}
}

// files: nothing lies in the data directory as it is, but what is made to be a secret there.
func (c canaries) files(t *testing.T, dir string) {
	t.Helper()
	files := os.DirFS(dir)
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || slices.Contains([]string{"master.key", "server.pem"}, path) {
			return err
		}
		content, err := fs.ReadFile(files, path)
		for what, secret := range c {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s lies in %s", what, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A database that cannot be reached, and every other failure of a start, is told without the password in its URL.
func TestAStartThatFailsTellsNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://user:canaryCANARYcanary@127.0.0.1:1/none", "postgres://user:canaryCANARYcanary@/%zz", "canaryCANARYcanary", "mysql://user:canaryCANARYcanary@127.0.0.1/none"} {
		s := newServer(t, url)
		p := start(t, program(t, "leafward"), s.flags...)
		if code := p.ended(t); code == 0 {
			t.Errorf("%s: it starts", url)
		}
		if said := strings.Join(p.last(1000), "\n"); strings.Contains(said, "canaryCANARYcanary") || said == "" {
			t.Errorf("%s: it says\n%s", url, said)
		}
	}
}
