package cli_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

// passphraseIn is a file with a passphrase.
func passphraseIn(t *testing.T, dir, word string) string {
	t.Helper()
	file := filepath.Join(dir, strings.ReplaceAll(word, " ", "-")+".pass")
	if err := os.WriteFile(file, []byte(word+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestARootIsTakenOfflineIntoAFileAndBroughtBackFromIt(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	root := answer[api.Authority](d, "ca", "show")
	file, word := filepath.Join(dir, "root.age"), passphraseIn(t, dir, "correct horse battery")
	d.ok("ca", "list").has(t, 0, "CRL UNTIL", root.Name, "root", "issuing", "local", "active")
	d.refused("usage", "not to standard output", "ca", "offline", "--out", "-", "--passphrase-file", word)
	d.refused("usage", "--crl-days is 0", "ca", "offline", "--out", file, "--passphrase-file", word, "--crl-days", "0")
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Fatalf("a key that stayed is in a file: %v", err)
	}
	d.ok("ca", "offline", "--out", file, "--passphrase-file", word, "--crl-days", "20").
		has(t, 0, "✔ the key of "+root.Name+" is in "+file+" and no more on the server; the file was read back, and holds the key", "! its CRL is valid until")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file has mode %v: %v", info.Mode(), err)
	}
	d.ok("ca", "show").has(t, 0, "offline since")
	d.ok("status").has(t, 0, "ready")
	d.refused("conflict", "is offline since", "ca", "offline", "--out", file+"2", "--passphrase-file", word)
	d.ok("issue", "www.example.com", "--out", dir)

	d.refused("forbidden", "a wrong passphrase", "ca", "online", root.Name, file, "--passphrase-file", passphraseIn(t, dir, "another horse battery"))
	damaged := filepath.Join(dir, "damaged")
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(damaged, text[:len(text)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.refused("invalid_request", "is not whole", "ca", "online", root.Name, damaged, "--passphrase-file", word)
	d.refused("invalid_request", "more than 65536 octets", "ca", "online", root.Name, "/dev/zero", "--passphrase-file", word)
	d.refused("invalid_request", "is a directory", "ca", "online", root.Name, dir, "--passphrase-file", word)
	d.refused("not_found", "no such file", "ca", "online", root.Name, file+"3", "--passphrase-file", word)
	d.refused("not_found", "no authority named", "ca", "online", "nobody", file, "--passphrase-file", word)
	d.ok("ca", "online", root.Name, file, "--passphrase-file", word).has(t, 0, "✔ the key of "+root.Name+" is on the server, and its CRL is new")
	d.refused("conflict", "is local, not offline", "ca", "online", root.Name, file, "--passphrase-file", word)
}

func TestAnOfflineKeyIsEncryptedToARecipientAndProvedWithItsIdentity(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	root := answer[api.Authority](d, "ca", "show")
	var with []string
	for _, name := range []string{"keeper", "stranger"} {
		key, err := age.GenerateX25519Identity()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(key.String()+"\n"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		with = append(with, key.Recipient().String())
	}
	file := filepath.Join(dir, "root.age")
	offline := func(more ...string) []string { return append([]string{"ca", "offline", "--out", file}, more...) }
	d.refused("usage", "--identity goes with --recipient", offline("--identity", filepath.Join(dir, "keeper"))...)
	d.refused("forbidden", "cannot be opened", offline("--recipient", with[0], "--identity", filepath.Join(dir, "stranger"))...)
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Fatalf("a file that did not open is left: %v", err)
	}
	d.refused("invalid_request", "is not a public key of age", offline("--recipient", "age1nonsense")...)
	d.ok(offline("--recipient", with[0], "--identity", filepath.Join(dir, "keeper"))...).has(t, 0, "and holds the key")
	d.refused("forbidden", "cannot be opened", "ca", "online", root.ID, file, "--identity", filepath.Join(dir, "stranger"))
	d.ok("ca", "online", root.ID, file, "--identity", filepath.Join(dir, "keeper"))
	file += "2"
	d.ok(offline("--recipient", with[0], "--recipient", with[1])...).has(t, 0, "nobody tried")
	other := filepath.Join(dir, "other.age")
	d.ok("ca", "online", root.ID, file, "--identity", filepath.Join(dir, "stranger"))
	corp, err := api.CreateIssuer.Call(t.Context(), d.Admin, api.Make[api.IssuerWrite]{Body: api.IssuerWrite{Name: api.Some("corp"), Type: api.Some("GenericCA"), Enabled: api.Some(false)}})
	if err != nil {
		t.Fatal(err)
	}
	switchOn := func() error {
		_, err := api.UpdateIssuer.Call(t.Context(), d.Admin, api.Update[api.IssuerWrite]{ID: corp.ID, Body: api.IssuerWrite{Enabled: api.Some(true)}})
		return err
	}
	d.ok("ca", "offline", "corp", "--out", other, "--recipient", with[0])
	if e, ok := errors.AsType[*api.Error](switchOn()); !ok || e.Code != string(leafward.Conflict) || !strings.Contains(e.Message, "corp is offline") {
		t.Errorf("an issuer that cannot sign is switched on: %+v", e)
	}
	d.refused("failed", "the key of another authority", "ca", "online", "corp", file, "--identity", filepath.Join(dir, "keeper"))
	d.ok("ca", "online", "corp", other, "--identity", filepath.Join(dir, "keeper"))
	if err := switchOn(); err != nil {
		t.Error(err)
	}
}

func TestTheCertificateOfEveryAuthorityIsPrinted(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	if _, err := api.CreateIssuer.Call(t.Context(), d.Admin, api.Make[api.IssuerWrite]{Body: api.IssuerWrite{Name: api.Some("corp"), Type: api.Some("GenericCA")}}); err != nil {
		t.Fatal(err)
	}
	elsewhere := d.remote("viewer")
	for _, a := range answer[rows[api.Authority]](d, "ca", "list").Data {
		printed := d.ok("ca", "show", a.Name, "--pem")
		certs, err := pki.ParseChainPEM([]byte(printed.out))
		if err != nil || len(certs) != 1 || pki.Fingerprint(certs[0].Raw) != a.SHA256 || printed.err != "" {
			t.Errorf("for %s it prints %+v (%v)", a.Name, printed, err)
		}
		told := answer[struct {
			ID   string
			Text string `json:"certificate_pem"`
		}](elsewhere, "ca", "show", a.ID, "--pem")
		if told.ID != a.ID || told.Text != printed.out {
			t.Errorf("in JSON from elsewhere it is %+v", told)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(d.ok("ca", "show", "corp", "--pem").out))
	d.ok("issue", "www.example.com", "--issuer", "corp", "--out", dir)
	text, err := os.ReadFile(filepath.Join(dir, "www.example.com.crt"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.ParseChainPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: "www.example.com"}); err != nil {
		t.Errorf("whoever trusts the root corp does not trust what it signed: %v", err)
	}
	if text, err = os.ReadFile(d.RootFile()); err != nil || d.ok("ca", "show", "--pem").out != string(text) {
		t.Errorf("without a name it is not the root of the server: %v", err)
	}
	d.refused("not_found", "no authority named", "ca", "show", "nobody", "--pem")
}

func TestOnlyAnAdministratorMovesKeys(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	r := d.remote("operator")
	r.ok("ca", "list").has(t, 0, "root")
	r.refused("forbidden", "", "ca", "offline", "--out", filepath.Join(dir, "root.age"), "--passphrase-file", passphraseIn(t, dir, "correct horse battery"))
	if _, err := os.Lstat(filepath.Join(dir, "root.age")); !os.IsNotExist(err) {
		t.Errorf("a file is left: %v", err)
	}
}

// fronted is a desk behind a proxy that gives up on every request to take a key away.
func (d *desk) fronted(t *testing.T) *desk {
	t.Helper()
	to, err := url.Parse(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	on := httputil.NewSingleHostReverseProxy(to)
	on.Transport = d.over("").HTTP.Transport
	var root []byte
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/offline"):
			w.WriteHeader(http.StatusGatewayTimeout)
		case r.URL.Path == "/.well-known/pki/ca/root":
			_, _ = w.Write(root)
		default:
			on.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	root = front.Certificate().Raw
	behind := d.remote("admin")
	behind.env["LEAFWARD_SERVER"], behind.env["LEAFWARD_ROOT"] = front.URL, pki.Fingerprint(root)
	return behind
}

func TestAFileIsKeptWhereNobodySaysWhetherTheKeyHasLeft(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	file, word := filepath.Join(dir, "root.age"), passphraseIn(t, dir, "correct horse battery")
	root := answer[api.Authority](d, "ca", "show")
	s := d.fronted(t).typed("ca", "offline", root.Name, "--out", file, "--passphrase-file", word)
	s.has(t, 1, "which may still leave the server with it")
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file of a key that may have left is not kept: %v", err)
	}
	if shown := answer[api.Authority](d, "ca", "show"); shown.Custody != "local" || shown.CopySHA256 != "" {
		t.Errorf("it is %s, and everybody reads that the copy is %q", shown.Custody, shown.CopySHA256)
	}
	d.ok("ca", "offline", "--out", file+"2", "--passphrase-file", word)
}
