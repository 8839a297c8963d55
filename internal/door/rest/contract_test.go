package rest

import (
	"encoding/json"
	"fmt"
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
	for _, id := range later(t) {
		if slices.ContainsFunc(api.Operations(), func(i api.Info) bool { return i.ID == id }) {
			t.Errorf("%s exists: take it out of later.txt", id)
		}
	}
	for _, lost := range losses(t, emitted) {
		t.Error(lost)
	}
}

// losses are the promises of the given contract that a document does not keep, but for the operations that come later.
func losses(t *testing.T, emitted []byte) (out []string) {
	t.Helper()
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
	}
	report, sources, err := diff.GetWithOperationsSourcesMap(diff.NewConfig(), given, ours)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range checker.CheckBackwardCompatibility(checker.NewConfig(checker.GetAllChecks()), report, sources) {
		if !accepted(change.GetId(), change.GetPath()) {
			out = append(out, fmt.Sprintf("%s %s: %s: %s", change.GetOperation(), change.GetPath(), change.GetId(), change.GetText(checker.NewDefaultLocalizer())))
		}
	}
	return append(out, shrunk(given.Spec, ours.Spec)...)
}

// shrunk are the losses that oasdiff takes for compatible: statuses, properties of answers and bodies, and words of
// enumerations that are gone.
func shrunk(given, ours *openapi3.T) (out []string) {
	for path, item := range given.Paths.Map() {
		for method, promised := range item.Operations() {
			at := method + " " + path
			now := ours.Paths.Find(path)
			if now == nil || now.GetOperation(method) == nil {
				continue // told by oasdiff
			}
			kept := now.GetOperation(method)
			for status, response := range promised.Responses.Map() {
				held := kept.Responses.Value(status)
				if held == nil {
					out = append(out, at+" has no status "+status)
					continue
				}
				out = append(out, narrower(at+" "+status, response.Value.Content, held.Value.Content)...)
			}
			if promised.RequestBody != nil && kept.RequestBody != nil {
				out = append(out, narrower(at+" body", promised.RequestBody.Value.Content, kept.RequestBody.Value.Content)...)
			}
		}
	}
	return out
}

func narrower(at string, given, ours openapi3.Content) (out []string) {
	for kind, media := range given {
		if held := ours[kind]; held != nil && media.Schema != nil && held.Schema != nil {
			out = append(out, smaller(at, media.Schema.Value, held.Schema.Value, 0)...)
		}
	}
	return out
}

// smaller compares properties and enumerations, down to a depth that no schema of the contract reaches.
func smaller(at string, given, ours *openapi3.Schema, depth int) (out []string) {
	if ours == nil || depth > 6 {
		return nil
	}
	for _, one := range ours.OneOf {
		if one.Value != nil && !one.Value.Type.Is("null") {
			ours = one.Value
		}
	}
	if !strings.Contains(at, " body") {
		for _, word := range given.Enum {
			if len(ours.Enum) > 0 && !slices.Contains(ours.Enum, word) {
				out = append(out, fmt.Sprintf("%s lacks the word %v", at, word))
			}
		}
	}
	if given.Items != nil && ours.Items != nil {
		out = append(out, smaller(at+"[]", given.Items.Value, ours.Items.Value, depth+1)...)
	}
	if more := ours.AdditionalProperties; len(ours.Properties) == 0 && (more.Schema != nil || more.Has != nil && *more.Has) {
		return out // a map of any names
	}
	for name, property := range given.Properties {
		held := ours.Properties[name]
		if held == nil {
			out = append(out, at+" lacks the property "+name)
			continue
		}
		out = append(out, smaller(at+"."+name, property.Value, held.Value, depth+1)...)
	}
	return out
}

func TestEveryKindOfLossIsSeen(t *testing.T) {
	emitted, err := Document("test")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(doc map[string]any){
		"a path":                func(doc map[string]any) { delete(at(doc, "paths"), "/api/v1/teams") },
		"an operation":          func(doc map[string]any) { delete(at(doc, "paths", "/api/v1/teams"), "post") },
		"a status":              func(doc map[string]any) { delete(at(doc, "paths", "/api/v1/issuers", "get", "responses"), "500") },
		"a property of answers": func(doc map[string]any) { delete(at(doc, "components", "schemas", "Issuer", "properties"), "enabled") },
		"a property of bodies":  func(doc map[string]any) { delete(at(doc, "components", "schemas", "TeamWrite", "properties"), "name") },
		"a type": func(doc map[string]any) {
			at(doc, "components", "schemas", "Team", "properties", "name")["type"] = "integer"
		},
		"a word of enumerations": func(doc map[string]any) {
			at(doc, "components", "schemas", "Issuer", "properties", "type")["enum"] = []any{"ACME"}
		},
		"a parameter": func(doc map[string]any) {
			delete(at(doc, "paths", "/api/v1/teams", "get"), "parameters")
		},
		"a new duty": func(doc map[string]any) {
			at(doc, "components", "schemas", "TeamWrite")["required"] = []any{"description"}
		},
	} {
		var doc map[string]any
		if err := json.Unmarshal(emitted, &doc); err != nil {
			t.Fatal(err)
		}
		change(doc)
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if len(losses(t, text)) == 0 {
			t.Errorf("nobody misses %s", name)
		}
	}
}

// at walks into nested objects.
func at(doc map[string]any, path ...string) map[string]any {
	for _, name := range path {
		doc = doc[name].(map[string]any)
	}
	return doc
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
	for _, info := range r.bound {
		if !seen[info.ID] {
			t.Errorf("%s has a handler and is not among the operations, so that no guard looks at it", info.ID)
		}
	}
}
