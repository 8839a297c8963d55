//go:build linux

package e2e_test

import (
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/pki"
)

// The root's key is on no server for years: certificates are issued, renewed and revoked, the root's CRL verifies, status warns
// before the issuing authority needs it, and when the key is back the successor is made.
func TestARootIsOfflineWhileCertificatesAreIssued(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		s, dir := serve(t, dsn), t.TempDir()
		typed := func(args ...string) string {
			return tool(t, nil, program(t, "leafward-testhooks"), append(args, "--data-dir", s.dir)...)
		}
		word := filepath.Join(dir, "root.pass")
		if err := os.WriteFile(word, []byte("correct horse battery\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "root.age")
		typed("ca", "offline", "--out", file, "--passphrase-file", word, "--crl-days", "3650")
		old, err := x509.ParseCertificate(fetch(t, s.plain+"/.well-known/pki/ca/iss-local"))
		if err != nil {
			t.Fatal(err)
		}
		root := authorityNamed(t, s, "root")
		if root["custody"] != "offline" {
			t.Fatalf("%v", root)
		}

		_, csr := newCSR(t, "www.example.com")
		made := s.local().expect(t, http.StatusCreated, "POST", "/api/v1/certificates?wait=20", object{"common_name": "www.example.com", "csr_pem": csr})
		id := text(made, "id")
		_, csr = newCSR(t, "www.example.com")
		s.local().expect(t, http.StatusAccepted, "POST", "/api/v1/certificates/"+id+"/renew", nil)
		s.local().expect(t, http.StatusAccepted, "POST", "/api/v1/certificates/"+id+"/csr?wait=20", object{"csr_pem": csr})
		s.verifies(t, dir, text(made, "version", "pem_chain"), text(root, "id"), text(authorityNamed(t, s, "issuing"), "id"))

		s.setClock(t, old.NotAfter.Add(-200*day))
		if out, _ := s.status(t); !strings.Contains(out, "has a successor due on") || !strings.Contains(out, "leafward ca online '"+text(root, "name")+"' FILE") {
			t.Errorf("status says nothing of the successor:\n%s", out)
		}
		s.setClock(t, old.NotAfter.Add(-170*day))
		typed("ca", "online", text(root, "name"), file, "--passphrase-file", word)
		s.ledger.await(t, "authority.succeeded", "")
		_, csr = newCSR(t, "next.example.com")
		next := s.local().expect(t, http.StatusCreated, "POST", "/api/v1/certificates?wait=20", object{"common_name": "next.example.com", "csr_pem": csr})
		chain, err := pki.ParseChainPEM([]byte(text(next, "version", "pem_chain")))
		if err != nil || chain[1].Subject.CommonName != old.Subject.CommonName+" 2" {
			t.Errorf("the successor does not sign: %v", err)
		}
	})
}

// authorityNamed is the first authority of a role.
func authorityNamed(t *testing.T, s *server, role string) object {
	t.Helper()
	all := s.local().get(t, "/api/v1/authorities")
	for _, one := range all["data"].([]any) {
		if a := one.(map[string]any); a["role"] == role {
			return a
		}
	}
	t.Fatalf("there is no %s among %v", role, all)
	return nil
}

// verifies has openssl check a chain and every CRL above its leaf.
func (s *server) verifies(t *testing.T, dir, chain string, authorities ...string) {
	t.Helper()
	certs, err := pki.ParseChainPEM([]byte(chain))
	if err != nil {
		t.Fatal(err)
	}
	lists := ""
	for _, id := range authorities {
		der := filepath.Join(dir, "list.der")
		if err := os.WriteFile(der, fetch(t, s.plain+"/.well-known/pki/crl/"+id), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "openssl", "crl", "-inform", "DER", "-in", der).Output()
		if err != nil {
			t.Fatal(err)
		}
		lists += string(out)
	}
	for name, content := range map[string][]byte{"leaf.pem": pki.EncodeChain(certs[0].Raw), "issuing.pem": pki.EncodeChain(certs[1].Raw), "root.pem": s.root(t), "lists.pem": []byte(lists)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := exec.CommandContext(t.Context(), "openssl", "verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "-crl_check_all", "-CRLfile", "lists.pem", "leaf.pem")
	verify.Dir = dir
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("openssl verify: %s", out)
	}
}
