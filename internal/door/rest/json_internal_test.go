package rest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/leafward/leafward"
)

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `null`, `"x"`, `-0`, `1e400`, `{"a":{"b":[1,2,{"c":null}]}}`, `{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"a":"\u0000"}`, `{"\u0000":1}`, "{\"a\":\"\xff\"}",
		`{} {}`, `{"a":`, `[1,]`, `{"ſ":1,"S":2}`, `{"a":"\ud800"}`, "\ufeff{}", strings.Repeat("[", 100), strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := checkJSON(body); err != nil {
			if leafward.KindOf(err) != leafward.Invalid {
				t.Fatalf("outside bytes gave %v", err)
			}
			return
		}
		if !json.Valid(body) || bytes.ContainsRune(body, 0) {
			t.Fatalf("it passed %q", body)
		}
		var value any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(value); err != nil || bytes.Contains(text, []byte(`\u0000`)) || bytes.ContainsRune(text, '\uFFFD') {
			t.Fatalf("it passed %q: %v", body, err)
		}
	})
}
