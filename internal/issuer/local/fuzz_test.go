package local_test

import (
	"encoding/json"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/issuer/local"
)

// FuzzParse reads configurations as clients write them: they are taken, or every mistake is named.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"key_algorithm":"Ed25519","common_name":"x","organization":"y","validity_days":1}`, `{"validity_days":1e3}`, `{"validity_days":10951}`,
		`{"certificate_pem":"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----","private_key_pem":"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----"}`,
		`{"common_name":"\u200b"}`, `{"private_key_pem":"x"}`, `{"parent_issuer_id":"iss-local","colour":1}`,
	} {
		f.Add([]byte(seed))
	}
	parse := local.Plugin(nil).Parse
	f.Fuzz(func(t *testing.T, config []byte) {
		if err := parse(json.RawMessage(config)); err != nil && leafward.KindOf(err) != leafward.Invalid {
			t.Fatalf("outside bytes gave %v", err)
		}
	})
}
