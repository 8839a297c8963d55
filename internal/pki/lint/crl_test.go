package lint

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	zcrypto "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"

	"github.com/leafward/leafward/internal/pki"
)

func TestRevocationListsHaveNoFindings(t *testing.T) {
	entries := map[string][]pki.Revoked{
		"empty": nil,
		"one of each reason": {
			{Serial: pki.NewSerial(), Reason: pki.Unspecified},
			{Serial: pki.NewSerial(), Reason: pki.KeyCompromise},
			{Serial: pki.NewSerial(), Reason: pki.AffiliationChanged},
			{Serial: pki.NewSerial(), Reason: pki.Superseded},
			{Serial: pki.NewSerial(), Reason: pki.CessationOfOperation},
			{Serial: pki.NewSerial(), Reason: pki.PrivilegeWithdrawn},
		},
	}
	for _, kind := range []pki.KeyKind{p256(), p384(), rsa2048(), ed25519()} {
		w := newWorld(t, kind)
		for name, entries := range entries {
			for _, shard := range []string{"", "http://pki.example.com/.well-known/pki/crl/one/3"} {
				t.Run(fmt.Sprintf("%s under %s, shard %q", name, kind, shard), func(t *testing.T) {
					for i := range entries {
						entries[i].At = w.now.Add(-time.Hour)
					}
					list := pki.RevocationList{Number: big.NewInt(7), ThisUpdate: w.now, NextUpdate: w.now.Add(day), Entries: entries, Shard: shard}
					der, err := pki.BuildCRL(list, w.issuing, w.key)
					check(t, err)
					crl, err := zcrypto.ParseRevocationList(der)
					check(t, err)
					lintCRL(t, crl)
				})
			}
		}
	}
}

func lintCRL(t *testing.T, crl *zcrypto.RevocationList) {
	t.Helper()
	registry := lint.GlobalRegistry()
	ran := 0
	for _, one := range registry.RevocationListLints().Lints() {
		result := one.Execute(crl, registry.GetConfiguration())
		if result.Status >= lint.Notice {
			t.Errorf("%s: %s", one.Name, result.Details)
		}
		if result.Status == lint.Pass {
			ran++
		}
	}
	if ran < 8 {
		t.Errorf("only %d lints looked at the CRL", ran)
	}
}
