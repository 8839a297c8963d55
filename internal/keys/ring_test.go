package keys

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

func generate(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	k, err := pki.ParseKeyKind(kind)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.GenerateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sealedRef(t testing.TB, m *Master, row string, key crypto.Signer) Ref {
	t.Helper()
	context := Context{"keys", "sealed", row}
	sealed, err := m.SealKey(context, key)
	if err != nil {
		t.Fatal(err)
	}
	return Ref{Where: Sealed, Sealed: sealed, Context: context}
}

func samePublic(a, b crypto.Signer) bool {
	return a.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(b.Public())
}

func TestASealedKeySigns(t *testing.T) {
	m := GenerateMaster()
	ring := NewRing(m, 4)
	for _, kind := range []string{"ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"} {
		key := generate(t, kind)
		ref := sealedRef(t, m, kind, key)
		got, err := ring.Open(ref)
		if err != nil || !samePublic(got, key) {
			t.Fatalf("%s: %v", kind, err)
		}
		if again, err := ring.Open(ref); err != nil || !samePublic(again, key) {
			t.Errorf("%s: the second time: %v", kind, err)
		}
		ref.Context.Row = "another"
		if _, err := ring.Open(ref); err == nil {
			t.Errorf("%s: it opens in another row", kind)
		}
	}
}

func TestAKeyFileOfOpenSSLSigns(t *testing.T) {
	dir := t.TempDir()
	ring := NewRing(nil, 4)
	for name, args := range map[string]string{
		"pkcs8.pem": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", "pkcs8.der": "genpkey -algorithm ED25519 -outform DER",
		"sec1.pem": "ecparam -name prime256v1 -genkey", "pkcs1.pem": "genrsa -traditional 2048",
	} {
		path := filepath.Join(dir, name)
		argv := strings.Fields(args)
		argv = append(argv[:1:1], append([]string{"-out", path}, argv[1:]...)...)
		if out, err := exec.CommandContext(t.Context(), "openssl", argv...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Open(Ref{Where: "file:" + path}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Open(Ref{Where: "file:" + path}); leafward.KindOf(err) != leafward.Denied {
			t.Errorf("%s: others may read it: %v", name, err)
		}
	}
}

func TestAKeyFileThatWasReplacedIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	ring := NewRing(nil, 4)
	for range 3 {
		key := generate(t, "ecdsa-p256")
		text, err := pki.EncodePrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ring.Open(Ref{Where: "file:" + path}); err != nil || !samePublic(got, key) {
			t.Errorf("the file's key is not the one that opens: %v", err)
		}
	}
}

func TestReferencesThatDoNotOpenSayWhy(t *testing.T) {
	m := GenerateMaster()
	place := Context{"keys", "sealed", "k"}
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ring *Ring
		ref  Ref
		kind leafward.Kind
	}{
		"an unknown form":       {NewRing(m, 1), Ref{Where: "pkcs11:token=x"}, leafward.UnsupportedType},
		"nothing":               {NewRing(m, 1), Ref{}, leafward.UnsupportedType},
		"a relative path":       {NewRing(m, 1), Ref{Where: "file:key.pem"}, leafward.UnsupportedType},
		"a missing file":        {NewRing(m, 1), Ref{Where: "file:/nowhere/key.pem"}, leafward.NotFound},
		"a file without a key":  {NewRing(m, 1), Ref{Where: "file:" + junk}, leafward.Invalid},
		"an endless file":       {NewRing(m, 1), Ref{Where: "file:/dev/zero"}, leafward.Invalid},
		"a sealed nothing":      {NewRing(m, 1), Ref{Where: Sealed, Context: place}, leafward.Internal},
		"a sealed text":         {NewRing(m, 1), Ref{Where: Sealed, Context: place, Sealed: m.Seal(place, []byte("x"))}, leafward.Internal},
		"no master key":         {NewRing(nil, 1), Ref{Where: Sealed, Context: place, Sealed: m.Seal(place, nil)}, leafward.Internal},
		"another master key":    {NewRing(GenerateMaster(), 1), Ref{Where: Sealed, Context: place, Sealed: m.Seal(place, nil)}, leafward.Internal},
		"a key of another host": {NewRing(m, 1), Ref{Where: "file://host/key.pem"}, leafward.NotFound},
	} {
		signer, err := c.ring.Open(c.ref)
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || signer != nil || e.Kind != c.kind || e.Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARingKeepsNoMoreThanItsCapacity(t *testing.T) {
	m := GenerateMaster()
	ring := NewRing(m, 3)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	refs := make([]Ref, 10)
	for i := range refs {
		refs[i] = sealedRef(t, m, strconv.Itoa(i), key)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				if got, err := ring.Open(refs[i%len(refs)]); err != nil || !samePublic(got, key) {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	if len(ring.opened) != 3 || ring.recent.Len() != 3 {
		t.Errorf("%d and %d are open", len(ring.opened), ring.recent.Len())
	}
	for _, i := range []int{0, 1, 2, 0, 3} { // 1 was used longest ago when 3 comes
		if _, err := ring.Open(refs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []bool{true, false, true, true} {
		if got := ring.opened[digestOf(refs[i], refs[i].Sealed)] != nil; got != want {
			t.Errorf("key %d is kept: %t", i, got)
		}
	}
}
