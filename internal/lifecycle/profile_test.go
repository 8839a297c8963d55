package lifecycle_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/issuer/local"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store/storetest"
)

// profile makes a profile of the defaults, changed as said.
func (w *world) profile(t *testing.T, id string, change func(*leafward.Profile)) func(*leafward.Certificate) {
	t.Helper()
	_, err := lifecycle.NewSettings(w.db, lifecycle.Replan).CreateProfile(w.ctx, func(p *leafward.Profile) error {
		p.ID, p.Name = id, id
		change(p)
		return nil
	})
	check(t, err)
	return func(c *leafward.Certificate) { c.Profile = id }
}

// asks tells what a certificate is refused for; nil when it is taken.
func (w *world) asks(fill func(lifecycle.Shown, *leafward.Certificate) error, asked lifecycle.Asked) error {
	_, err := w.Create(w.ctx, fill, asked, lifecycle.Once{})
	return err
}

func TestAProfileAllowsItsKeysOnEveryRoad(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	strong := w.profile(t, "prof-strong", func(p *leafward.Profile) {
		p.Keys = []leafward.KeyRule{{Algorithm: leafward.ECDSA, MinSize: 384}, {Algorithm: leafward.RSA, MinSize: 3072}}
	})
	about(t, w.asks(of("a.example.com", strong, serverKey, func(c *leafward.Certificate) { c.Algorithm = leafward.Ed25519 }), lifecycle.Asked{}), "key_algorithm")
	about(t, w.asks(of("a.example.com", strong, serverKey, func(c *leafward.Certificate) { c.Algorithm, c.Size = leafward.RSA, 2048 }), lifecycle.Asked{}), "key_algorithm")
	about(t, w.asks(of("", strong), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")}), "csr_pem")
	waiting, err := w.Create(w.ctx, of("b.example.com", strong), lifecycle.Asked{}, lifecycle.Once{})
	check(t, err)
	_, err = w.SubmitCSR(w.ctx, waiting.ID, "", csr(t, newKey(t), "b.example.com"), lifecycle.Once{})
	about(t, err, "csr_pem")
	made := w.issued(t, of("c.example.com", strong, serverKey), lifecycle.Asked{})
	if made.Version.Algorithm != leafward.ECDSA || made.Version.Size != 384 {
		t.Errorf("the server made a key %s %d", made.Version.Algorithm, made.Version.Size)
	}
}

func TestAProfileBoundsLifetimesAndGivesTheDefault(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	const day = 24 * 3600
	month := w.profile(t, "prof-month", func(p *leafward.Profile) { p.MaxTTL, p.DefaultTTL, p.Backdate = 30*day, 10*day, 600 })
	ttl := func(seconds int64) func(*leafward.Certificate) {
		return func(c *leafward.Certificate) { c.TTL = seconds }
	}
	about(t, w.asks(of("a.example.com", month, serverKey, ttl(30*day+1)), lifecycle.Asked{}), "ttl_seconds")
	about(t, w.asks(of("a.example.com", month, serverKey, ttl(6*day)), lifecycle.Asked{}), "ttl_seconds") // under a week
	for name, want := range map[string]int64{"default.example.com": 10 * day, "longest.example.com": 30 * day} {
		asked := int64(0)
		if want == 30*day {
			asked = want
		}
		made := w.issued(t, of(name, month, serverKey, ttl(asked)), lifecycle.Asked{})
		cert := leaf(t, made)
		back := made.Version.CreatedAt.Sub(cert.NotBefore)
		if life := cert.NotAfter.Sub(cert.NotBefore) + time.Second; life != time.Duration(want)*time.Second || back < 9*time.Minute || back > 11*time.Minute {
			t.Errorf("%s lives %v and begins %v before it was made", name, life, back)
		}
	}
	none := w.profile(t, "prof-none", func(p *leafward.Profile) { p.MaxTTL, p.Backdate = 30*day, 0 })
	cert := leaf(t, w.issued(t, of("now.example.com", none, serverKey), lifecycle.Asked{}))
	if back := time.Since(cert.NotBefore); back > time.Minute || cert.NotAfter.Sub(cert.NotBefore)+time.Second != 30*24*time.Hour {
		t.Errorf("without backdating it begins %v ago", back)
	}
}

func TestAProfileSaysWhatTheKeyIsFor(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	mail := w.profile(t, "prof-mail", func(p *leafward.Profile) { p.EKUs = []string{"emailProtection", "clientAuth"} })
	cert := leaf(t, w.issued(t, of("", mail, serverKey, func(c *leafward.Certificate) { c.SANs = []string{"ann@example.com"} }), lifecycle.Asked{}))
	if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("it is for %v", cert.ExtKeyUsage)
	}
}

func TestAProfileBoundsTheNamesFromFieldsAndFromCSRsAlike(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	shop := w.profile(t, "prof-shop", func(p *leafward.Profile) {
		p.RequiredSANs, p.SPIFFE = []string{"*.shop.example.com", "10.0.0.?"}, "spiffe://shop.example.com/web/*"
	})
	names := func(names ...string) func(*leafward.Certificate) {
		return func(c *leafward.Certificate) { c.SANs = names }
	}
	for _, wrong := range []string{"shop.example.org", "10.0.1.1", "spiffe://shop.example.com/db/1"} {
		about(t, w.asks(of("", shop, serverKey, names(wrong)), lifecycle.Asked{}), "sans")
		about(t, w.asks(of("", shop), lifecycle.Asked{CSR: csr(t, newKey(t), wrong)}), "sans")
	}
	for _, right := range []string{"a.shop.example.com", "10.0.0.7", "spiffe://shop.example.com/web/1"} {
		check(t, w.asks(of("", shop, serverKey, names(right), func(c *leafward.Certificate) { c.Name = right }), lifecycle.Asked{}))
	}
	hosts := w.profile(t, "prof-hosts", func(p *leafward.Profile) { p.NameTypes, p.SPIFFE = []string{"dns", "uri"}, "spiffe://*" })
	for _, wrong := range []string{"10.0.0.7", "ann@example.com"} {
		about(t, w.asks(of("", hosts, serverKey, names(wrong)), lifecycle.Asked{}), "sans")
		about(t, w.asks(of("", hosts), lifecycle.Asked{CSR: csr(t, newKey(t), wrong)}), "sans")
	}
	for _, right := range []string{"web.example.com", "https://web.example.com/", "spiffe://example.com/web"} {
		check(t, w.asks(of("", hosts, serverKey, names(right), func(c *leafward.Certificate) { c.Name = "of hosts " + right }), lifecycle.Asked{}))
	}
}

func TestTheSeededProfileTakesHostNamesAndAddressesOnly(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	for _, name := range []string{"ann@example.com", "https://web.example.com/", "spiffe://example.com/web"} {
		about(t, w.asks(of("", serverKey, func(c *leafward.Certificate) { c.SANs = []string{"web.example.com", name} }), lifecycle.Asked{}), "sans")
		about(t, w.asks(of(""), lifecycle.Asked{CSR: csr(t, newKey(t), "web.example.com", name)}), "sans")
	}
	for _, name := range []string{"web.example.com", "*.example.com", "192.0.2.1", "2001:db8::1"} {
		check(t, w.asks(of("", serverKey, func(c *leafward.Certificate) { c.Name, c.SANs = name, []string{name} }), lifecycle.Asked{}))
	}
}

func TestAShortLifeIsWithoutRevocationAndOnlyWhereTheProfileAllowsIt(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	short := w.profile(t, "prof-short", func(p *leafward.Profile) { p.AllowShort, p.MaxTTL = true, 30*24*3600 })
	noRevAvail := asn1.ObjectIdentifier{2, 5, 29, 56} // RFC 9608
	for name, hours := range map[string]int64{"short.example.com": 24, "long.example.com": 24 * 8} {
		cert := leaf(t, w.issued(t, of(name, short, serverKey, func(c *leafward.Certificate) { c.TTL = hours * 3600 }), lifecycle.Asked{}))
		without := slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(noRevAvail) })
		addresses := len(cert.CRLDistributionPoints) + len(cert.OCSPServer)
		if isShort := hours == 24; without != isShort || (addresses == 0) != isShort {
			t.Errorf("%s: noRevAvail %t, %d addresses of revocation", name, without, addresses)
		}
	}
}

