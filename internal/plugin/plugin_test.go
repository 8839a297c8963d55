package plugin_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/plugin"
)

type config struct {
	URL    string            `json:"url" doc:"Where it is." required:"true" max:"20"`
	Token  leafward.Secret   `json:"token" doc:"Who we are." secret:"true" min:"4"`
	Port   int               `json:"port" doc:"The port." default:"443" min:"1" max:"65535"`
	Strict bool              `json:"strict" doc:"Whether to be strict." default:"true"`
	Mode   string            `json:"mode" doc:"The mode." enum:"push,pull" default:"push"`
	Names  []string          `json:"names" doc:"The names." default:"a,b" max:"3"`
	Labels map[string]string `json:"labels" doc:"The labels."`
}

func TestAbsentPropertiesGetTheirDefaults(t *testing.T) {
	for _, raw := range []string{`{"url":"x"}`, `{"url":"x","port":null,"mode":"","names":null,"token":null,"strict":null}`} {
		var got config
		if err := plugin.Decode([]byte(raw), &got); err != nil {
			t.Fatal(err)
		}
		want := config{URL: "x", Port: 443, Strict: true, Mode: "push", Names: []string{"a", "b"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", raw, diff)
		}
	}
}

func TestEveryPropertyIsRead(t *testing.T) {
	var got config
	raw := `{"url":"ä","token":"hush","port":8443,"strict":false,"mode":"pull","names":[],"labels":{"a":"b"}}`
	if err := plugin.Decode([]byte(raw), &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Token.Reveal()) != "hush" {
		t.Errorf("token is %q", got.Token.Reveal())
	}
	got.Token = nil
	want := config{URL: "ä", Port: 8443, Mode: "pull", Names: []string{}, Labels: map[string]string{"a": "b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	var got config
	err := plugin.Decode([]byte(`{"URL":"x","port":0,"strict":"yes","mode":"shove","names":["1","2","3","4"],"token":"abc","labels":{"a":1}}`), &got)
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || e.Kind != leafward.Invalid {
		t.Fatalf("got %v", err)
	}
	want := map[string]string{
		"URL":    "is not a setting here",
		"url":    "is required",
		"port":   "must be a whole number from 1 to 65535",
		"strict": "must be true or false",
		"mode":   "must be one of push, pull",
		"names":  "must have at most 3 entries",
		"token":  "must have 4 to 65536 characters",
		"labels": "must be an object whose values are strings",
	}
	found := map[string]string{}
	for _, f := range e.Fields {
		found[f.Field] = f.Problem
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
}

func TestOddJSONIsRefused(t *testing.T) {
	for _, raw := range []string{
		`[]`, `"x"`, `{`, `{"url":"x"} {}`, `{"url":"x","url":"y"}`, "{\"url\":\"\xff\"}", `{"url":"a\u0000b"}`,
		`{"url":"x","port":1.5}`, `{"url":"x","port":"443"}`, `{"url":"x","port":99999999999999999999}`, `{"url":7}`,
		`{"url":"` + strings.Repeat("x", 21) + `"}`, `{"url":"x","labels":{"a":"\u0000"}}`,
		`{"url":"` + strings.Repeat("x", 300<<10) + `"}`,
	} {
		var got config
		if err := plugin.Decode([]byte(raw), &got); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("%.60s: got %v, want it refused as invalid", raw, err)
		}
	}
}

func TestTheSchemaSaysWhatDecodeHolds(t *testing.T) {
	schema, err := plugin.Schema(config{})
	if err != nil {
		t.Fatal(err)
	}
	properties := schema["properties"].(map[string]any)
	want := map[string]any{"type": "integer", "description": "The port.", "default": 443, "minimum": int64(1), "maximum": int64(65535)}
	if diff := cmp.Diff(want, properties["port"]); diff != "" {
		t.Error(diff)
	}
	if properties["token"].(map[string]any)["writeOnly"] != true {
		t.Error("a secret must be writeOnly")
	}
	if diff := cmp.Diff([]string{"url"}, schema["required"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"url", "token", "port", "strict", "mode", "names", "labels"}, schema["x-order"]); diff != "" {
		t.Error(diff)
	}
}

func TestWrongTagsAreAnErrorOfTheProgram(t *testing.T) {
	for name, c := range map[string]any{
		"no doc": struct {
			A string `json:"a"`
		}{},
		"secret as string": struct {
			A string `json:"a" doc:"x" secret:"true"`
		}{},
		"open secret": struct {
			A leafward.Secret `json:"a" doc:"x"`
		}{},
		"float": struct {
			A float64 `json:"a" doc:"x"`
		}{},
		"default off range": struct {
			A int `json:"a" doc:"x" default:"9" max:"3"`
		}{},
		"not a struct": 7,
		"nothing":      nil,
		"twice": reflect.New(reflect.StructOf([]reflect.StructField{
			{Name: "A", Type: reflect.TypeFor[string](), Tag: `json:"a" doc:"x"`},
			{Name: "B", Type: reflect.TypeFor[string](), Tag: `json:"a" doc:"x"`},
		})).Interface(),
	} {
		if _, err := plugin.Fields(c); err == nil || leafward.KindOf(err) != leafward.Internal {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := plugin.Decode([]byte(`{}`), config{}); leafward.KindOf(err) != leafward.Internal {
		t.Errorf("decoding into a value: %v", err)
	}
}

func TestSecretsAreShownAsNullAndNamed(t *testing.T) {
	shown, set, err := plugin.Redact([]byte(`{"url":"x","token":"hush","stray":"s","port":1}`), config{})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"port":1,"stray":null,"token":null,"url":"x"}`; string(shown) != want {
		t.Errorf("shown %s, want %s", shown, want)
	}
	if diff := cmp.Diff([]string{"stray", "token"}, set); diff != "" {
		t.Error(diff)
	}
	open, sealed, _, err := plugin.Split([]byte(`{"url":"x","token":"hush","port":1}`), config{})
	if err != nil || string(open) != `{"port":1,"url":"x"}` || string(sealed) != `{"token":"hush"}` {
		t.Errorf("parted into %s and %s: %v", open, sealed, err)
	}
	if whole, _ := plugin.Merge(open, sealed); string(whole) != `{"port":1,"token":"hush","url":"x"}` {
		t.Errorf("the parts make %s", whole)
	}
	if _, set, _ := plugin.Redact([]byte(`{"url":"x","token":""}`), config{}); len(set) != 0 {
		t.Errorf("an empty secret is named as set: %v", set)
	}
}

func TestAChangeKeepsWhatItDoesNotName(t *testing.T) {
	got, err := plugin.Merge([]byte(`{"url":"x","token":"hush","labels":{"a":"b"}}`), []byte(`{"url":"y","labels":{"c":"d"},"port":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"labels":{"c":"d"},"token":"hush","url":"y"}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, _ := plugin.Merge(got, []byte(`{"token":null}`)); strings.Contains(string(got), "hush") {
		t.Errorf("null must clear: %s", got)
	}
	if _, err := plugin.Merge([]byte(`{}`), []byte(`[]`)); leafward.KindOf(err) != leafward.Invalid {
		t.Errorf("a list as change: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"url":"x","token":"hush","port":1}`, `{"names":["a"],"labels":{"a":"b"}}`, `{"url":"x","url":1}`, `{"port":-0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c config
		if err := plugin.Decode(raw, &c); err != nil {
			if leafward.KindOf(err) != leafward.Invalid {
				t.Fatalf("outside bytes gave %v", err)
			}
			return
		}
		if c.URL == "" || c.Port < 1 || c.Port > 65535 || c.Mode != "push" && c.Mode != "pull" || len(c.Names) > 3 {
			t.Fatalf("accepted %+v", c)
		}
		shown, _, err := plugin.Redact(raw, config{})
		if err != nil || !json.Valid(shown) {
			t.Fatalf("what was accepted cannot be shown: %v", err)
		}
		again, err := plugin.Merge(raw, []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		var d config
		if err := plugin.Decode(again, &d); err != nil {
			t.Fatalf("an empty change broke %s into %s: %v", raw, again, err)
		}
		if diff := cmp.Diff(c, d); diff != "" {
			t.Fatal(diff)
		}
	})
}
