package envelope_test

import (
	"bytes"
	"testing"

	"filippo.io/age"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/envelope"
)

func TestAnEnvelopeOpensWholeAndForThoseItWasMadeForOnly(t *testing.T) {
	keeper, other := identity(t), identity(t)
	content := []byte("the key of a root\n")
	sealed, err := envelope.Seal([]age.Recipient{keeper.Recipient()}, content)
	if err != nil || !envelope.IsSealed(sealed) || bytes.Contains(sealed, content) {
		t.Fatalf("%v: %s", err, sealed)
	}
	opened, err := envelope.Open(sealed, []age.Identity{keeper})
	if err != nil || !bytes.Equal(opened.Reveal(), content) {
		t.Fatalf("it opens as %q: %v", opened.Reveal(), err)
	}
	if _, err := envelope.Open(sealed, []age.Identity{other}); leafward.KindOf(err) != leafward.Denied {
		t.Errorf("for another: %v", err)
	}
	for n := range len(sealed) - 1 {
		if _, err := envelope.Open(sealed[:n], []age.Identity{keeper}); err == nil {
			t.Fatalf("cut off after %d of %d octets it opens", n, len(sealed))
		}
	}
	if _, err := envelope.Open(append(sealed, make([]byte, envelope.MaxSealed)...), []age.Identity{keeper}); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("one that is too long: %v", err)
	}
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	made, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func FuzzOpenEnvelope(f *testing.F) {
	keeper := identity(f)
	sealed, err := envelope.Seal([]age.Recipient{keeper.Recipient()}, []byte("content"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte("-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if opened, err := envelope.Open(text, []age.Identity{keeper}); err == nil && string(opened.Reveal()) != "content" {
			t.Errorf("%q opens as %q", text, opened.Reveal())
		}
	})
}
