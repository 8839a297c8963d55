//go:build linux

package e2e_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/pki"
)

// requestPoints: what stands in a certificate is decided by record and profile, whatever a CSR asks for.
func (c *certificates) requestPoints() []point {
	return []point{
		{name: "no leaf is an authority or signs certificates or CRLs, whatever its CSR asked for", shown: func(t *testing.T) {
			for says, extension := range map[string]pkix.Extension{
				"CA:TRUE":     {Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte("\x30\x03\x01\x01\xff")},
				"keyCertSign": {Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte("\x03\x02\x02\x04")},
				"cRLSign":     {Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte("\x03\x02\x01\x02")},
			} {
				c.refuses(t, object{"common_name": "ca.example.com", "csr_pem": asking(t, extension)}, "csr_pem", says)
			}
			c.each(func(t *testing.T, g grown) {
				if g.IsCA || g.KeyUsage == 0 || g.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
					t.Errorf("%s may %b, authority: %t", g.name, g.KeyUsage, g.IsCA)
				}
			})(t)
		}},
		{name: "only listed extensions stand in a leaf", shown: c.each(func(t *testing.T, g grown) {
			listed := []string{"2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.31", "2.5.29.35", "2.5.29.37", "2.5.29.56", "1.3.6.1.5.5.7.1.1"}
			for _, extension := range g.Extensions {
				if !slices.Contains(listed, extension.Id.String()) {
					t.Errorf("%s has %s", g.name, extension.Id)
				}
			}
		})},
		{name: "only listed kinds of names stand in a leaf", shown: c.kinds},
		{name: "a leaf has the names of its record and no others", shown: c.each(func(t *testing.T, g grown) {
			want := slices.Clone(g.sans)
			if _, err := pki.ParseNames([]string{g.commonName}); err == nil { // a common name that is a host name is one of the names
				want = append(want, g.commonName)
			}
			if got := pki.NamesOf(g.Certificate).All(); !sameNames(got, want) || g.Subject.CommonName != g.commonName {
				t.Errorf("%s: %q %q were asked for, %q %q it has", g.name, g.commonName, want, g.Subject.CommonName, got)
			}
		})},
		{name: "names are bounded in number and length", shown: func(t *testing.T) {
			var many []string
			for n := range 101 {
				many = append(many, fmt.Sprintf("n%d.example.com", n))
			}
			label := strings.Repeat("a", 63)
			for field, body := range map[string]object{
				"sans":        {"sans": many},
				"sans ":       {"sans": []string{strings.Join([]string{label, label, label, label, "com"}, ".")}},
				"common_name": {"common_name": strings.Repeat("x", 65)},
			} {
				body["key_source"], body["name"] = "server", "bounded "+field
				c.refuses(t, body, strings.TrimSpace(field), "")
			}
			body := object{"sans": many[:100], "key_source": "server"}
			if made := c.server.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", body); len(leafOf(t, text(made, "version", "pem_chain")).DNSNames) != 100 {
				t.Error("a hundred names are not issued")
			}
		}},
		{name: "nothing that steers or hides text stands in a name", shown: func(t *testing.T) {
			c.deceived(t, "a\x00b", "a\nb", "a\u202eb", "a\u200bb", "a\u2066b", "a\ufeffb", "\u00ada", "a\u2028b")
		}},
		{name: "no name is made of letters that look like others", shown: func(t *testing.T) {
			c.deceived(t, "pаypal", "gооgle", "раураl")
			_, csr := newCSR(t, "xn--pypal-4ve.com") // Cyrillic а
			c.refuses(t, object{"csr_pem": csr}, "csr_pem", "")
		}},
		{name: "a leaf has the purposes of its profile in their order, and no others", shown: func(t *testing.T) {
			c.each(func(t *testing.T, g grown) {
				if got := pki.EKUsOf(g.Certificate); !slices.Equal(got, g.profile["allowed_ekus"].([]string)) {
					t.Errorf("%s has %q", g.name, got)
				}
			})(t)
			for says, usage := range map[string]string{"OCSPSigning": "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09", "anyExtendedKeyUsage": "\x30\x06\x06\x04\x55\x1d\x25\x00"} {
				c.refuses(t, object{"common_name": "any.example.com", "csr_pem": asking(t, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte(usage)})}, "csr_pem", says)
			}
		}},
	}
}

// kinds: a CSR with another kind of name is refused, and every name of the corpus is of a kind that is issued.
func (c *certificates) kinds(t *testing.T) {
	for says, value := range map[string]string{
		"otherName":     "\x30\x0e\xa0\x0c\x06\x03\x2a\x03\x04\xa0\x05\x0c\x03foo",
		"directoryName": "\x30\x04\xa4\x02\x30\x00",
		"registeredID":  "\x30\x05\x88\x03\x2a\x03\x04",
	} {
		c.refuses(t, object{"common_name": "kind.example.com", "csr_pem": asking(t, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte(value)})}, "csr_pem", says)
	}
	c.each(func(t *testing.T, g grown) {
		if others := pki.OtherNames(g.Certificate); len(others) > 0 {
			t.Errorf("%s has %q", g.name, others)
		}
	})(t)
}

// sameNames compares sets of names, addresses and identifiers in any form.
func sameNames(a, b []string) bool {
	form := func(list []string) (out []string) {
		for _, name := range list {
			switch ip := net.ParseIP(name); {
			case ip != nil:
				name = ip.String()
			case strings.Contains(name, "://"):
				if u, err := url.Parse(name); err == nil {
					name = u.String()
				}
			case strings.Contains(name, "@"):
				if address, err := mail.ParseAddress(name); err == nil {
					name = address.Address
				}
			}
			out = append(out, name)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return slices.Equal(form(a), form(b))
}

// deceived: no such text becomes the name of anybody.
func (c *certificates) deceived(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		c.refuses(t, object{"common_name": name, "sans": []string{"ok.example.com"}, "key_source": "server"}, "common_name", "")
		c.refuses(t, object{"common_name": "ok.example.com", "sans": []string{name + ".example.com"}, "key_source": "server"}, "sans", "")
	}
}
