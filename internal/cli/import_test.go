package cli_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/cli"
	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
)

// foreignList writes a bundle of two certificates that somebody else signed.
func foreignList(t *testing.T, name string) {
	t.Helper()
	a, err := inventorytest.New("elsewhere", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := a.WritePEM(&text, 0, 2, 0); err != nil {
		t.Fatal(err)
	}
	write(t, name, text.String())
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAnImportTellsOfEachRowAndGoesOnWhereItWas(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	a, err := inventorytest.New("elsewhere", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(serial int64, name string) []byte {
		t.Helper()
		der, err := a.Leaf(serial, inventorytest.Year, nil, name)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	secret := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("nobody may see this")}))
	var bundle, sheet strings.Builder
	bundle.WriteString(secret + strings.Repeat("# words\n", 1000))
	if _, err := a.WritePEM(&bundle, 0, 300, 0); err != nil { // more than one request takes
		t.Fatal(err)
	}
	one, two := filepath.Join(dir, "one.pem"), filepath.Join(dir, "two.CSV")
	write(t, one, bundle.String()+inventorytest.PEM(leaf(900, "no host"))+secret)
	last := 1 + strings.Count(bundle.String(), "\n")
	sheet.WriteString("certificate;name;colour\n")
	fmt.Fprintf(&sheet, "%s;second;red\n\nx;y\n%s;third;red\n", base64.StdEncoding.EncodeToString(leaf(901, "b.example.com")), base64.StdEncoding.EncodeToString(leaf(902, "c.example.com")))
	write(t, two, sheet.String())
	s := d.typed("import", one, two, "--environment", "lab", "--tag", "app=shop", "--owner", "o-default", "--key-source", "server")
	s.has(t, 1, "302 certificates imported, 0 known already, 4 refused", one+":1: certificate is a private key", fmt.Sprintf("%s:%d: sans", one, last),
		fmt.Sprintf("%s:%d: certificate is a private key", one, last+strings.Count(inventorytest.PEM(leaf(900, "no host")), "\n")), two+":4: row has 2 cells", "nothing is done with the column colour")
	if code := base64.StdEncoding.EncodeToString([]byte("nobody may see this")); strings.Contains(s.out+s.err, code) {
		t.Errorf("the key is shown: %s", s.err)
	}
	d.ok("cert", "list", "--environment", "lab", "--search", "third").has(t, 0, "third")
	d.typed("import", one, two).has(t, 1, "0 certificates imported, 302 known already, 4 refused")
	d.typed("import", two, "--issuer", "nobody").has(t, 1, "nobody")
	if s := d.typed("import", filepath.Join(dir, "none.pem")); strings.Contains(s.err, "so far") {
		t.Errorf("nothing was done, and it says %s", s.err)
	} else {
		s.has(t, 1, "cannot be read")
	}
	write(t, one, string(leaf(903, "d.example.com")))
	d.typed("import", one).has(t, 1, "holds no certificate", "openssl x509 -inform DER -in "+one)
	write(t, two, "certificate\n")
	d.typed("import", two).has(t, 1, "holds no certificate", "below the line that names the columns")
	code := base64.StdEncoding.EncodeToString(leaf(904, "e.example.com"))
	write(t, two, "certificate,owner\n"+code+",nobody\nx\n"+code+",no one\n")
	s = d.typed("import", two)
	s.has(t, 1, two+":2: owner names", two+":3: row has", two+":4: owner names", "by its id or its name")
	if at := strings.Index(s.err, two+":3:"); at < strings.Index(s.err, two+":2:") || at > strings.Index(s.err, two+":4:") {
		t.Errorf("the rows are told out of order: %s", s.err)
	}
	write(t, two, "name\nx\n")
	d.typed("import", two).has(t, 1, "names no column certificate")
}

func TestWhatIsAdvisedForAnArchivedCertificateWorks(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	a, err := inventorytest.New("elsewhere", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := a.Leaf(900, inventorytest.Year, nil, "theirs.example.com")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "theirs.pem")
	write(t, file, inventorytest.PEM(der))
	d.ok("import", file)
	d.refused("conflict", "by another authority", "cert", "revoke", "theirs.example.com")
	theirs := d.ok("cert", "archive", "theirs.example.com")
	theirs.has(t, 0, "have CN=elsewhere revoke it", "serial number 0x384")
	if strings.Contains(theirs.err, "leafward cert revoke") {
		t.Errorf("it advises what is refused: %s", theirs.err)
	}

	alone, err := inventorytest.New("alone.example.com", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: alone.Certificate.Subject, DNSNames: []string{"alone.example.com"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}, alone.Certificate, alone.Key.Public(), alone.Key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, inventorytest.PEM(der))
	d.ok("import", file)
	d.ok("cert", "archive", "alone.example.com").has(t, 0, "nobody revokes it", "wherever it is trusted")

	d.ok("issue", "ours.example.com", "--out", dir)
	_, advice, found := strings.Cut(d.ok("cert", "archive", "ours.example.com").err, "when its key is not safe: leafward ")
	if !found {
		t.Fatal("it does not say how ours is revoked")
	}
	d.ok(strings.Fields(advice)...).has(t, 0, "ours.example.com is revoked")
}

func TestNoChangeWaitsUntilWhatWasImportedIsChanged(t *testing.T) {
	d := atServer(t)
	a, err := inventorytest.New("elsewhere", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := a.Leaf(900, inventorytest.Year, nil, "theirs.example.com")
	if err != nil {
		t.Fatal(err)
	}
	file := put(t, []byte(inventorytest.PEM(der)))
	d.ok("import", file)
	waits := func(want bool) api.Certificate {
		t.Helper()
		c, words := answer[api.Certificate](d, "cert", "get", "theirs.example.com"), "a change waits for the next renewal"
		for _, said := range []said{d.ok("cert", "list"), d.ok("cert", "get", "theirs.example.com")} {
			if c.PendingChange != want || strings.Contains(said.out, words) != want {
				t.Errorf("a change waits: %t, not %t:\n%s", c.PendingChange, want, said.out)
			}
		}
		return c
	}
	c := waits(false)
	d.ok("cert", "get", c.ID).has(t, 0, "local, from the next renewal on; this version was signed by CN=elsewhere\n")
	if _, err := api.UpdateCertificate.Call(t.Context(), d.Admin, api.Update[api.CertificateWrite]{ID: c.ID, Body: api.CertificateWrite{TTLSeconds: api.Some(int64(30 * 24 * 3600))}}); err != nil {
		t.Fatal(err)
	}
	waits(true)
	d.ok("cert", "renew", c.ID, "--csr", csrFile(t, "theirs.example.com"))
	waits(false)
	if s := d.ok("cert", "get", c.ID); strings.Contains(s.out, "signed by") {
		t.Errorf("what was issued here is said to be from elsewhere:\n%s", s.out)
	}
}

// endless is a list without an end, whose reader is told to stop.
type endless struct{ stop func() }

func (e endless) Read(p []byte) (int, error) {
	e.stop()
	clear(p)
	return len(p), nil
}

func TestAnImportThatIsToldToStopStops(t *testing.T) {
	d := atServer(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, err bytes.Buffer
	s := &cli.Session{In: endless{stop}, Out: &out, Err: &err, Version: "test", Getenv: func(name string) string { return d.env[name] }}
	if code := cli.Main(ctx, s, []string{"import", "-"}, &grammar{}); code == 0 {
		t.Errorf("it ended well: %s%s", out.String(), err.String())
	}
}
