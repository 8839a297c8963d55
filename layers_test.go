package leafward_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/leafward/leafward"

// A layer is one row of the import table. Its words are groups (see expand), packages below internal/ or, as written
// there, packages beside it; "x/*" is every folder directly below x.
type layer struct{ who, may, law string }

// layers is the import table. The first row that names a package is its law; everybody but the nouns may import hook
// besides, and a test the nouns, ground, contracts, hands and helpers.
func layers() []layer {
	const (
		verb     = "a verb knows nouns, ground and contracts: no other verb, no hand by name, no door; verbs meet through jobs and events"
		hand     = "a hand knows its contract, nouns, pki, plugin and outbound; issuer/local also ca, source/network also probe"
		door     = "a door knows verbs and nouns, never another door; rest also api, rest and acme the store, revocation ca"
		contract = "a contract knows nouns, pki and plugin"
	)
	return []layer{
		{"nouns", "", "nouns import the standard library only"},
		{"api", "nouns", "api knows the nouns"},
		{"web", "", "web holds embedded files only"},
		{"cmd/leafward", "nouns api app agent cli config envelope", "main chooses between app, agent and cli"},
		{"helpers e2e bench", "everything helpers", "test code"},
		{"pgtest/cmd/cluster", "pgtest", "the cluster command starts the cluster of pgtest"},

		{"hook outbound config pki", "", "hook, outbound, config and pki stand on nothing of ours"},
		{"pki/lint pki/ocsp pki/inventory", "pki", "the parts of pki know pki"},
		{"probe", "pki outbound", "probe knows pki and outbound"},
		{"backup", "nouns audit", "backup knows nouns and audit"},
		{"audit plugin", "nouns", "audit and plugin know the nouns"},
		{"keys", "nouns pki", "keys knows nouns and pki"},
		{"store", "nouns audit", "store knows nouns and audit"},
		{"job", "nouns store", "job knows nouns and store"},
		{"envelope", "nouns keys", "envelope knows nouns and keys"},
		{"ca", "nouns store keys envelope pki pki/lint pki/ocsp", "ca knows nouns, store, keys, envelope and pki"},

		{"contracts", "nouns pki plugin", contract},
		{"issuer/local", "nouns pki plugin outbound issuer ca", hand},
		{"source/network", "nouns pki plugin outbound source probe", hand},
		{"issuer/*", "nouns pki plugin outbound issuer", hand},
		{"target/*", "nouns pki plugin outbound target", hand},
		{"source/*", "nouns pki plugin outbound source", hand},
		{"channel/*", "nouns pki plugin outbound channel", hand},

		{"verbs", "nouns ground contracts", verb},
		{"door/rest", "nouns verbs outbound api store", door},
		{"door/acme", "nouns verbs outbound store", door},
		{"door/revocation", "nouns verbs outbound ca", door},
		{"doors", "nouns verbs outbound", door},

		{"cli", "nouns api pki pki/inventory audit envelope", "cli knows what a stranger's client may use: nouns, api, pki, audit and envelope"},
		{"agent", "nouns api target target/* keys probe pki plugin", "the agent knows nouns, api, targets, keys, probe, pki and plugin, never the store"},
		{"app", "everything", "app wires everything; only cmd imports it"},
	}
}

// expand writes the words of a row as package paths.
func expand(words string) []string {
	var out []string
	for _, word := range strings.Fields(words) {
		switch word {
		case "nouns":
			out = append(out, ".")
		case "api", "web", "e2e", "bench", "cmd/leafward":
			out = append(out, word)
		case "contracts":
			out = append(out, expand("issuer target source channel")...)
		case "hands":
			out = append(out, expand("issuer/* target/* source/* channel/*")...)
		case "verbs":
			out = append(out, expand("lifecycle deploy discover watch notify fleet auth")...)
		case "doors":
			out = append(out, expand("door/*")...)
		case "ground":
			out = append(out, expand("store job ca keys probe pki pki/lint pki/ocsp pki/inventory audit backup envelope outbound plugin")...)
		case "helpers":
			out = append(out, expand("*test */*test */*/*test")...)
		case "everything":
			out = append(out, expand("nouns api web * */*")...)
		default:
			out = append(out, "internal/"+word)
		}
	}
	return out
}

// pure is what the nouns may import of the standard library: nothing that reads, writes, dials or runs.
const pure = "bytes cmp context crypto crypto/rand crypto/sha256 crypto/subtle crypto/x509 crypto/x509/pkix encoding encoding/* " +
	"errors fmt hash hash/* io iter log/slog maps math math/* net/mail net/netip net/url path regexp slices sort strconv strings " +
	"sync time unicode unicode/*"

func TestEveryImportFollowsTheTable(t *testing.T) {
	for _, file := range goFiles(t) {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, spec := range tree.Imports {
			if objection := object(file, importPath(t, spec)); objection != "" {
				t.Errorf("%s: %s", file, objection)
			}
		}
	}
}

