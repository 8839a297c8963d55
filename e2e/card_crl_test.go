//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	zcrypto "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/leafward/leafward/internal/pki"
)

// CRLs as running servers give them out, against RFC 5280 and what relying parties need.
func TestCRLsKeepTheirScoreCard(t *testing.T) {
	c := &lists{server: serve(t, "", "--public-url", cardURL)}
	c.fresh = c.list(t, c.server)
	_, made := c.server.issue(t, "held.example.com")
	for _, reason := range []string{"certificateHold", "superseded", "keyCompromise"} { // the last of them counts
		c.revoke(t, c.server, made, reason)
	}
	c.twice = made
	_, made = c.server.issue(t, "why.example.com")
	c.revoke(t, c.server, made, "unspecified")
	c.unspecified = made
	c.server.listed(t, "iss-local", serialOf(t, made))
	score(t, "CRL", 15, slices.Concat(c.formPoints(), c.lifePoints(), c.doorPoints()))
}

// lists is what the card looks at.
type lists struct {
	server             *server
	fresh              crl    // of a new authority
	twice, unspecified object // certificates that are revoked
}

// crl is one list, as it was given out.
type crl struct {
	*x509.RevocationList
	header http.Header
	at     time.Time
}

func (c *lists) list(t testing.TB, s *server) crl { return s.crl(t, "iss-local") }

// crl is the list that a server gives out for an authority or issuer.
func (s *server) crl(t testing.TB, id string) crl {
	t.Helper()
	response, err := plain(t).Get(s.plain + "/.well-known/pki/crl/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	der, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %v: %s", response.Status, err, der)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return crl{list, response.Header, time.Now()}
}

// serialOf is the serial of a certificate's version.
func serialOf(t testing.TB, made object) *big.Int {
	t.Helper()
	return number(t, text(made, "version", "serial_number"))
}

func (l crl) entry(serial *big.Int) *x509.RevocationListEntry {
	for i := range l.RevokedCertificateEntries {
		if l.RevokedCertificateEntries[i].SerialNumber.Cmp(serial) == 0 {
			return &l.RevokedCertificateEntries[i]
		}
	}
	return nil
}

// until waits for a list of which something holds.
func (s *server) until(t testing.TB, id, what string, holds func(crl) bool) crl {
	t.Helper()
	look, deadline := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer look.Stop()
	for {
		list := s.crl(t, id)
		if holds(list) {
			return list
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("after %s the CRL %s is still not one that %s", patience, list.Number, what)
		}
	}
}

// listed waits until a serial is on the list.
func (s *server) listed(t testing.TB, id string, serial *big.Int) crl {
	t.Helper()
	return s.until(t, id, "has "+serial.Text(16), func(l crl) bool { return l.entry(serial) != nil })
}

func (c *lists) revoke(t testing.TB, s *server, made object, reason string) {
	t.Helper()
	s.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(made, "id")+"/revoke", object{"reason": reason})
}

func (c *lists) formPoints() []point {
	return []point{
		{name: "version 2 with the authority's key identifier and a number, as OpenSSL, GnuTLS and zlint read it", shown: c.form},
		{name: "no serial stands twice", shown: func(t *testing.T) {
			seen := map[string]int{}
			for _, e := range c.list(t, c.server).RevokedCertificateEntries {
				seen[e.SerialNumber.Text(16)]++
			}
			if seen[serialOf(t, c.twice).Text(16)] != 1 || len(seen) != 2 {
				t.Errorf("it lists %v", seen)
			}
		}},
		{name: "a reason is never 0 and never critical", shown: func(t *testing.T) {
			list := c.list(t, c.server)
			if e := list.entry(serialOf(t, c.twice)); e == nil || e.ReasonCode != 1 || len(e.Extensions) != 1 || e.Extensions[0].Critical {
				t.Errorf("the compromised one is %+v", e)
			}
			if e := list.entry(serialOf(t, c.unspecified)); e == nil || len(e.Extensions) != 0 {
				t.Errorf("the one without a reason is %+v", e)
			}
		}},
		{name: "a list of nothing has no list", shown: func(t *testing.T) {
			tbs := cryptobyte.String(c.fresh.RawTBSRevocationList)
			var body cryptobyte.String
			ok := tbs.ReadASN1(&body, cryptobyteasn1.SEQUENCE) && body.SkipASN1(cryptobyteasn1.INTEGER) && body.SkipASN1(cryptobyteasn1.SEQUENCE) &&
				body.SkipASN1(cryptobyteasn1.SEQUENCE) && body.SkipASN1(cryptobyteasn1.UTCTime) && body.SkipASN1(cryptobyteasn1.UTCTime)
			if !ok || body.PeekASN1Tag(cryptobyteasn1.SEQUENCE) || len(c.fresh.RevokedCertificateEntries) != 0 {
				t.Errorf("after nextUpdate comes %x", []byte(body))
			}
		}},
		{name: "a list of a part says so, critically, and which; a whole one does not", shown: c.shards},
	}
}

