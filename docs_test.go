package leafward_test

import (
	"go/ast"
	"go/token"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryLinkInTheDocumentationLeadsSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, file := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(string(read(t, file)), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: the link %q cannot be read: %v", file, m[1], err)
				continue
			}
			if u.Scheme != "" || u.Path == "" {
				continue
			}
			if _, err := os.Stat(path.Join(path.Dir(file), u.Path)); err != nil {
				t.Errorf("%s: the link %q leads nowhere", file, m[1])
			}
		}
	}
}

// coverage is the page that names, for each promise, the tests and scripts that show it.
const coverage = "docs/coverage.md"

func TestEveryPromiseNamesTestsThatExist(t *testing.T) {
	known := map[string]bool{}
	eachTree(t, func(_ *token.FileSet, tree *ast.File) {
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				known[f.Name.Name] = true
			}
		}
	})
	scripts, err := filepath.Glob("e2e/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		known[filepath.Base(script)] = true
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+|[a-z0-9-]+\\.txtar)`")
	for file, heads := range map[string][]string{coverage: {"promise", "sentence"}, "docs/reliability.md": {"case"}} {
		rows, table := 0, false
		for i, line := range strings.Split(string(read(t, file)), "\n") {
			if !strings.HasPrefix(line, "| ") {
				table = table && strings.HasPrefix(line, "|")
				continue
			}
			if !table {
				first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
				table = slices.Contains(heads, first)
				continue
			}
			rows++
			shown := named.FindAllStringSubmatch(line, -1)
			if len(shown) == 0 && !strings.Contains(line, "`make ") {
				t.Errorf("%s:%d: the promise names no test", file, i+1)
			}
			for _, m := range shown {
				if !known[m[1]] {
					t.Errorf("%s:%d: there is no %s", file, i+1, m[1])
				}
			}
		}
		if rows == 0 {
			t.Errorf("%s holds no promise", file)
		}
	}
}
