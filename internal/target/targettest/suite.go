package targettest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
)

// Bench is a target on a real service of its own. The service runs, but the target's files do not exist yet.
type Bench struct {
	Target target.Target
	Name   string   // DNS name that the service is asked for
	Files  []string // what the target writes, the private key included
	Keys   []string // those of Files that hold the private key

	Served     func() string // fingerprint of what the service shows now; "" is nothing
	FailTest   func()        // makes the service's configuration test fail from now on
	FailReload func()        // makes its reload fail from now on
}

// Run tests that a target keeps its contract; start makes a fresh bench for each test.
func Run(t *testing.T, start func(t *testing.T) Bench) {
	for name, test := range map[string]func(*testing.T, *Authority, Bench){
		"the first deployment makes the files, and they are served":    firstDeployment,
		"deploying again changes nothing":                              again,
		"a new version takes the place of the old one":                 nextVersion,
		"a failed test puts the old version back":                      failedTest,
		"a failed reload puts the old version back":                    failedReload,
		"a failed first deployment leaves no file":                     failedFirst,
		"a deployment that is cancelled before it begins does nothing": cancelled,
		"nothing but a whole bundle is deployed":                       noBundle,
		"a key is kept from others":                                    keyModes,
		"a dry run changes nothing and says what is wrong":             dryRun,
	} {
		t.Run(name, func(t *testing.T) {
			bench := start(t)
			test(t, NewAuthority(t), bench)
			noLitter(t, bench)
		})
	}
}

func firstDeployment(t *testing.T, a *Authority, b Bench) {
	bundle := a.Bundle(t, b.Name)
	deploy(t, b, bundle)
	for _, path := range b.Keys {
		if mode := stat(t, path).Mode().Perm(); mode != 0o600 {
			t.Errorf("a new key has mode %04o, want 0600", mode)
		}
	}
	serves(t, b, bundle)
}

func again(t *testing.T, a *Authority, b Bench) {
	bundle := a.Bundle(t, b.Name)
	deploy(t, b, bundle)
	before := snapshot(t, b)
	deploy(t, b, bundle)
	same(t, before, snapshot(t, b))
}

func nextVersion(t *testing.T, a *Authority, b Bench) {
	deploy(t, b, a.Bundle(t, b.Name))
	bundle := a.Bundle(t, b.Name)
	deploy(t, b, bundle)
	serves(t, b, bundle)
}

func failedTest(t *testing.T, a *Authority, b Bench)   { putsBack(t, a, b, b.FailTest) }
func failedReload(t *testing.T, a *Authority, b Bench) { putsBack(t, a, b, b.FailReload) }

func putsBack(t *testing.T, a *Authority, b Bench, fail func()) {
	t.Helper()
	old := a.Bundle(t, b.Name)
	deploy(t, b, old)
	for _, path := range b.Files {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, b)
	fail()
	err := b.Target.Deploy(t.Context(), a.Bundle(t, b.Name))
	if leafward.KindOf(err) != leafward.Precondition || !strings.Contains(err.Error(), "put back") {
		t.Errorf("got %v, want an error that says that everything was put back", err)
	}
	same(t, contents(before), contents(snapshot(t, b)))
	serves(t, b, old)
}

func failedFirst(t *testing.T, a *Authority, b Bench) {
	b.FailTest()
	if err := b.Target.Deploy(t.Context(), a.Bundle(t, b.Name)); err == nil {
		t.Error("a deployment whose test fails is reported as done")
	}
	if left := snapshot(t, b); len(left) > 0 {
		t.Errorf("left behind: %v", slices.Collect(maps.Keys(left)))
	}
}

func cancelled(t *testing.T, a *Authority, b Bench) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Target.Deploy(ctx, a.Bundle(t, b.Name)); err == nil {
		t.Error("a cancelled deployment is reported as done")
	}
	if left := snapshot(t, b); len(left) > 0 {
		t.Errorf("left behind: %v", slices.Collect(maps.Keys(left)))
	}
}

