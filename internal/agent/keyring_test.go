package agent

import (
	"bytes"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

func p256(t testing.TB) pki.KeyKind {
	t.Helper()
	kind, err := pki.ParseKeyKind("ecdsa-p256")
	if err != nil {
		t.Fatal(err)
	}
	return kind
}

func newRing(t testing.TB) *keyring {
	t.Helper()
	ring, err := openKeyring(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func (k *keyring) must(t testing.TB, certificate, job string) crypto.PublicKey {
	t.Helper()
	private, err := k.pending(certificate, job, p256(t))
	if err != nil {
		t.Fatal(err)
	}
	return private.Public()
}

// names are the files of a certificate's keys, with the long part of accepted ones cut.
func (k *keyring) names(t testing.TB, certificate string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(k.path, certificate))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".key") {
			name = name[:6] + ".key"
		}
		names = append(names, name)
	}
	return names
}

func same(a, b crypto.PublicKey) bool {
	return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b)
}

func TestAnOrderFindsItsPendingKeyAgain(t *testing.T) {
	ring := newRing(t)
	first := ring.must(t, "mc-shop", "job-1")
	again, err := openKeyring(ring.path)
	if err != nil {
		t.Fatal(err)
	}
	if !same(first, again.must(t, "mc-shop", "job-1")) {
		t.Error("after a restart the order has another key")
	}
	if same(first, again.must(t, "mc-shop", "job-2")) || same(first, again.must(t, "mc-blog", "job-1")) {
		t.Error("another order or certificate has the same key")
	}
	rsa, err := again.pending("mc-shop", "job-1", pki.KeyKind{Algorithm: pki.RSA, Size: 2048})
	if err != nil || same(rsa.Public(), first) {
		t.Errorf("a key of another kind was asked for: %v", err)
	}
}