func TestEveryPackageHasARowInTheTable(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range goFiles(t) {
		pkg := path.Dir(file)
		if _, ok := row(pkg); !ok && !seen[pkg] {
			seen[pkg] = true
			t.Errorf("package %s has no row in the import table of layers_test.go: say there what it may import", pkg)
		}
	}
}

func TestTheTableRefuses(t *testing.T) {
	const ours = module + "/internal/"
	for _, c := range []struct {
		file, imports string
		allowed       bool
	}{
		{"certificate.go", "time", true},
		{"certificate.go", "os", false},
		{"certificate.go", "net/http", false},
		{"certificate.go", "github.com/google/uuid", false},
		{"certificate.go", ours + "hook", false},
		{"internal/pki/csr.go", module, false},
		{"internal/store/team.go", ours + "audit", true},
		{"internal/store/team.go", ours + "job", false},
		{"internal/store/team.go", ours + "hook", true},
		{"internal/issuer/local/local.go", ours + "ca", true},
		{"internal/issuer/vault/vault.go", ours + "ca", false},
		{"internal/target/nginx/nginx.go", ours + "target/haproxy", false},
		{"internal/deploy/plan.go", ours + "target", true},
		{"internal/deploy/plan.go", ours + "target/nginx", false},
		{"internal/deploy/plan.go", ours + "notify", false},
		{"internal/deploy/plan.go", ours + "door/rest", false},
		{"internal/deploy/plan_test.go", ours + "notify", false},
		{"internal/deploy/plan_test.go", ours + "target/nginx", true},
		{"internal/deploy/plan_test.go", ours + "deploy", true},
		{"internal/deploy/plan_test.go", ours + "pgtest", true},
		{"internal/deploy/plan_test.go", ours + "app", false},
		{"internal/deploy/plan.go", ours + "store/storetest", false},
		{"internal/door/rest/team.go", module + "/api", true},
		{"internal/door/est/est.go", module + "/api", false},
		{"internal/door/est/est.go", ours + "store", false},
		{"internal/door/est/est.go", ours + "door/scep", false},
		{"internal/door/est/est_test.go", ours + "door/scep", false},
		{"internal/agent/run.go", ours + "target/nginx", true},
		{"internal/agent/run.go", ours + "store", false},
		{"internal/cli/issue.go", ours + "app", false},
		{"internal/app/app.go", ours + "door/rest", true},
		{"internal/app/app.go", ours + "store/storetest", false},
		{"cmd/leafward/main.go", ours + "app", true},
		{"cmd/leafward/main.go", ours + "store", false},
		{"e2e/e2e_test.go", ours + "app", true},
		{"internal/surprise/a.go", "time", true},
		{"internal/surprise/a.go", ours + "store", false},
	} {
		if objection := object(c.file, c.imports); (objection == "") != c.allowed {
			t.Errorf("%s importing %s: allowed is %t, want %t (%s)", c.file, c.imports, !c.allowed, c.allowed, objection)
		}
	}
}

// object says why the file may not import the package; "" when it may.
func object(file, imported string) string {
	pkg, test := path.Dir(file), strings.HasSuffix(file, "_test.go")
	name, ours := strings.CutPrefix(imported, module)
	if !ours {
		if pkg == "." && !test && !matches(strings.Fields(pure), imported) {
			return "imports " + imported + ": nouns do no I/O and know the standard library only; layers_test.go lists the part they may use"
		}
		return ""
	}
	name = path.Clean(strings.TrimPrefix(name, "/"))
	rule, ok := row(pkg)
	may := expand(rule.may)
	switch {
	case !ok:
		return "imports " + name + ", but " + pkg + " has no row in the import table of layers_test.go"
	case matches(expand("helpers"), name):
		if test || slices.Contains(may, name) || slices.Contains(strings.Fields(rule.may), "helpers") {
			return ""
		}
		return "imports " + name + ": test helpers are for _test.go files"
	case name == "internal/hook" && pkg != ".", matches(may, name):
		return ""
	case test && (name == pkg || matches(expand("nouns ground contracts hands"), name)):
		return ""
	}
	return "imports " + name + ": " + rule.law
}

// row is the law of a package.
func row(pkg string) (layer, bool) {
	for _, l := range layers() {
		if matches(expand(l.who), pkg) {
			return l, true
		}
	}
	return layer{}, false
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return err == nil && ok
	})
}

func importPath(t *testing.T, spec *ast.ImportSpec) string {
	t.Helper()
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// goFiles are the module's Go files, slash-separated and relative to its root, whatever their build tags.
func goFiles(t *testing.T) []string { return files(t, ".go") }

// files are the module's files with one of the endings; hidden folders, other modules, installed packages and
// test data are left out.
func files(t *testing.T, endings ...string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(name, d.Name())
		}
		if slices.Contains(endings, path.Ext(name)) {
			out = append(out, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func enter(dir, base string) error {
	if dir == "." {
		return nil
	}
	skipped := []string{"testdata", "node_modules", "dist", "bin", "leafward-data"}
	if strings.HasPrefix(base, ".") || slices.Contains(skipped, base) {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}
