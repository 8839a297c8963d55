package target_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/targettest"
)

func TestABundleGivesOutWhatCameIn(t *testing.T) {
	t.Parallel()
	certificates, key := targettest.NewAuthority(t).PEM(t, "shop.example", "www.shop.example")
	b, err := target.NewBundle(append([]byte("\r\n\n"), certificates...), key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.FullChain(), certificates) || !bytes.Equal(slices.Concat(b.Leaf(), b.Chain()), certificates) {
		t.Error("the certificates are not those that came in")
	}
	if !bytes.Equal(b.Key().Reveal(), key.Reveal()) {
		t.Error("the key is not the one that came in")
	}
	if b.Fingerprint() != target.FingerprintIn(certificates) || len(b.Fingerprint()) != 64 {
		t.Errorf("the fingerprint is %q", b.Fingerprint())
	}
	if !slices.Equal(b.Names(), []string{"shop.example", "www.shop.example"}) {
		t.Errorf("the names are %v", b.Names())
	}
	if printed := fmt.Sprintf("%v %+v %#v", b, b, b); strings.Contains(printed, "PRIVATE") || strings.Contains(printed, fmt.Sprint(key.Reveal()[40:60])) {
		t.Error("printing a bundle shows its key")
	}
}

func TestTheZeroBundleHoldsNothing(t *testing.T) {
	t.Parallel()
	var b target.Bundle
	if !b.IsZero() || len(b.Leaf()) > 0 || len(b.Chain()) > 0 || len(b.FullChain()) > 0 || b.Fingerprint() != "" || b.Names() != nil {
		t.Errorf("got %+v", b)
	}
}

func TestABundleThatDoesNotBelongTogetherIsRefused(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	certificates, key := a.PEM(t, "shop.example")
	_, otherKey := a.PEM(t, "shop.example")
	stranger, _ := targettest.NewAuthority(t).PEM(t, "shop.example")
	whole, err := target.NewBundle(certificates, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certificates []byte
		key          leafward.Secret
		says         string
	}{
		"another key":            {certificates, otherKey, "is not the key of the certificate"},
		"chain first":            {slices.Concat(whole.Chain(), whole.Leaf()), key, "not in order"},
		"chain of a stranger":    {slices.Concat(whole.Leaf(), stranger[bytes.LastIndex(stranger, []byte("-----BEGIN")):]), key, "not in order"},
		"nothing":                {nil, key, "is empty"},
		"no key":                 {certificates, nil, "is empty"},
		"two keys":               {certificates, append(slices.Clone(key), key...), "too many"},
		"text before":            {append([]byte("hello\n"), certificates...), key, "nothing else"},
		"text after":             {append(slices.Clone(certificates), "hello\n"...), key, "nothing else"},
		"a key among them":       {append(slices.Clone(certificates), key...), key, "nothing else"},
		"a header":               {bytes.Replace(certificates, []byte("CERTIFICATE-----\n"), []byte("CERTIFICATE-----\nProc-Type: 4\n\n"), 1), key, "cannot be read"},
		"no end":                 {certificates[:len(certificates)-10], key, "without an end"},
		"garbage in a block":     {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "cannot be read"},
		"eleven certificates":    {bytes.Repeat(whole.Leaf(), 11), key, "too many"},
		"too large":              {bytes.Repeat([]byte(" "), 300<<10), key, "too large"},
		"a SEC 1 key":            {certificates, bytes.ReplaceAll(key, []byte("PRIVATE"), []byte("EC PRIVATE")), "PRIVATE KEY and nothing else"},
		"a certificate for key":  {certificates, whole.Leaf(), "PRIVATE KEY and nothing else"},
		"a block inside a block": {[]byte("-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := target.NewBundle(c.certificates, c.key)
			if leafward.KindOf(err) != leafward.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
		})
	}
}

func FuzzNewBundle(f *testing.F) {
	certificates, key := targettest.NewAuthority(f).PEM(f, "shop.example")
	f.Add(certificates, []byte(key))
	f.Add(bytes.ReplaceAll(certificates, []byte("\n"), []byte("\r\n")), []byte(key))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, certificates, key []byte) {
		_ = target.FingerprintIn(certificates)
		b, err := target.NewBundle(certificates, key)
		if err != nil {
			if leafward.KindOf(err) != leafward.Invalid {
				t.Fatalf("outside bytes gave %v", err)
			}
			return
		}
		again, err := target.NewBundle(b.FullChain(), b.Key())
		if err != nil || again.Fingerprint() != b.Fingerprint() {
			t.Fatalf("what a bundle gives out is no bundle: %v", err)
		}
	})
}