// form holds the list against other readers.
func (c *lists) form(t *testing.T) {
	installed(t, "openssl", "certtool")
	list := c.list(t, c.server)
	issuing := parsed(t, fetch(t, c.server.plain+"/.well-known/pki/ca/iss-local"))
	if !bytes.Equal(list.AuthorityKeyId, issuing.SubjectKeyId) || list.CheckSignatureFrom(issuing) != nil {
		t.Errorf("its key identifier is %x, the authority's %x", list.AuthorityKeyId, issuing.SubjectKeyId)
	}
	for _, extension := range list.Extensions {
		if extension.Critical || !slices.Contains([]string{"2.5.29.35", "2.5.29.20"}, extension.Id.String()) {
			t.Errorf("it has %v, critical: %t", extension.Id, extension.Critical)
		}
	}
	foreign, err := zcrypto.ParseRevocationList(list.Raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, result := range zlint.LintRevocationList(foreign).Results {
		if result.Status >= lint.Notice {
			t.Errorf("zlint: %s %s", name, result.Details)
		}
	}
	dir := shortDir(t)
	authority := filepath.Join(dir, "issuing.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuing.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := tool(t, list.Raw, "openssl", "crl", "-inform", "DER", "-noout", "-text", "-CAfile", authority); !strings.Contains(said, "Version 2") || !strings.Contains(said, "X509v3 CRL Number") {
		t.Errorf("OpenSSL reads\n%s", said)
	}
	if said := tool(t, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw}), "certtool", "--verify-crl", "--load-ca-certificate", authority); !strings.Contains(said, "Verified") {
		t.Errorf("GnuTLS says\n%s", said)
	}
}

// shards: authorities here give out whole lists; what makes the lists can make those of a part.
func (c *lists) shards(t *testing.T) {
	if part := slices.ContainsFunc(c.list(t, c.server).Extensions, func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.28" }); part {
		t.Error("the whole list says that it is one of a part")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(day), IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte("key"), KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	const place = cardURL + "/.well-known/pki/crl/one/3"
	der, err = pki.BuildCRL(pki.RevocationList{Number: big.NewInt(7), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(day), Shard: place}, parsed(t, der), key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.28" })
	if at < 0 || !list.Extensions[at].Critical || !bytes.Contains(list.Extensions[at].Value, []byte(place)) {
		t.Errorf("it has %+v", list.Extensions)
	}
}

func (c *lists) lifePoints() []point {
	return []point{
		{name: "numbers of at most 20 octets only grow: over revocations, kills, replicas, an older database and a restore", shown: c.numbers},
		{name: "it begins now or before and ends later", shown: func(t *testing.T) {
			if l := c.list(t, c.server); l.ThisUpdate.After(l.at) || !l.NextUpdate.After(l.at) {
				t.Errorf("at %s it is one from %s to %s", l.at, l.ThisUpdate, l.NextUpdate)
			}
		}},
		{name: "it lives for 10 days at most", shown: func(t *testing.T) {
			for _, id := range []string{"iss-local", c.above(t)} {
				if l := c.server.crl(t, id); l.NextUpdate.Sub(l.ThisUpdate) > 10*day {
					t.Errorf("that of %s lives %s", id, l.NextUpdate.Sub(l.ThisUpdate))
				}
			}
		}},
		{name: "what is revoked and then expires stays on one more list", shown: c.expired},
		{name: "it is made anew when half of its life is over at most", shown: func(t *testing.T) {
			s := serve(t, "")
			before := c.list(t, s)
			s.advance(t, before.NextUpdate.Sub(before.ThisUpdate)/2+time.Minute)
			after := s.until(t, "iss-local", "is new", func(l crl) bool { return l.Number.Cmp(before.Number) > 0 })
			if !after.ThisUpdate.After(before.ThisUpdate) || !after.NextUpdate.After(before.NextUpdate) {
				t.Errorf("from %s to %s, then from %s to %s", before.ThisUpdate, before.NextUpdate, after.ThisUpdate, after.NextUpdate)
			}
		}},
		{name: "after a succession each authority signs its own list, the old one to the last", shown: c.succeeded},
	}
}
