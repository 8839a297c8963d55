package cli_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
)

// newest is the serial of the newest version of a certificate.
func (d *desk) newest(certificate string) string {
	d.t.Helper()
	whole := answer[struct{ Versions []api.CertificateVersion }](d, "cert", "get", certificate)
	if len(whole.Versions) == 0 {
		d.t.Fatalf("%s has no version", certificate)
	}
	return whole.Versions[0].SerialNumber
}

func TestACertificateIsBrokenAsLongAsItsVersionIsRevokedWhateverItsRenewalDoes(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	d.ok("issue", "pay.example.com", "--out", out)
	d.ok("cert", "revoke", "pay.example.com", "--version", d.newest("pay.example.com"), "--reason", "keyCompromise").has(t, 0, "next  leafward issue pay.example.com --force")
	d.typed("cert", "renew", "pay.example.com") // refused where it has begun by itself
	d.ok("cert", "list").has(t, 0, "RenewalInProgress", "its version is revoked; waits for a CSR")
	d.ok("cert", "get", "pay.example.com").has(t, 0, "its version is revoked; waits for a CSR")
	told := d.typed("status")
	told.has(t, 1, "✖ certificate pay.example.com: its version is revoked", "its renewal waits for a CSR", "do   leafward issue pay.example.com --force\n", "1 thing is broken")
	if n := strings.Count(told.out, "certificate pay.example.com:"); n != 1 {
		t.Errorf("it is told of %d times:\n%s", n, told.out)
	}
	d.ok("issue", "pay.example.com", "--force", "--out", out)
	d.ok("status").has(t, 0, "nothing is broken")
}

func TestWhatIsBrokenIsNotHiddenBehindWhatWaits(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	for _, early := range strings.Fields("a b c d e f g h i j k l") {
		d.ok("cert", "create", early+".example.com")
	}
	d.ok("issue", "pay.example.com", "--out", out)
	d.ok("cert", "revoke", "pay.example.com", "--version", d.newest("pay.example.com"))
	d.typed("cert", "renew", "pay.example.com")
	told := d.typed("status")
	told.has(t, 1, "✖ certificate pay.example.com: its version is revoked", "! and 3 jobs more")
	if strings.Index(told.out, "pay.example.com: its version") > strings.Index(told.out, "a.example.com: its issuance") {
		t.Errorf("what waits comes before what is broken:\n%s", told.out)
	}
}

func TestTheCommandForTheNextVersionNamesTheTeamWhereTwoHaveTheName(t *testing.T) {
	d, out := atServer(t), t.TempDir()
	if _, err := api.CreateTeam.Call(t.Context(), d.Admin, api.Make[api.TeamWrite]{Body: api.TeamWrite{Name: api.Some("the shop")}}); err != nil {
		t.Fatal(err)
	}
	d.ok("cert", "create", "both.example.com", "--team", "the shop").has(t, 0, "next  leafward issue both.example.com makes")
	d.ok("cert", "create", "both.example.com").has(t, 0, "next  leafward issue both.example.com --team default makes")
	d.ok("status").has(t, 0, "do   leafward issue both.example.com --team default\n", "do   leafward issue both.example.com --team 'the shop'\n")
	d.ok("issue", "both.example.com", "--team", "the shop", "--out", filepath.Join(out, "shop")).has(t, 0, "leafward issue both.example.com --team 'the shop' --force")
	d.ok("issue", "both.example.com", "--team", "default", "--out", out)
}