// authority makes an issuer with an authority of its own and returns its certificate.
func (w *world) authority(t *testing.T, id, config string) *x509.Certificate {
	t.Helper()
	row := leafward.Issuer{Row: leafward.Row{ID: id}, Name: id, Type: leafward.GenericCA, Config: json.RawMessage("{}"), Secrets: []string{}, Enabled: true}
	_, err := local.Plugin(w.ca).Create(w.ctx, row, json.RawMessage(config))
	check(t, err)
	der, err := w.ca.Certificate(w.ctx, id)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert
}

func TestALifetimePastTheAuthoritysEndIsRefusedOrCut(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	authority := w.authority(t, "iss-brief", `{"validity_days":20}`)
	issuer := func(c *leafward.Certificate) { c.Issuer = "iss-brief" }
	made, err := w.Create(w.ctx, of("refused.example.com", issuer, serverKey), lifecycle.Asked{}, lifecycle.Once{})
	check(t, err)
	if failed := w.settled(t, made.ID); failed.Status != leafward.StatusFailed || failed.LastError == "" {
		t.Errorf("it is %s", failed.Status)
	}
	cut := w.profile(t, "prof-cut", func(p *leafward.Profile) { p.CutToIssuer = true })
	cert := leaf(t, w.issued(t, of("cut.example.com", issuer, cut, serverKey), lifecycle.Asked{}))
	if cert.NotAfter.After(authority.NotAfter) || authority.NotAfter.Sub(cert.NotAfter) > time.Hour {
		t.Errorf("it ends %v, its authority %v", cert.NotAfter, authority.NotAfter)
	}
	check(t, cert.CheckSignatureFrom(authority))
}

func TestWhatIsSwitchedOffIssuesNothing(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	settings := lifecycle.NewSettings(w.db, lifecycle.Replan)
	off := w.profile(t, "prof-off", func(*leafward.Profile) {})
	made := w.issued(t, of("a.example.com", off, serverKey), lifecycle.Asked{})
	_, err := settings.UpdateProfile(w.ctx, "prof-off", "", func(p *leafward.Profile) error { p.Enabled = false; return nil })
	check(t, err)
	about(t, w.asks(of("b.example.com", off, serverKey), lifecycle.Asked{}), "certificate_profile_id")
	_, err = w.Renew(w.ctx, made.ID, lifecycle.Once{})
	check(t, err)
	if failed := w.settled(t, made.ID); failed.Status != leafward.StatusFailed || failed.Version.ID != made.Version.ID {
		t.Errorf("it was renewed by a profile that is switched off: %s", failed.Status)
	}
}
