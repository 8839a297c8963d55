//go:build linux

package e2e_test

import (
	"bufio"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// fuzzTime is how long the long form looks for inputs that break a target.
var fuzzTime = flag.Duration("drill.fuzz", 30*time.Second, "how long each fuzz target is fuzzed in the long form")

// least are the targets and the share of parsers, in percent, that the corpus in the sources must reach.
const (
	leastTargets = 12
	leastCover   = 60
)

// Parsers of what comes from outside are fuzzed, and the corpus in the sources runs through most of them. The short form
// looks at the parsers of requests for certificates and of OCSP alone, and does not fuzz: every run of the tests takes the
// corpus.
func TestFuzzTargetsFindNothingAndReachTheParsers(t *testing.T) {
	d := newDrill(t, "R30", "any engine")
	targets := fuzzTargets(t)
	all := 0
	covered, statements := 0, 0
	begun := time.Now()
	for _, dir := range sortedKeys(targets) {
		all += len(targets[dir])
		if !*long && dir != "../internal/pki" && dir != "../internal/pki/ocsp" {
			continue
		}
		if *long {
			for _, name := range targets[dir] {
				if out, err := try(t, nil, "go", "test", "-run", "^$", "-fuzz", "^"+name+"$", "-fuzztime", fuzzTime.String(), dir); err != nil {
					t.Errorf("%s %s: %v\n%s", dir, name, err, out)
				}
			}
		}
		c, s := parsersReached(t, dir)
		covered, statements = covered+c, statements+s
	}
	share := 100 * covered / max(statements, 1)
	if all < leastTargets || share < leastCover {
		t.Errorf("%d targets; the corpus runs %d of %d statements of the parsers", all, covered, statements)
	}
	fuzzed := "fuzzed by `make drill-fuzz` only"
	if *long {
		fuzzed = fmt.Sprintf("each fuzzed for %s, %s in all, nothing found", *fuzzTime, time.Since(begun).Round(time.Second))
	}
	d.measured("%d targets, %s, the corpus runs %d%% of the %d statements of the parsers looked at", all, fuzzed, share, statements)
}

func sortedKeys(of map[string][]string) (keys []string) {
	for key := range of {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// fuzzTargets are the names of all targets, by directory.
func fuzzTargets(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, depth := range []string{"*", "*/*", "*/*/*"} {
		files, err := filepath.Glob("../internal/" + depth + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			eachFunc(t, file, func(f *ast.FuncDecl, _, _ int) {
				if strings.HasPrefix(f.Name.Name, "Fuzz") {
					found[filepath.Dir(file)] = append(found[filepath.Dir(file)], f.Name.Name)
				}
			})
		}
	}
	return found
}

// eachFunc shows the functions of a file with their first and last lines.
func eachFunc(t *testing.T, file string, look func(f *ast.FuncDecl, from, to int)) {
	t.Helper()
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range tree.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			look(f, fset.Position(f.Pos()).Line, fset.Position(f.End()).Line)
		}
	}
}

// parsing are the names of functions that read what comes from outside.
var parsing = regexp.MustCompile(`^(Parse|parse|Read|read|Decode|decode|FromPath|Verify|verify|Canonical|canonical|check|classify|identify|bearer|csrDER|commonName|appendName|add$)`)

// parsersReached is how many statements of a package's parsers the corpus of its targets runs, of how many.
func parsersReached(t *testing.T, dir string) (covered, statements int) {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "cover")
	if out, err := try(t, nil, "go", "test", "-count=1", "-run", "^Fuzz", "-coverprofile", profile, dir); err != nil {
		t.Fatalf("%s: %v\n%s", dir, err, out)
	}
	type span struct{ from, to int }
	parsers := map[string][]span{}
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		eachFunc(t, file, func(f *ast.FuncDecl, from, to int) {
			if parsing.MatchString(f.Name.Name) && !strings.HasSuffix(file, "_test.go") {
				parsers[filepath.Base(file)] = append(parsers[filepath.Base(file)], span{from, to})
			}
		})
	}
	f, err := os.Open(profile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, found := strings.Cut(lines.Text(), ".go:")
		if !found {
			continue
		}
		var line, column, endLine, endColumn, n, count int
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &line, &column, &endLine, &endColumn, &n, &count); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		within := func(s span) bool { return s.from <= line && endLine <= s.to }
		if !slices.ContainsFunc(parsers[filepath.Base(name)+".go"], within) {
			continue
		}
		statements += n
		if count > 0 {
			covered += n
		}
	}
	t.Logf("%s: %d of %d", dir, covered, statements)
	return covered, statements
}
