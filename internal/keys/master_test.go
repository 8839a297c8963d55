package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leafward/leafward"
)

func TestAMasterKeyIsMadeOnceAndLoaded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "master.key")
	if _, err := LoadMaster(file); !errors.Is(err, fs.ErrNotExist) || leafward.KindOf(err) != leafward.NotFound {
		t.Errorf("a missing file: %v", err)
	}
	made, err := MakeMaster(file)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadMaster(file)
	if err != nil || loaded.ID() != made.ID() || len(made.ID()) != 16 {
		t.Fatalf("made %s, loaded %v, %v", made.ID(), loaded, err)
	}
	if _, err := MakeMaster(file); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("a second key over the first: %v", err)
	}
	dangling := filepath.Join(t.TempDir(), "master.key")
	if err := os.Symlink("/media/key", dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMaster(dangling); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dangling+" is a link to /media/key, which does not exist") {
		t.Errorf("a link to nothing: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the key: %v, %v", entries, err)
	}
	for path, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

func TestOfManyAtOnceOneMakesTheMasterKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master.key")
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := MakeMaster(file); err == nil {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d made it", made.Load())
	}
}

func TestAMasterKeyIsReadInEveryFormAndOnlyThose(t *testing.T) {
	want := GenerateMaster()
	key := want.key.Reveal()
	for name, text := range map[string]string{
		"raw": string(key), "hex": hex.EncodeToString(key), "upper-case hex": strings.ToUpper(hex.EncodeToString(key)),
		"base64": base64.StdEncoding.EncodeToString(key) + "\n", "base64url": base64.RawURLEncoding.EncodeToString(key),
		"white space": "\t " + hex.EncodeToString(key) + "\r\n",
	} {
		got, err := ParseMaster(text)
		if err != nil || got.ID() != want.ID() {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "a passphrase": "correct horse", "31 bytes": string(key[:31]), "33 bytes": string(key) + "x",
		"16 bytes of hex": hex.EncodeToString(key[:16]), "text of 32 characters": "correct horse battery staple 123",
		"zeros": strings.Repeat("\x00", 32), "zeros in hex": strings.Repeat("00", 32), "64 letters": strings.Repeat("xy", 32),
		"a passphrase in base64": base64.StdEncoding.EncodeToString([]byte("correct horse battery staple 123")),
	} {
		_, err := ParseMaster(text)
		e, ok := errors.AsType[*leafward.Error](err)
		if !ok || e.Kind != leafward.Invalid || e.Fix == "" || len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAMasterKeyFileThatOthersMayReadIsRefusedWithTheFix(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master.key")
	if _, err := MakeMaster(file); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666, 0o601} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadMaster(file)
		if e, ok := errors.AsType[*leafward.Error](err); !ok || e.Kind != leafward.Denied || e.Fix != "chmod 600 "+file {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := os.Chmod(file, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMaster(file); err != nil {
		t.Error(err)
	}
}

func TestAFileThatIsNoMasterKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "short": "abc", "huge": strings.Repeat("a", 1<<20)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadMaster(file)
		if leafward.KindOf(err) != leafward.Invalid || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadMaster(dir); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("a directory: %v", err)
	}
}

func TestAMasterKeyIsNeverPrinted(t *testing.T) {
	m := GenerateMaster()
	key := m.key.Reveal()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "master", m)
	marshalled, err := json.Marshal(map[string]any{"m": m})
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%v %+v %#v %s %q %x", m, m, m, m, m, m) + log.String() + string(marshalled)
	for _, form := range []string{string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), fmt.Sprint(key)} {
		if strings.Contains(out, form) {
			t.Errorf("the key is in %q", out)
		}
	}
	if !strings.Contains(log.String(), m.ID()) {
		t.Error("the log does not name the key's id")
	}
}

func FuzzParseMaster(f *testing.F) {
	for _, seed := range []string{"", strings.Repeat("0f", 32), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "\xff\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMaster(text)
		if (m == nil) == (err == nil) || m != nil && len(m.key) != masterBytes {
			t.Fatalf("%q: %v, %v", text, m, err)
		}
	})
}