func noBundle(t *testing.T, a *Authority, b Bench) {
	certificates, _ := a.PEM(t, b.Name)
	_, key := a.PEM(t, b.Name)
	foreign, err := target.NewBundle(certificates, key)
	if leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("a key of another certificate: got %v", err)
	}
	for _, bundle := range []target.Bundle{{}, foreign} {
		if err := b.Target.Deploy(t.Context(), bundle); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("got %v, want it refused", err)
		}
	}
}

func keyModes(t *testing.T, a *Authority, b Bench) {
	deploy(t, b, a.Bundle(t, b.Name))
	for before, after := range map[fs.FileMode]fs.FileMode{0o644: 0o640, 0o640: 0o640, 0o604: 0o600, 0o400: 0o400} {
		for _, path := range b.Keys {
			if err := os.Chmod(path, before); err != nil {
				t.Fatal(err)
			}
		}
		deploy(t, b, a.Bundle(t, b.Name))
		for _, path := range b.Keys {
			if mode := stat(t, path).Mode().Perm(); mode != after {
				t.Errorf("a key of mode %04o becomes %04o, want %04o", before, mode, after)
			}
		}
	}
}

func dryRun(t *testing.T, a *Authority, b Bench) {
	checker, ok := b.Target.(target.Checker)
	if !ok {
		t.Skip("the target has no dry run")
	}
	check := func() target.Report {
		t.Helper()
		before := snapshot(t, b)
		report, err := checker.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		same(t, before, snapshot(t, b))
		return report
	}
	report := check()
	if !report.OK() || !strings.Contains(fmt.Sprint(report.Steps), "the first deployment makes") {
		t.Errorf("on a fresh host: %+v", report.Steps)
	}
	deploy(t, b, a.Bundle(t, b.Name))
	if report := check(); !report.OK() {
		t.Errorf("after a deployment: %+v", report.Steps)
	}
	b.FailTest()
	if report := check(); report.OK() {
		t.Errorf("with a configuration that fails its test: %+v", report.Steps)
	}
}

func deploy(t *testing.T, b Bench, bundle target.Bundle) {
	t.Helper()
	if err := b.Target.Deploy(t.Context(), bundle); err != nil {
		t.Fatal(err)
	}
}

// serves waits for a certificate: what ran before a reload may answer for a moment after it.
func serves(t *testing.T, b Bench, bundle target.Bundle) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for range 500 {
		if b.Served() == bundle.Fingerprint() {
			return
		}
		<-look.C
	}
	t.Errorf("%q is served, want %q", b.Served(), bundle.Fingerprint())
}

// held is one file as it stands.
type held struct {
	content []byte
	info    fs.FileInfo
}

// snapshot is every file of the target that exists.
func snapshot(t *testing.T, b Bench) map[string]held {
	t.Helper()
	out := map[string]held{}
	for _, path := range b.Files {
		content, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out[path] = held{content, stat(t, path)}
	}
	return out
}

// contents leaves out which inode holds a file: one that was put back is a new one.
func contents(files map[string]held) map[string]held {
	out := map[string]held{}
	for path, file := range files {
		out[path] = held{append(slices.Clone(file.content), file.info.Mode().String()...), nil}
	}
	return out
}

func same(t *testing.T, before, after map[string]held) {
	t.Helper()
	equal := func(a, b held) bool {
		return bytes.Equal(a.content, b.content) && (a.info == nil || os.SameFile(a.info, b.info) && a.info.Mode() == b.info.Mode())
	}
	if !maps.EqualFunc(before, after, equal) {
		t.Error("the files are not what they were")
	}
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// noLitter sees that nothing is left beside the files.
func noLitter(t *testing.T, b Bench) {
	t.Helper()
	for _, path := range b.Files {
		left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".leafward-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
}
