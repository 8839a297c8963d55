package rest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/leafward/leafward/api"
	"github.com/oasdiff/oasdiff/checker"
	"github.com/oasdiff/oasdiff/diff"
	"github.com/oasdiff/oasdiff/load"
)

func loadDocument(t *testing.T, name string, text []byte) *load.SpecInfo {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return &load.SpecInfo{Url: name, Spec: doc, Version: "1"}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// later are the operations of the contract that this version does not have; the list only shrinks.
func later(t *testing.T) []string {
	t.Helper()
	return strings.Fields(string(read(t, "../../../api/testdata/later.txt")))
}

func TestTheDocumentKeepsTheGivenContract(t *testing.T) {
	emitted, err := Document("test")
	if err != nil {
		t.Fatal(err)
	}
	ours := loadDocument(t, "emitted", emitted)
	given := loadDocument(t, "contract", read(t, "../../../api/testdata/contract.json"))
	waiting := later(t)
	var had []string
	for path, item := range given.Spec.Paths.Map() {
		for method, operation := range item.Operations() {
			if slices.Contains(waiting, operation.OperationID) {
				had = append(had, operation.OperationID)
				item.SetOperation(method, nil)
			}
		}
		if len(item.Operations()) == 0 {
			given.Spec.Paths.Delete(path)
		}
	}
	for _, id := range waiting {
		if !slices.Contains(had, id) {
			t.Errorf("later.txt names %s, which the contract does not have", id)
		}
		if slices.ContainsFunc(api.Operations(), func(i api.Info) bool { return i.ID == id }) {
			t.Errorf("%s exists: take it out of later.txt", id)
		}
	}
	report, sources, err := diff.GetWithOperationsSourcesMap(diff.NewConfig(), given, ours)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range checker.CheckBackwardCompatibility(checker.NewConfig(checker.GetAllChecks()), report, sources) {
		if accepted(change.GetId(), change.GetPath()) {
			continue
		}
		t.Errorf("%s %s: %s: %s", change.GetOperation(), change.GetPath(), change.GetId(), change.GetText(checker.NewDefaultLocalizer()))
	}
}

// accepted are the differences that the contract's own repairs ask for.
func accepted(id, _ string) bool {
	return slices.Contains([]string{
		"request-parameter-max-length-set", "request-body-max-length-set", "request-property-max-length-set", // every field has a bound
		"response-body-content-media-type-changed", "request-body-content-media-type-changed", // how OpenAPI 3.1 says `format: binary`
	}, id)
}

func TestEveryOperationHasAHandlerAndADistinctID(t *testing.T) {
	r := build(Deps{})
	if missing := r.missing(); len(missing) > 0 {
		t.Errorf("without a handler: %v", missing)
	}
	seen := make(map[string]bool)
	for _, info := range api.Operations() {
		if seen[info.ID] {
			t.Errorf("%s is declared twice", info.ID)
		}
		seen[info.ID] = true
	}
}
