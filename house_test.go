package leafward_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

const (
	maxFunction = 80  // lines from the func keyword to the closing brace
	maxFile     = 600 // lines
)

func TestNoFunctionIsLongerThan80Lines(t *testing.T) {
	eachTree(t, func(fset *token.FileSet, tree *ast.File) {
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.FuncDecl, *ast.FuncLit:
				from, to := fset.Position(funcPos(n)), fset.Position(n.End())
				if lines := to.Line - from.Line + 1; lines > maxFunction {
					t.Errorf("%s: a function of %d lines; the limit is %d: split it", from, lines, maxFunction)
				}
			}
			return true
		})
	})
}

func TestNoFileIsLongerThan600Lines(t *testing.T) {
	for _, file := range files(t, ".go", ".ts", ".tsx") {
		if strings.HasPrefix(path.Base(file), "zz_") || strings.HasSuffix(file, ".d.ts") {
			continue // generated
		}
		if lines := bytes.Count(read(t, file), []byte("\n")); lines > maxFile {
			t.Errorf("%s has %d lines; the limit is %d: split it", file, lines, maxFile)
		}
	}
}

func TestNothingIsLeftToDo(t *testing.T) {
	left := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)
	for _, file := range files(t, ".go", ".ts", ".tsx", ".sql", ".md", ".sh", ".service", ".txtar") {
		for i, line := range strings.Split(string(read(t, file)), "\n") {
			if mark := left.FindString(line); mark != "" {
				t.Errorf("%s:%d: %s: do it, or take it out", file, i+1, mark)
			}
		}
	}
}

// A bubble of testing/synctest has its own time, so sleeping there waits for nothing; and the failpoint whose action
// is to be slow is.
func TestNobodySleepsToWait(t *testing.T) {
	const slowFailpoint = "internal/hook/points.go"
	eachTree(t, func(fset *token.FileSet, tree *ast.File) {
		ast.Inspect(tree, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isSelector(call.Fun, "synctest", "Test") {
				return false
			}
			if !isSelector(n, "time", "Sleep") {
				return true
			}
			if at := fset.Position(n.Pos()); at.Filename != slowFailpoint {
				t.Errorf("%s: time.Sleep: wait for the event itself, with a context", at)
			}
			return false
		})
	})
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	eachTree(t, func(fset *token.FileSet, tree *ast.File) {
		file := fset.Position(tree.Pos()).Filename
		doc := tree.Doc.Text()
		said := strings.HasPrefix(doc, "Package "+tree.Name.Name+" ") || tree.Name.Name == "main" && strings.HasPrefix(doc, "Command ")
		documented[path.Dir(file)] = documented[path.Dir(file)] || said
	})
	for dir, said := range documented {
		if !said {
			t.Errorf("package %s has no package comment (\"Package …\", or \"Command …\" for main)", dir)
		}
	}
}

func TestCommentsStandOnTheirOwn(t *testing.T) {
	elsewhere := regexp.MustCompile(`/work/|/tmp/brief|design §|design\.md`)
	eachTree(t, func(fset *token.FileSet, tree *ast.File) {
		for _, group := range tree.Comments {
			for _, c := range group.List {
				if words := elsewhere.FindString(c.Text); words != "" {
					t.Errorf("%s: the comment names %q, which is not part of this repository", fset.Position(c.Pos()), words)
				}
			}
		}
	})
}

// A fuzz target without seeds begins at nothing, and one that no page names stands for no promise.
func TestEveryFuzzTargetHasSeedsAndShowsAPromise(t *testing.T) {
	page := string(read(t, coverage))
	eachTree(t, func(fset *token.FileSet, tree *ast.File) {
		for _, d := range tree.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			seeds := 0
			ast.Inspect(f, func(n ast.Node) bool {
				if isSelector(n, "f", "Add") {
					seeds++
				}
				return true
			})
			if seeds == 0 {
				t.Errorf("%s: %s has no seeds", fset.Position(f.Pos()), f.Name.Name)
			}
			if !strings.Contains(page, "`"+f.Name.Name+"`") {
				t.Errorf("%s: %s does not name %s", fset.Position(f.Pos()), coverage, f.Name.Name)
			}
		}
	})
}

func TestTheReadmeHasTheTwoCommands(t *testing.T) {
	readme := string(read(t, "README.md"))
	for _, command := range []string{"make run", "make test"} {
		if !strings.Contains(readme, command) {
			t.Errorf("README.md does not tell %q", command)
		}
	}
}

// eachTree parses every Go file of the module with its comments.
func eachTree(t *testing.T, look func(*token.FileSet, *ast.File)) {
	t.Helper()
	for _, file := range goFiles(t) {
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		look(fset, tree)
	}
}

// isSelector says whether n is pkg.name.
func isSelector(n ast.Node, pkg, name string) bool {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// funcPos is where a function begins, its comment left out.
func funcPos(n ast.Node) token.Pos {
	if decl, ok := n.(*ast.FuncDecl); ok {
		return decl.Type.Func
	}
	return n.Pos()
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
