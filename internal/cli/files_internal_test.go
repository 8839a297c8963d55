package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// content is what the files of a directory hold, directories left out.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

// What stands in the way of any one move leaves the pair that was there.
func TestAPairIsReplacedWholeOrNotAtAll(t *testing.T) {
	for name, hinder := range map[string]func(p *pair) error{
		"":                           func(*pair) error { return nil },
		"the old certificate stays":  func(p *pair) error { return os.MkdirAll(filepath.Join(p.cert+".old", "full"), 0o700) },
		"the old key stays":          func(p *pair) error { return os.MkdirAll(filepath.Join(p.key+".old", "full"), 0o700) },
		"the new key is gone":        func(p *pair) error { return os.Remove(p.aside) },
		"the directory is not there": func(p *pair) error { p.cert = filepath.Join(p.cert, "nowhere", "x.crt"); return nil },
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"x.crt": "old cert", "x.key": "old key"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, err := preparePair(dir, "x", true, []byte("new key"))
		if err != nil {
			t.Fatal(err)
		}
		if err := hinder(p); err != nil {
			t.Fatal(err)
		}
		err = p.keep([]byte("new cert"))
		p.drop()
		want := map[string]string{"x.crt": "old cert", "x.key": "old key"}
		if name == "" {
			want = map[string]string{"x.crt": "new cert", "x.key": "new key"}
		}
		have := content(t, dir)
		if (err == nil) != (name == "") || len(have) != 2 || have["x.crt"] != want["x.crt"] || have["x.key"] != want["x.key"] {
			t.Errorf("%q: %v: %v", name, err, have)
		}
	}
}

// A process that ends between two moves leaves the old pair, the new pair, or no certificate.
func TestACertificateNeverLiesBesideAKeyThatIsNotItsOwn(t *testing.T) {
	dir := t.TempDir()
	pairs := map[[2]string]bool{{"old cert", "old key"}: true, {"new cert", "new key"}: true}
	for file, text := range map[string]string{"x.crt": "old cert", "x.key": "old key"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := preparePair(dir, "x", true, []byte("new key"))
	if err != nil {
		t.Fatal(err)
	}
	moves := 0
	err = p.keepSeen([]byte("new cert"), func() {
		moves++
		have := content(t, dir)
		if cert, there := have["x.crt"]; there && !pairs[[2]string{cert, have["x.key"]}] {
			t.Errorf("after move %d there are %v", moves, have)
		}
	})
	if err != nil || moves != 4 {
		t.Errorf("%d moves: %v", moves, err)
	}
}

func TestFileNamesAreSane(t *testing.T) {
	for name, want := range map[string]string{
		"*.example.com":        "_wildcard.example.com",
		"spiffe://example/a b": "spiffe___example_a_b",
		"::1":                  "__1",
		"../../etc/passwd":     ".._.._etc_passwd",
		"www.example.com":      "www.example.com",
	} {
		if have := fileName(name); have != want {
			t.Errorf("%s is %s, want %s", name, have, want)
		}
	}
}
