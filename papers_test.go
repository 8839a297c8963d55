package leafward_test

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestTheModuleHasItsPathAndItsLicence(t *testing.T) {
	if first, _, _ := strings.Cut(string(read(t, "go.mod")), "\n"); first != "module "+module {
		t.Errorf("go.mod begins with %q", first)
	}
	licence := string(read(t, "LICENSE"))
	for _, words := range []string{"Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"} {
		if !strings.Contains(licence, words) {
			t.Errorf("LICENSE does not say %q", words)
		}
	}
}

// Each paper has its title and what it is for: a table, a diagram, a decision with its reason.
func TestThePapersOfTheHouseSayWhatTheyAreFor(t *testing.T) {
	papers := map[string][]string{
		"README.md":        {"# Leafward\n", "make run", "make test", "Apache-2.0"},
		"ARCHITECTURE.md":  {"# Architecture\n", "## Five words", "## The tree", "layers_test.go"},
		"CONTRIBUTING.md":  {"# Contributing\n", "## Adding an operation", "## Adding an issuer, a target, a channel or a source"},
		"docs/issuance.md": {"# How a certificate is made\n", "| step | where | after a crash |"},
		"docs/states.md":   {"# States\n", "## Certificate", "## Job", "## Serial", "## Authority"},
		"docs/threats.md":  {"# Threats, and what stands against them\n", "|---|---|"},
	}
	decisions, err := filepath.Glob("docs/decisions/*.md")
	if err != nil || len(decisions) == 0 {
		t.Fatalf("there are no decisions: %v", err)
	}
	for i, file := range decisions {
		number := strconv.Itoa(i + 1)
		if !strings.HasPrefix(filepath.Base(file), strings.Repeat("0", 4-len(number))+number+"-") {
			t.Errorf("%s is not decision %s", file, number)
		}
		papers[filepath.ToSlash(file)] = []string{"# " + number + ". ", "**Decision.**", "**Why.**"}
	}
	for file, words := range papers {
		text := string(read(t, file))
		if !strings.HasPrefix(text, words[0]) {
			t.Errorf("%s does not begin with %q", file, words[0])
		}
		for _, word := range words[1:] {
			if !strings.Contains(text, word) {
				t.Errorf("%s does not have %q", file, word)
			}
		}
	}
}

func TestThePageOfStatesHasEveryState(t *testing.T) {
	page := string(read(t, "docs/states.md"))
	seen := 0
	eachTree(t, func(fset *token.FileSet, tree *ast.File) {
		if tree.Name.Name != "leafward" {
			return
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, ok := spec.Type.(*ast.Ident)
			value, literal := spec.Values[0].(*ast.BasicLit)
			if !ok || !literal || !strings.HasSuffix(kind.Name, "Status") && !strings.HasSuffix(kind.Name, "State") {
				return true
			}
			word, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			seen++
			if !regexp.MustCompile(`\b` + word + `\b`).MatchString(page) {
				t.Errorf("%s: docs/states.md does not have the %s %q", fset.Position(spec.Pos()), kind.Name, word)
			}
			return true
		})
	})
	if seen == 0 {
		t.Error("the nouns have no states")
	}
}

// The tree that ARCHITECTURE.md draws is the one on the disk: what it names is there, and every package is below something
// that it names.
func TestTheTreeIsAsArchitectureDrawsIt(t *testing.T) {
	_, tree, _ := strings.Cut(string(read(t, "ARCHITECTURE.md")), "## The tree")
	tree, _, _ = strings.Cut(tree, "\n## ")
	var named []string
	for _, m := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(tree, -1) {
		for _, place := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[1], -1) {
			place := strings.TrimSuffix(place[1], "/")
			if found, err := filepath.Glob(place); err != nil || len(found) == 0 {
				t.Errorf("ARCHITECTURE.md names %s, which is not there", place)
			}
			named = append(named, place)
		}
	}
	for _, file := range goFiles(t) {
		if dir := path.Dir(file); dir != "." && !below(dir, named) {
			t.Errorf("%s is below nothing that ARCHITECTURE.md names", dir)
		}
	}
	for _, file := range []string{"layers_test.go", "Makefile", ".ci/run"} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

// below says whether a folder is one of the named or inside one.
func below(dir string, named []string) bool {
	for _, one := range named {
		if dir == one || strings.HasPrefix(dir, one+"/") {
			return true
		}
	}
	return false
}
