package audit

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

// The objects of RFC 8785 §3.2.2 and §3.2.3.
func TestCanonicalFormOfTheExamplesOfRFC8785(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"serialization": {
			`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
			  "literals": [null, true, false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],` +
				`"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		"sorting": {
			`{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
			  "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}`,
			`{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
				`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`,
		},
		"nesting":     {`[ { "b" : [ ] , "a" : { } } ]`, `[{"a":{},"b":[]}]`},
		"html":        {`"<&>\u2028"`, "\"<&>\u2028\""},
		"bare number": {` -0 `, `0`},
	} {
		got, err := Canonical(json.RawMessage(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, c.want)
		}
	}
}

// The table of RFC 8785 appendix B.
func TestNumbersArePrintedAsECMAScriptDoes(t *testing.T) {
	for bits, want := range map[uint64]string{
		0x0000000000000000: "0",
		0x8000000000000000: "0",
		0x0000000000000001: "5e-324",
		0x8000000000000001: "-5e-324",
		0x7fefffffffffffff: "1.7976931348623157e+308",
		0xffefffffffffffff: "-1.7976931348623157e+308",
		0x4340000000000000: "9007199254740992",
		0xc340000000000000: "-9007199254740992",
		0x4430000000000000: "295147905179352830000",
		0x44b52d02c7e14af5: "9.999999999999997e+22",
		0x44b52d02c7e14af6: "1e+23",
		0x44b52d02c7e14af7: "1.0000000000000001e+23",
		0x444b1ae4d6e2ef4e: "999999999999999700000",
		0x444b1ae4d6e2ef4f: "999999999999999900000",
		0x444b1ae4d6e2ef50: "1e+21",
		0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7",
		0x3eb0c6f7a0b5ed8d: "0.000001",
		0x41b3de4355555553: "333333333.3333332",
		0x41b3de4355555554: "333333333.33333325",
		0x41b3de4355555555: "333333333.3333333",
		0x41b3de4355555556: "333333333.3333334",
		0x41b3de4355555557: "333333333.33333343",
		0xbecbf647612f3696: "-0.0000033333333333333333",
		0x43143ff3c1cb0959: "1424953923781206.2",
	} {
		got, err := Canonical(math.Float64frombits(bits))
		if err != nil || string(got) != want {
			t.Errorf("%016x: got %s, %v; want %s", bits, got, err, want)
		}
	}
}

func TestGoValuesAreTakenAsTheirJSON(t *testing.T) {
	type event struct {
		Name string         `json:"name"`
		At   time.Time      `json:"at"`
		N    int64          `json:"n"`
		Data map[string]any `json:"data,omitempty"`
		None *int           `json:"none"`
	}
	v := event{Name: "a<b", At: time.Unix(0, 0).UTC(), N: 1 << 53, Data: map[string]any{"z": []byte("x"), "a": 1.0}}
	const want = `{"at":"1970-01-01T00:00:00Z","data":{"a":1,"z":"eA=="},"n":9007199254740992,"name":"a<b","none":null}`
	got, err := Canonical(v)
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

func TestWhatTheCanonicalFormCannotCarryIsRefused(t *testing.T) {
	for name, v := range map[string]any{
		"an integer a float64 does not hold": int64(1<<53 + 1),
		"a number out of range":              json.Number("1e999"),
		"not a number":                       math.NaN(),
		"a name twice":                       json.RawMessage(`{"a":1,"b":2,"a":1}`),
		"no JSON":                            json.RawMessage(`{"a":`),
		"nesting without end":                json.RawMessage(strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)),
	} {
		if got, err := Canonical(v); err == nil {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"b":1,"a":[1.5e-7,"\ud83d\ude00",null]}`, `"\ud800"`, `[[[`, `{"a":{"a":0},"a":1}`, `1e21`, "\xff", `{} {}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := canonicalize(raw)
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("%q became %q, which is not JSON", raw, once)
		}
		twice, err := canonicalize(once)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%q became %q and then %q, %v", raw, once, twice, err)
		}
	})
}

// What is written at once must be what the way through JSON writes.
func FuzzPlainValuesHaveTheFormOfTheirJSON(f *testing.F) {
	for _, s := range []string{"", "a", "\u00e9", "\xff", "\u2028<&>", "\x00\x1f\"\\", "😀", "\u0080"} {
		f.Add(s, s+"2", int64(len(s)), true)
	}
	f.Add("a", "a", int64(1)<<53, false)
	f.Add("a", "b", int64(1)<<53+1, false)
	f.Fuzz(func(t *testing.T, a, b string, n int64, truth bool) {
		v := map[string]any{
			a: b, b: int(n), "list": []string{a, b}, "none": nil, "truth": truth, "empty": []string(nil),
			"object": map[string]any{"b": a, "a": b, "deeper": map[string]any{b: a}}, "nil": map[string]any(nil),
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want, refused := canonicalize(raw)
		got, err := Canonical(v)
		if string(got) != string(want) || (err == nil) != (refused == nil) {
			t.Errorf("%q is written as %q, %v; by its JSON as %q, %v", v, got, err, want, refused)
		}
	})
}
