//go:build unix

package leafward_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// environ is the environment without what a make above left in it, and with the pairs.
func environ(pairs ...string) []string {
	own := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "CI", "STEPS"}, name)
	})
	return append(own, pairs...)
}

// run runs a program in an environment and returns all it said, and whether it ended well.
func run(t *testing.T, env []string, name string, args ...string) (said string, well bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// made is what make prints; it must end well.
func made(t *testing.T, env []string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("make must be installed: apt-get install make")
		}
		t.Skip("make is not installed")
	}
	said, well := run(t, env, "make", args...)
	if !well {
		t.Fatalf("make %s:\n%s", strings.Join(args, " "), said)
	}
	return said
}

// targets are the targets of the Makefile that are no files.
func targets(t *testing.T) (names []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^\.PHONY: ([a-z0-9-]+)$`).FindAllStringSubmatch(string(read(t, "Makefile")), -1) {
		names = append(names, m[1])
	}
	return names
}

func TestTheHelpOfMakeIsMadeOfTheMakefileAndNamesEveryTarget(t *testing.T) {
	help := made(t, environ())
	if again := made(t, environ(), "help"); again != help {
		t.Errorf("make says\n%s and make help\n%s", help, again)
	}
	told := map[string]int{}
	lists, parts, _ := strings.Cut(help, "parts of make test:")
	for _, m := range regexp.MustCompile(`(?m)^  make (\S+) +\S+ \S+`).FindAllStringSubmatch(lists, -1) {
		told[m[1]]++
	}
	for part := range strings.SplitSeq(parts, " · ") {
		told[strings.TrimSpace(part)]++
	}
	for _, name := range targets(t) {
		if told[name] != 1 {
			t.Errorf("make help tells of %s %d times", name, told[name])
		}
		delete(told, name)
	}
	if len(told) > 0 {
		t.Errorf("make help tells of %v, which are no targets", told)
	}
	more := filepath.Join(t.TempDir(), "more.mk")
	if err := os.WriteFile(more, []byte("zebra: ## Run over the plain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if with := made(t, environ(), "-f", "Makefile", "-f", more, "help"); !regexp.MustCompile(`(?m)^  make zebra +Run over the plain$`).MatchString(with) {
		t.Errorf("a new target is not in the help:\n%s", with)
	}
}

// steps are the parts of `make test`, in their order.
func steps(t *testing.T, env ...string) []string {
	t.Helper()
	return strings.Fields(made(t, environ(env...), "--eval", "told: ; @echo $(STEPS)", "told"))
}

func TestMakeTestRunsEveryCheckAndEveryTest(t *testing.T) {
	all := steps(t, "CI=true")
	for _, step := range all {
		if !slices.Contains(targets(t), step) {
			t.Errorf("%s is no target", step)
		}
	}
	if desk := steps(t); !slices.Equal(desk, slices.DeleteFunc(slices.Clone(all), func(step string) bool { return step == "cross-check" })) {
		t.Errorf("in CI there is %q, at a desk %q", all, desk)
	}
	for step, runs := range map[string]string{
		"needs": `tools/needs`, "check-format": `gofumpt -l \.`, "house": `go test -count=1 \.`, "vet": `go vet -tags testhooks \./\.\.\.`, "lint": `golangci-lint run`,
		"generated": `openapi >`, "unit": `gotestsum .* \$\(go list \./\.\.\. `, "race": `gotestsum .* -race `, "e2e": `gotestsum .* \./e2e/\.\.\.`, "check-tidy": `go mod tidy -diff`,
	} {
		if !slices.Contains(all, step) {
			t.Errorf("make test does not run %s", step)
		}
		if would := made(t, environ(), "-n", step, "GO=go"); !regexp.MustCompile(runs).MatchString(would) {
			t.Errorf("make %s would run\n%s", step, would)
		}
	}
}

func TestMakeTestEndsWithTheFirstStepThatFailsAndNamesIt(t *testing.T) {
	if said := made(t, environ(), "test", "STEPS=help"); !strings.Contains(said, "make test: passed in ") {
		t.Errorf("it says\n%s", said)
	}
	said, well := run(t, environ(), "make", "test", "STEPS=help no-such-step help")
	if well || !strings.Contains(said, `make test: FAILED in "make no-such-step" after `) || strings.Count(said, "── help") != 1 {
		t.Errorf("it ended well: %t, and says\n%s", well, said)
	}
}

func TestCIRunsMakeTestWithNothingMissing(t *testing.T) {
	tools := t.TempDir()
	program(t, tools, "make", `echo "make $* in $PWD with CI=$CI"`)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(here, ".ci", "run")
	cmd := exec.CommandContext(t.Context(), script)
	cmd.Dir, cmd.Env = t.TempDir(), environ("PATH="+tools+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("make test in %s with CI=true\n", here); err != nil || string(out) != want {
		t.Errorf("%v: it says %q, not %q", err, out, want)
	}
}

// program writes a program of the shell.
func program(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// bareMachine is a path with what tools/needs itself is made of, and none of what tests need; id says who we are. Its
// apt-get writes down what it is asked, and brings it.
func bareMachine(t *testing.T, uid, apt string) (env []string, log string) {
	t.Helper()
	tools := t.TempDir()
	for _, name := range []string{"bash", "env", "cat", "rm", "chmod", "mktemp"} {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed", name)
		}
		if err := os.Symlink(real, filepath.Join(tools, name)); err != nil {
			t.Fatal(err)
		}
	}
	log = filepath.Join(tools, "log")
	policy := filepath.Join(tools, "policy-rc.d")
	program(t, tools, "id", "echo "+uid)
	program(t, tools, "apt-get", `
		`+policy+`; echo "$* (policy $?, $DEBIAN_FRONTEND)" >>`+log+`
		`+apt+`
		for package; do case $package in
			nginx|openssl|gcc) printf '#!/bin/sh\n' >`+tools+`/$package; chmod 755 `+tools+`/$package ;;
			postgresql) printf '#!/bin/sh\n' >`+tools+`/initdb; chmod 755 `+tools+`/initdb ;;
			libnss3-tools) printf '#!/bin/sh\n' >`+tools+`/certutil; chmod 755 `+tools+`/certutil ;;
			gnutls-bin) for tool in certtool ocsptool; do printf '#!/bin/sh\n' >`+tools+`/$tool; chmod 755 `+tools+`/$tool; done ;;
		esac; done`)
	return []string{"PATH=" + tools, "POLICY=" + policy, "TMPDIR=" + t.TempDir()}, log
}

func TestWhatTestsNeedIsInstalledByRootWithoutStartingServices(t *testing.T) {
	env, log := bareMachine(t, "0", "")
	said, well := run(t, append(env, "CI=true"), "tools/needs")
	if !well || strings.Contains(said, "missing") || !strings.Contains(said, "installing nginx") {
		t.Errorf("it ended well: %t, and says\n%s", well, said)
	}
	told := strings.Split(strings.TrimSpace(string(read(t, log))), "\n")
	if len(told) != 2 || !strings.HasPrefix(told[0], "-q update (policy 101, noninteractive)") ||
		!regexp.MustCompile(`^-q -y --no-install-recommends install nginx (postgresql )?openssl gnutls-bin libnss3-tools gcc libc6-dev \(policy 101, noninteractive\)$`).MatchString(told[1]) {
		t.Errorf("apt-get was asked %q", told)
	}
	policy := strings.TrimPrefix(env[1], "POLICY=")
	if _, err := os.Stat(policy); err == nil {
		t.Error("the rule that starts no services is left behind")
	}
	if said, well := run(t, env, "tools/needs"); !well || said != "" || len(read(t, log)) != len(strings.Join(told, "\n"))+1 {
		t.Errorf("with everything there it ended well: %t, and says %q", well, said)
	}
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 42\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(policy), "nginx")); err != nil {
		t.Fatal(err)
	}
	if _, well := run(t, env, "tools/needs"); !well || !strings.Contains(string(read(t, log)), "install nginx (policy 42,") {
		t.Error("the machine's own rule about services is not kept")
	}
	if _, err := os.Stat(policy); err != nil {
		t.Error("the machine's own rule about services is gone")
	}
}

func TestWhatCannotBeInstalledFailsInCIAndIsNamedAtADesk(t *testing.T) {
	for name, c := range map[string]struct {
		uid, apt, ci string
		well         bool
		words        string
	}{
		"a desk":                      {"1000", "", "", true, "skipped: the tests that need them"},
		"CI without root":             {"1000", "", "true", false, "missing: nginx "},
		"CI where nothing comes":      {"0", "exit 0", "true", false, "missing: nginx "},
		"root where apt-get does not": {"0", "echo no network; exit 100", "", false, "no network"},
	} {
		env, _ := bareMachine(t, c.uid, c.apt)
		said, well := run(t, append(env, "CI="+c.ci), "tools/needs")
		if well != c.well || !strings.Contains(said, c.words) {
			t.Errorf("%s: it ended well: %t, and says\n%s", name, well, said)
		}
		if c.uid != "0" && !strings.Contains(said, "(on Debian: apt-get install nginx ") {
			t.Errorf("%s: the remedy is not in\n%s", name, said)
		}
	}
}