func TestKeysArePrivateFiles(t *testing.T) {
	ring := newRing(t)
	ring.must(t, "mc-shop", "job-1")
	for _, path := range []string{ring.path, filepath.Join(ring.path, "mc-shop"), filepath.Join(ring.path, "mc-shop", "000001-job-1.pending")} {
		info, err := os.Stat(path)
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if err := os.Chmod(filepath.Join(ring.path, "mc-shop", "000001-job-1.pending"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.pending("mc-shop", "job-1", p256(t)); leafward.KindOf(err) != leafward.Denied {
		t.Errorf("a key that others may read is used: %v", err)
	}
}

func TestTheKeyOfACertificateIsFoundByItsPublicKey(t *testing.T) {
	ring := newRing(t)
	first, second := ring.must(t, "mc-shop", "job-1"), ring.must(t, "mc-shop", "job-2")
	for _, public := range []crypto.PublicKey{second, second, first} {
		text, err := ring.accept("mc-shop", public)
		if err != nil {
			t.Fatal(err)
		}
		private, err := pki.ParsePrivateKeyPEM(text.Reveal())
		if err != nil || !same(private.Public(), public) {
			t.Errorf("another key came out (%v)", err)
		}
	}
	if got := ring.names(t, "mc-shop"); !slices.Equal(got, []string{"000001.key", "000002.key"}) {
		t.Errorf("files %q", got)
	}
	stranger, err := pki.GenerateKey(p256(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.accept("mc-shop", stranger.Public()); leafward.KindOf(err) != leafward.Precondition {
		t.Errorf("got %v", err)
	}
}

// What a certificate is served with stays as it is while the next one is made, refused, made again and accepted.
func TestNoKeyIsWrittenOverBeforeTheNewOneIsAccepted(t *testing.T) {
	ring := newRing(t)
	first := ring.must(t, "mc-shop", "job-1")
	if _, err := ring.accept("mc-shop", first); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(ring.path, "mc-shop", "*.key"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	was, info := held(t, files[0])
	untouched := func(when string) {
		t.Helper()
		if now, same := held(t, files[0]); !bytes.Equal(now, was) || !os.SameFile(info, same) || !same.ModTime().Equal(info.ModTime()) {
			t.Errorf("%s: the key in use was written over", when)
		}
	}
	ring.must(t, "mc-shop", "job-2")
	untouched("while an order waits")
	if err := errors.Join(ring.forget("mc-shop", first), ring.discard("mc-shop", "job-2")); err != nil {
		t.Fatal(err)
	}
	untouched("after the order was refused")
	again, err := openKeyring(ring.path)
	if err != nil {
		t.Fatal(err)
	}
	second := again.must(t, "mc-shop", "job-3")
	untouched("after a restart")
	if _, err := again.accept("mc-shop", second); err != nil {
		t.Fatal(err)
	}
	if err := again.forget("mc-shop", second); err != nil {
		t.Fatal(err)
	}
	untouched("after the next one was accepted")
	if got := again.names(t, "mc-shop"); len(got) != 2 {
		t.Errorf("files %q: each key has its own", got)
	}
}

// held reads a file and what the system says of it.
func held(t *testing.T, path string) ([]byte, os.FileInfo) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return text, info
}

func TestTheLastTwoVersionsAndYoungerKeysAreKept(t *testing.T) {
	ring := newRing(t)
	var keys []crypto.PublicKey
	for _, job := range []string{"job-1", "job-2", "job-3", "job-4", "job-5"} {
		keys = append(keys, ring.must(t, "mc-shop", job))
	}
	for _, i := range []int{0, 2, 3} {
		if _, err := ring.accept("mc-shop", keys[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := ring.forget("mc-shop", keys[3]); err != nil {
		t.Fatal(err)
	}
	if got := ring.names(t, "mc-shop"); !slices.Equal(got, []string{"000003.key", "000004.key", "000005-job-5.pending"}) {
		t.Errorf("files %q", got)
	}
	if next := ring.must(t, "mc-shop", "job-6"); next == nil || ring.names(t, "mc-shop")[3] != "000006-job-6.pending" {
		t.Error("a number is used twice")
	}
}

func TestAKeyInUseIsKeptHoweverOld(t *testing.T) {
	ring := newRing(t)
	var keys []crypto.PublicKey
	for _, job := range []string{"job-1", "job-2", "job-3"} {
		keys = append(keys, ring.must(t, "mc-shop", job))
		if _, err := ring.accept("mc-shop", keys[len(keys)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := ring.forget("mc-shop", keys[0]); err != nil {
		t.Fatal(err)
	}
	if got := ring.names(t, "mc-shop"); len(got) != 3 {
		t.Errorf("files %q", got)
	}
}

func TestATornKeyFileIsSwept(t *testing.T) {
	ring := newRing(t)
	ring.must(t, "mc-shop", "job-1")
	torn := filepath.Join(ring.path, "mc-shop", "000002-job-2.pending.tmp")
	if err := os.WriteFile(torn, []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyring(ring.path); err != nil {
		t.Fatal(err)
	}
	if got := ring.names(t, "mc-shop"); !slices.Equal(got, []string{"000001-job-1.pending"}) {
		t.Errorf("files %q", got)
	}
}

func TestADamagedKeyIsNotPassedOver(t *testing.T) {
	ring := newRing(t)
	ring.must(t, "mc-shop", "job-1")
	if err := os.WriteFile(filepath.Join(ring.path, "mc-shop", "000001-job-1.pending"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.pending("mc-shop", "job-1", p256(t)); leafward.KindOf(err) != leafward.Precondition || !strings.Contains(err.Error(), "000001-job-1.pending") {
		t.Errorf("got %v", err)
	}
}

func TestIDsFromTheServerNameNoOtherFile(t *testing.T) {
	ring := newRing(t)
	for _, id := range []string{"", "..", "../x", "a/b", "/etc", `a\b`, "A", "a\x00", strings.Repeat("a", 129)} {
		if _, err := ring.pending(id, "job-1", p256(t)); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("certificate %q: %v", id, err)
		}
		if _, err := ring.pending("mc-shop", id, p256(t)); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("job %q: %v", id, err)
		}
	}
	if entries, err := os.ReadDir(ring.path); err != nil || len(entries) > 0 {
		t.Errorf("made %v %v", entries, err)
	}
}
