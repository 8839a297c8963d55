package keys

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/leafward/leafward"
)

func TestASealedValueOpensInItsPlaceOnly(t *testing.T) {
	m := GenerateMaster()
	place := Context{"issuers", "config", "iss-1"}
	sealed := m.Seal(place, []byte("secret"))
	if again := m.Seal(place, []byte("secret")); bytes.Equal(again, sealed) {
		t.Error("the same value is sealed to the same bytes")
	}
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("the value is to be read")
	}
	if got, err := m.Open(place, sealed); err != nil || string(got) != "secret" {
		t.Fatalf("%q, %v", got, err)
	}
	for _, other := range []Context{
		{"issuers", "config", "iss-2"},
		{"issuers", "config2", "iss-1"},
		{"targets", "config", "iss-1"},
		{"issuersc", "onfig", "iss-1"},
		{"issuers", "configiss-1", ""},
		{},
	} {
		if got, err := m.Open(other, sealed); err == nil || got != nil || leafward.KindOf(err) != leafward.Internal {
			t.Errorf("it opens in %v: %v", other, err)
		}
	}
}

func TestAnEmptyValueIsSealedToo(t *testing.T) {
	m := GenerateMaster()
	if got, err := m.Open(Context{}, m.Seal(Context{}, nil)); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoBitOfASealedValueCanChange(t *testing.T) {
	m := GenerateMaster()
	place := Context{"keys", "sealed", "k"}
	sealed := m.Seal(place, []byte("secret"))
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := m.Open(place, bad); err == nil {
			t.Errorf("byte %d can change", i)
		}
		if _, err := m.Open(place, sealed[:i]); err == nil {
			t.Errorf("it can be cut to %d bytes", i)
		}
	}
}

func TestAnotherMasterKeyIsNamedByItsID(t *testing.T) {
	wanted, other := GenerateMaster(), GenerateMaster()
	_, err := other.Open(Context{}, wanted.Seal(Context{}, []byte("secret")))
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || !strings.Contains(e.Message, wanted.ID()) || !strings.Contains(e.Message, other.ID()) || !strings.Contains(e.Fix, wanted.ID()) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	m := GenerateMaster()
	place := Context{"t", "c", "r"}
	f.Add(m.Seal(place, []byte("secret")))
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if _, err := m.Open(place, sealed); err == nil && len(sealed) < headerBytes+12+16 {
			t.Fatalf("%x opens", sealed)
		}
	})
}

func TestTokensAreRandomAndFoundByTheirHash(t *testing.T) {
	a, hash := NewToken("LWA-")
	b, _ := NewToken("LWA-")
	if a == b || !strings.HasPrefix(a, "LWA-") || len(a) != len("LWA-")+43 {
		t.Errorf("%s and %s", a, b)
	}
	if !bytes.Equal(hash, HashToken(a)) || bytes.Equal(hash, HashToken(b)) || len(hash) != 32 {
		t.Error("the hash is not the token's")
	}
}
