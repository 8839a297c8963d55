package cli_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

// pairAt reads the files of a name, which must fit, and returns the leaf.
func pairAt(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	if len(pair.Certificate) != 2 {
		t.Fatalf("the file holds %d certificates, not leaf and issuing", len(pair.Certificate))
	}
	issuing, err := x509.ParseCertificate(pair.Certificate[1])
	if err != nil || pair.Leaf.IsCA || !issuing.IsCA || pair.Leaf.CheckSignatureFrom(issuing) != nil {
		t.Errorf("the second certificate did not sign the first: %v", err)
	}
	for file, want := range map[string]os.FileMode{".crt": 0o644, ".key": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name+file)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s%s: %v, want %v (%v)", name, file, info.Mode().Perm(), want, err)
		}
	}
	return pair.Leaf
}

// holds fails the test unless the directory holds exactly these files.
func holds(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("the directory holds %v, want %v", have, want)
	}
}

func TestIssueLeavesACertificateAndItsKey(t *testing.T) {
	d, out := atServer(t), filepath.Join(t.TempDir(), "tls")
	s := d.ok("issue", "www.example.com", "example.com", "192.0.2.7", "--out", out, "--ttl", "30d", "--key-type", "ecdsa-p384")
	s.has(t, 0, "www.example.com is issued, until", "next", "--force")
	leaf := pairAt(t, out, "www.example.com")
	holds(t, out, "www.example.com.crt", "www.example.com.key")
	if known := answer[api.Certificate](d, "cert", "get", "www.example.com"); known.KeySource != "client" {
		t.Errorf("the key is the server's: %s", known.KeySource)
	}
	if leaf.VerifyHostname("example.com") != nil || leaf.VerifyHostname("192.0.2.7") != nil || leaf.Subject.CommonName != "www.example.com" {
		t.Errorf("it is for %v %v as %s", leaf.DNSNames, leaf.IPAddresses, leaf.Subject.CommonName)
	}
	if kind, err := pki.KindOf(leaf.PublicKey); err != nil || kind.Size != 384 || leaf.NotAfter.Sub(leaf.NotBefore) > 31*24*time.Hour {
		t.Errorf("it is not as asked: %v, %v to %v", kind, leaf.NotBefore, leaf.NotAfter)
	}

	remote := d.remote("operator")
	wild := answer[struct {
		CertFile    string `json:"cert_file"`
		Certificate api.Certificate
	}](remote, "issue", "*.example.com", "--out", out, "--name", "wild")
	if wild.CertFile != filepath.Join(out, "_wildcard.example.com.crt") || wild.Certificate.Name != "wild" {
		t.Errorf("%+v", wild)
	}
	if leaf := pairAt(t, out, "_wildcard.example.com"); leaf.VerifyHostname("any.example.com") != nil {
		t.Errorf("it is for %v", leaf.DNSNames)
	}
}

