//go:build linux

package e2e_test

import (
	"debug/buildinfo"
	"debug/elf"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// copyOfTheHouse is what a clone has, without what was built and cached here.
func copyOfTheHouse(t *testing.T) string {
	t.Helper()
	house, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(shortDir(t), "leafward")
	err = filepath.WalkDir(house, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(house, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "leafward-data", "node_modules"}, name):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// without is the environment without some variables, and with the pairs.
func without(names []string, pairs ...string) []string {
	return append(slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, name)
	}), pairs...)
}

// `make run` in a clone builds the binary and leaves a server running in ./leafward-data, which ends with it. The ports of
// this machine may be in use: the settings of the server come through.
func TestMakeRunBuildsTheServerAndRunsItInLeafwardData(t *testing.T) {
	t.Parallel()
	installed(t, "make", "go")
	house, listen, public := copyOfTheHouse(t), freeAddress(t), freeAddress(t)
	env := without([]string{"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}, "LEAFWARD_LISTEN="+listen, "LEAFWARD_PUBLIC_LISTEN="+public)
	p := startIn(t, house, env, "make", "run")
	p.heardWithin(t, 5*time.Minute, "is ready")
	p.heard(t, "https://localhost:"+listen[strings.LastIndex(listen, ":")+1:])
	data := filepath.Join(house, "leafward-data")
	p.heard(t, data+" (SQLite)")
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	p.heard(t, "  bin/leafward issue www.example.com")
	for _, args := range [][]string{{"status"}, {"issue", "www.example.com"}} {
		next := exec.CommandContext(t.Context(), "bin/leafward", args...)
		next.Dir = house
		if out, err := next.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	for _, name := range []string{"www.example.com.crt", "www.example.com.key"} {
		if _, err := os.Stat(filepath.Join(house, name)); err != nil {
			t.Error(err)
		}
	}
	p.signal(syscall.SIGTERM)
	p.ended(t)
	if conn, err := net.Dial("tcp", listen); err == nil {
		_ = conn.Close()
		t.Error("make has ended and the server has not")
	}
}

func TestTheBinaryIsStaticSmallAndWithoutHooks(t *testing.T) {
	t.Parallel()
	for name, tag := range map[string]string{"leafward": "", "leafward-testhooks": "testhooks"} {
		path := program(t, name)
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if info.Main.Path != "github.com/leafward/leafward" || settings["CGO_ENABLED"] != "0" || settings["-tags"] != tag || settings["-trimpath"] != "true" {
			t.Errorf("%s is %s, built with %v", name, info.Main.Path, settings)
		}
		file, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range file.Progs {
			if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is not static: it has %s", name, part.Type)
			}
		}
		_ = file.Close()
		if stat, err := os.Stat(path); err != nil || stat.Size() >= 40_000_000 {
			t.Errorf("%s has %d bytes (%v)", name, stat.Size(), err)
		}
	}
}

// These tests themselves, on a machine without the parts they need.
func TestAMissingPartFailsInCIAndIsSkippedByNameAtADesk(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for ci, want := range map[string]struct {
		well  bool
		words string
	}{"true": {false, "--- FAIL: TestScripts"}, "": {true, "--- SKIP: TestScripts"}} {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestScripts$", "-test.v")
		cmd.Env = without([]string{"PATH", "CI"}, "PATH="+t.TempDir(), "CI="+ci)
		out, err := cmd.CombinedOutput()
		if (err == nil) != want.well || !strings.Contains(string(out), want.words) || !strings.Contains(string(out), "openssl is not installed: apt-get install openssl") {
			t.Errorf("with CI=%s: %v\n%s", ci, err, out)
		}
	}
}
