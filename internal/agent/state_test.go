package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/target/targettest"
)

func identity(t testing.TB) Identity {
	t.Helper()
	certificates, _ := targettest.NewAuthority(t).PEM(t, "server.example")
	chain, err := pki.ParseChainPEM(certificates)
	if err != nil {
		t.Fatal(err)
	}
	return Identity{
		Server: "https://server.example:8443", ID: "ag-1", Name: "web-1", Key: leafward.Secret("lwk_secret"), Root: chain[1],
		AllowPaths: []string{"/srv/tls"}, AllowCommands: []string{"sh 'my script'"},
	}
}

func TestAnIdentityComesBackAsItWasKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "agent")
	d, err := openDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.get(); leafward.KindOf(err) != leafward.NotFound || d.joined() {
		t.Errorf("an empty directory: %v", err)
	}
	want := identity(t)
	if err := d.put(want); err != nil {
		t.Fatal(err)
	}
	got, err := d.get()
	if err != nil || !d.joined() || !got.Root.Equal(want.Root) {
		t.Fatalf("%+v %v", got, err)
	}
	got.Root = want.Root
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for file, mode := range map[string]os.FileMode{path: 0o700, d.file("agent.json"): 0o600, d.file("agent.lock"): 0o600} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", file, info, err)
		}
	}
}

func TestADirectoryIsForOneProcess(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := openDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDir(path); leafward.KindOf(err) != leafward.Conflict {
		t.Errorf("a second one: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = openDir(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
}

func TestAnIdentityThatOthersMayReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent")
	d, err := openDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.put(identity(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.file("agent.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.get(); leafward.KindOf(err) != leafward.Denied || !strings.Contains(err.(*leafward.Error).Fix, "chmod 600") {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeDir(path); leafward.KindOf(err) != leafward.Denied {
		t.Errorf("an open directory: %v", err)
	}
}

func TestADamagedIdentitySaysWhatToDo(t *testing.T) {
	d, err := openDir(filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := save(d.file("agent.json"), []byte(`{"server":"https://x"`)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.get(); leafward.KindOf(err) != leafward.Precondition || !strings.Contains(err.(*leafward.Error).Fix, "--force") {
		t.Errorf("got %v", err)
	}
}

func FuzzIdentity(f *testing.F) {
	d, err := openDir(filepath.Join(f.TempDir(), "agent"))
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close()
	if err := d.put(identity(f)); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(d.file("agent.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(bytes.Replace(text, []byte("https"), []byte("http"), 1))
	f.Add([]byte(`{"server":"https://a","id":"../x","api_key":"k"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := parseIdentity(text)
		if err == nil && (i.Root == nil || !isID(i.ID) || !strings.HasPrefix(i.Server, "https://") || len(i.Key) == 0) {
			t.Fatalf("%q gives %+v", text, i)
		}
	})
}