func TestIssueReplacesNothingUnasked(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	key := filepath.Join(out, "www.example.com.key")
	if err := os.WriteFile(key, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.refused("file_exists", key, "issue", "www.example.com", "--out", out)
	d.refused("file", "", "issue", "www.example.com", "--out", key)
	d.refused("file", "", "issue", "www.example.com", "--out", filepath.Join(key, "below"))
	if err := os.Mkdir(filepath.Join(out, "dir.example.com.crt"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.refused("file_exists", "is no file", "issue", "dir.example.com", "--out", out, "--force")
	if known := answer[rows[api.Certificate]](d, "cert", "list"); known.Total != 0 {
		t.Errorf("the server was asked for %v", known.Data)
	}
	for line, want := range map[string]string{
		"issue not_a..name":                         "not_a..name",
		"issue www.example.com --ttl soon":          "30d",
		"issue www.example.com --ttl=-1d":           "30d",
		"issue www.example.com --key-type rsa-1024": "rsa-2048",
		"issue www.example.com --tag x":             "NAME=VALUE",
		"issue www.example.com --issuer nobody":     "no issuer",
		"issue www.example.com --profile nobody":    "no profile",
		"issue www.example.com --owner nobody":      "no owner",
		"issue www.example.com --team nobody":       "no team",
		"issue www.example.com --policy nobody":     "no renewal policy",
		"issue www.example.com --ttl 9000d":         "ttl_seconds",
	} {
		fresh := filepath.Join(out, "fresh")
		if s := d.typed(append(strings.Fields(line), "--out", fresh)...); s.code == 0 || !strings.Contains(s.err, want) {
			t.Errorf("%s does not say %q: %+v", line, want, s)
		}
		if _, err := os.Stat(fresh); err == nil {
			t.Errorf("%s left its directory", line)
		}
	}
	d.Stop()
	d.refused("no_server", "", "issue", "www.example.com", "--out", out, "--force")
	holds(t, out, "dir.example.com.crt", "www.example.com.key")
	if text, err := os.ReadFile(key); err != nil || string(text) != "mine" {
		t.Errorf("the key is %q, %v", text, err)
	}
}

func TestIssueAgainIsTheNextVersionWithANewKey(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	d.ok("issue", "a.example.com", "b.example.com", "--out", out)
	first := pairAt(t, out, "a.example.com")
	d.ok("issue", "a.example.com", "B.example.com", "--out", out, "--force")
	second := pairAt(t, out, "a.example.com")
	holds(t, out, "a.example.com.crt", "a.example.com.key")
	if first.SerialNumber.Cmp(second.SerialNumber) == 0 || bytes.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
		t.Error("it is the same certificate, or the same key")
	}
	whole := answer[struct{ Versions []api.CertificateVersion }](d, "cert", "get", "a.example.com")
	if len(whole.Versions) != 2 || !whole.Versions[0].Current || whole.Versions[1].Current {
		t.Errorf("its versions are %+v", whole.Versions)
	}
	d.refused("conflict", "for other names", "issue", "a.example.com", "c.example.com", "--out", out, "--force")
	d.refused("conflict", "--ttl", "issue", "a.example.com", "b.example.com", "--out", out, "--force", "--ttl", "5d")
	d.ok("cert", "revoke", "a.example.com", "--reason", "superseded").has(t, 0, "in OCSP now", "next  get a new one", "leafward cert archive a.example.com frees this one")
	d.refused("conflict", "frees its name", "issue", "a.example.com", "b.example.com", "--out", out, "--force")
	if third := pairAt(t, out, "a.example.com"); third.SerialNumber.Cmp(second.SerialNumber) != 0 {
		t.Error("a refused command replaced the files")
	}
	d.ok("cert", "archive", "a.example.com").has(t, 0, "archived")
	d.ok("issue", "a.example.com", "--out", out, "--force")
}

func TestTheNextIssueThatIsToldMakesAKeyOfTheSameKind(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	d.ok("issue", "a.example.com", "--key-type", "ecdsa-p384", "--out", out).has(t, 0, "leafward issue a.example.com --key-type ecdsa-p384 --force")
	d.refused("conflict", "--key-type ecdsa-p384", "issue", "a.example.com", "--out", out, "--force")
	if a := answer[api.Certificate](d, "cert", "get", "a.example.com"); a.Status != "Active" {
		t.Errorf("what was refused left it %s", a.Status)
	}
	d.ok("issue", "a.example.com", "--key-type", "ecdsa-p384", "--out", out, "--force")
	d.ok("cert", "renew", "a.example.com").has(t, 0, "next  leafward issue a.example.com --key-type ecdsa-p384 --force")
}

func TestWhatWaitsForACSRGetsItFromIssue(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	d.ok("cert", "create", "db.example.com", "--tag", "app=shop", "--environment", "prod").has(t, 0, "… db.example.com waits for a CSR", "next  leafward issue db.example.com")
	d.ok("cert", "list").has(t, 0, "db.example.com", "Pending", "waits for a CSR")
	d.ok("status").has(t, 0, "db.example.com: its issuance waits", "do   leafward issue db.example.com")
	d.ok("job", "get", "db.example.com").has(t, 0, "AwaitingCSR", "waits for a CSR")
	d.ok("issue", "db.example.com", "--out", out)
	pairAt(t, out, "db.example.com")
	d.ok("cert", "get", "db.example.com").has(t, 0, "✔ Active", "app=shop", "prod", "held by whoever sends the CSR")
	d.ok("status").has(t, 0, "nothing is broken", "db.example.com expires")

	d.ok("issue", "late.example.com", "--ttl", "80d", "--out", out)
	d.ok("status").has(t, 0, "next    late.example.com expires")
	d.ok("issue", "db.example.com", "--out", out, "--force")
	d.ok("issue", "early.example.com", "--ttl", "20d", "--out", out)
	d.ok("cert", "renew", "early.example.com")
	d.ok("status").has(t, 0, "next    early.example.com expires")
	d.ok("cert", "renew", "db.example.com").has(t, 0, "next  leafward issue db.example.com --force")
	d.ok("job", "cancel", "db.example.com").has(t, 0, "the renewal of db.example.com is cancelled", "next")
	d.refused("conflict", "", "job", "cancel", "db.example.com")
	d.refused("not_found", "is no job", "job", "get", "nothing")
	d.refused("not_found", "", "job", "get", "job-nothing")
	d.ok("job", "list", "--cert", "db.example.com", "--type", "Renewal").has(t, 0, "Cancelled")
	d.refused("invalid_request", "status", "job", "list", "--status", "Bored")
}

// csrFile is a CSR of a new key in a file.
func csrFile(t *testing.T, names ...string) string {
	t.Helper()
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	if err != nil {
		t.Fatal(err)
	}
	return csrOf(t, key, names...)
}

// keyIn is the private key in a file.
func keyIn(t *testing.T, file string) crypto.Signer {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ParsePrivateKeyPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// csrOf is a CSR of a key in a file.
func csrOf(t *testing.T, key crypto.Signer, names ...string) string {
	t.Helper()
	parsed, err := pki.ParseNames(names)
	if err != nil {
		t.Fatal(err)
	}
	der, err := pki.MakeCSR(key, names[0], parsed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "request.pem")
	if err := os.WriteFile(file, pki.EncodeCSR(der), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWhoHoldsAKeyBringsTheCSR(t *testing.T) {
	d := atServer(t)
	d.ok("cert", "create", "db.example.com", "--csr", csrFile(t, "db.example.com")).has(t, 0, "✔ signature: signed", "the issuance is complete, until")
	chain := d.ok("cert", "get", "db.example.com", "--pem").out
	if certs, err := pki.ParseChainPEM([]byte(chain)); err != nil || len(certs) != 2 || certs[0].Subject.CommonName != "db.example.com" {
		t.Errorf("%v:\n%s", err, chain)
	}
	d.ok("cert", "renew", "db.example.com", "--csr", csrFile(t, "db.example.com")).has(t, 0, "the renewal is complete")
	d.refused("invalid_request", "csr_pem", "cert", "renew", "db.example.com", "--csr", csrFile(t, "other.example.com"))
	d.ok("job", "cancel", "db.example.com")
	d.refused("invalid_request", "csr_pem", "cert", "create", "x.example.com", "--csr", "cli_test.go")
	d.refused("file", "no such file", "cert", "create", "x.example.com", "--csr", "/no/such/file")
	empty := put(t, nil)
	d.refused("file", empty+" is empty", "cert", "create", "x.example.com", "--csr", empty)
	d.refused("file", empty+" is empty", "cert", "renew", "db.example.com", "--csr", empty)
	d.refused("not_found", "", "cert", "get", "x.example.com")
	d.refused("usage", "--csr", "cert", "create", "x.example.com", "--csr", "x", "--target", "y")
	d.refused("usage", "--server-key", "cert", "create", "x.example.com", "--server-key")
	d.refused("not_found", "no target", "cert", "create", "x.example.com", "--target", "nowhere")
	d.refused("conflict", "exists already", "cert", "create", "db.example.com")
	d.refused("usage", "an argument is empty", "cert", "create", "")
	d.refused("conflict", "has no targets", "cert", "deploy", "db.example.com")
}

func TestRevocationsNameWhatTheyHit(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	d.ok("issue", "a.example.com", "--out", out)
	d.ok("issue", "a.example.com", "--out", out, "--force")
	whole := answer[struct{ Versions []api.CertificateVersion }](d, "cert", "get", "a.example.com")
	old := whole.Versions[1]
	d.refused("not_found", "no version", "cert", "revoke", "a.example.com", "--version", "abc")
	d.refused("invalid_request", "reason", "cert", "revoke", "a.example.com", "--reason", "bored")
	d.refused("not_found", "nothing", "cert", "revoke", "nothing")
	d.ok("cert", "revoke", "a.example.com", "--version", strings.ToUpper(old.SerialNumber), "--reason", "superseded").has(t, 0, "version", "superseded")
	d.ok("cert", "get", "a.example.com").has(t, 0, "✔ Active", "revoked: superseded", "newest")
	d.ok("cert", "revoke", "a.example.com", "--reason", "certificateHold").has(t, 0, "leafward cert release a.example.com lifts it")
	d.ok("cert", "list", "--status", "Revoked").has(t, 0, "certificateHold")
	d.ok("cert", "release", "a.example.com").has(t, 0, "counts again")
	d.refused("conflict", "", "cert", "release", "a.example.com")
	d.ok("cert", "revoke", "a.example.com", "--reason", "keyCompromise", "--replace").has(t, 0, "waits for a CSR", "next  leafward issue a.example.com --force")
	d.ok("issue", "a.example.com", "--out", out, "--force")
	d.ok("cert", "get", "a.example.com").has(t, 0, "✔ Active")
}

func TestACertificateThatLosesItsVersionByAnothersKeyIsTold(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	d.ok("issue", "a.example.com", "--out", out)
	key := keyIn(t, filepath.Join(out, "a.example.com.key"))
	d.ok("cert", "create", "b.example.com", "--csr", csrOf(t, key, "b.example.com"))
	d.ok("status").has(t, 0, "nothing is broken")
	d.ok("cert", "list", "--version-revoked").has(t, 0, "no such certificates")
	d.ok("cert", "revoke", "a.example.com", "--reason", "keyCompromise").has(t, 0, "b.example.com has the same key: its version is revoked as well", "next  leafward issue b.example.com --force")
	d.ok("cert", "get", "b.example.com").has(t, 0, "Expiring", "revoked: keyCompromise")
	d.ok("cert", "list").has(t, 0, "its version is revoked")
	lost := answer[rows[api.Certificate]](d, "cert", "list", "--status", "Expiring", "--version-revoked")
	if len(lost.Data) != 1 || lost.Data[0].Name != "b.example.com" {
		t.Errorf("of those that lost a version are listed %+v", lost.Data)
	}
	d.typed("status").has(t, 1, "certificate b.example.com: its version is revoked", "do   leafward issue b.example.com --force")
}

func TestAReplacementAnswersScriptsWithWhoElseLostAVersion(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	d.ok("cert", "create", "a.example.com") // whose key an agent may make later
	d.ok("issue", "a.example.com", "--out", out)
	key := keyIn(t, filepath.Join(out, "a.example.com.key"))
	same := answer[api.Certificate](d, "cert", "create", "b.example.com", "--csr", csrOf(t, key, "b.example.com"))
	tells := func(said said) {
		t.Helper()
		var lost struct {
			Name string
			Also []string `json:"also_revoked"`
		}
		if err := json.Unmarshal([]byte(said.out), &lost); err != nil || lost.Name != "a.example.com" || len(lost.Also) != 1 || lost.Also[0] != same.ID {
			t.Errorf("%v: %s lost its version as well, and answered is %+v", err, same.ID, said)
		}
	}
	revoke := []string{"cert", "revoke", "a.example.com", "--reason", "keyCompromise", "--replace", "--json"}
	tells(d.ok(revoke...))
	tells(d.ok(append(revoke, "--no-wait")...)) // asked again it answers the same
	d.ok("job", "cancel", "a.example.com")
	if _, err := api.RegisterAgent.Call(t.Context(), d.Admin, api.Make[api.AgentRegister]{Body: api.AgentRegister{Name: api.Some("web1")}}); err != nil {
		t.Fatal(err)
	}
	d.ok("target", "add", "shop", "--type", "nginx", "--agent", "web1", "--cert-path", "/etc/nginx/shop.pem", "--key-path", "/etc/nginx/shop.key")
	d.ok("cert", "bind", "a.example.com", "shop", "--no-wait")
	late := d.typed(append(revoke, "--timeout", "1ms")...) // the agent never comes
	late.has(t, 1, "it is not done after 1ms")
	tells(late)
}

func TestNamesThatTwoTeamsUseAreAmbiguous(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	team, err := api.CreateTeam.Call(t.Context(), d.Admin, api.Make[api.TeamWrite]{Body: api.TeamWrite{Name: api.Some("shop")}})
	if err != nil {
		t.Fatal(err)
	}
	d.ok("issue", "www.example.com", "--out", out)
	d.ok("issue", "www.example.com", "--out", filepath.Join(out, "shop"), "--team", "shop", "--name", "www2")
	mine := answer[api.Certificate](d, "cert", "create", "both.example.com")
	d.ok("cert", "create", "both.example.com", "--team", "shop")
	d.refused("conflict", "there are 2 certificates named", "cert", "get", "both.example.com")
	d.refused("conflict", "there are 2 certificates named", "job", "get", "both.example.com")
	d.refused("conflict", "--team", "issue", "both.example.com", "--out", out)
	d.ok("issue", "both.example.com", "--out", out, "--team", "shop")
	d.ok("cert", "get", mine.ID).has(t, 0, "Pending")
	d.ok("cert", "list", "--team", "shop").has(t, 0, "both.example.com", "www2", "shop")
	if shops := answer[rows[api.Certificate]](d, "cert", "list", "--team", team.ID); shops.Total != 2 {
		t.Errorf("the team has %+v", shops.Data)
	}
	d.Stop()
	d.refused("no_server", "", "job", "get", mine.ID)
}

func TestAListIsWholeHoweverManyPagesItHas(t *testing.T) {
	d := atServer(t)
	const many = 501 // one more than a page holds
	var all sync.WaitGroup
	for part := range 8 {
		all.Go(func() {
			for i := part; i < many; i += 8 {
				body := api.NewCertificate{CertificateWrite: api.CertificateWrite{CommonName: api.Some(fmt.Sprintf("c%d.example.com", i))}}
				if _, err := api.CreateCertificate.Call(t.Context(), d.Admin, api.CreateCertificateInput{Body: body}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	whole := answer[rows[api.Certificate]](d, "cert", "list", "--limit", "0", "--sort", "name")
	seen := map[string]bool{}
	for _, c := range whole.Data {
		seen[c.ID] = true
	}
	if len(seen) != many || len(whole.Data) != many || whole.Total != many {
		t.Errorf("%d rows, %d of them different, of %d", len(whole.Data), len(seen), whole.Total)
	}
	cut := d.ok("cert", "list", "--limit", "2")
	cut.has(t, 0, "2 of 501 certificates shown", "--limit 0")
	if lines := strings.Count(cut.out, "\n"); lines != 3 {
		t.Errorf("two rows are %d lines", lines)
	}
	d.ok("cert", "list", "-q", "c500").has(t, 0, "c500.example.com")
	d.ok("cert", "list", "--status", "Active").has(t, 0, "no such certificates")
	d.refused("invalid_request", "sort", "cert", "list", "--sort", "beauty")
	d.refused("invalid_request", "status", "cert", "list", "--status", "Fine")
	d.refused("not_found", "no owner", "cert", "list", "--owner", "nobody")
}
