package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Canonical is the RFC 8785 (JCS) form of v: v as encoding/json writes it, with members sorted by the UTF-16 code
// units of their names, numbers as ECMAScript prints them, and no white space. Two equal values have one form.
//
// It refuses what that form cannot carry without loss: an integer that a float64 does not hold exactly (write it as a
// string), and a name that stands twice in one object, which only a json.RawMessage can bring.
func Canonical(v any) ([]byte, error) {
	if out, ok := appendPlain(make([]byte, 0, 512), v); ok {
		return out, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return canonicalize(raw)
}

// appendPlain writes values of plain types at once, which are nearly all that are asked for. It is not ok for any others,
// and for names that do not sort by their bytes.
func appendPlain(out []byte, v any) (_ []byte, ok bool) {
	switch v := v.(type) {
	case nil:
		return append(out, "null"...), true
	case string:
		return appendString(out, v), utf8.ValidString(v)
	case bool:
		return strconv.AppendBool(out, v), true
	case int:
		return strconv.AppendInt(out, int64(v), 10), -maxExact <= v && v <= maxExact
	case []string:
		if v == nil {
			return append(out, "null"...), true
		}
		out = append(out, '[')
		for i, s := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, ok = appendPlain(out, s); !ok {
				return out, false
			}
		}
		return append(out, ']'), true
	case map[string]any:
		return appendPlainObject(out, v)
	}
	return out, false
}

// maxExact is the greatest integer up to which a float64 holds every one.
const maxExact = 1 << 53

func appendPlainObject(out []byte, object map[string]any) (_ []byte, ok bool) {
	if object == nil {
		return append(out, "null"...), true
	}
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(object)) {
		if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return out, false
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, name), ':')
		if out, ok = appendPlain(out, object[name]); !ok {
			return out, false
		}
	}
	return append(out, '}'), true
}

func canonicalize(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	out, err := appendValue(make([]byte, 0, len(raw)), dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON value")
	}
	return out, nil
}

// maxDepth bounds the nesting of values; encoding/json has the same bound.
const maxDepth = 10_000

func appendValue(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("JSON nested deeper than %d", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return appendObject(out, dec, depth)
		}
		return appendArray(out, dec, depth)
	case string:
		return appendString(out, t), nil
	case json.Number:
		return appendNumber(out, t.String())
	case bool:
		return strconv.AppendBool(out, t), nil
	default:
		return append(out, "null"...), nil
	}
}

func appendArray(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	out = append(out, '[')
	for n := 0; dec.More(); n++ {
		if n > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendValue(out, dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return append(out, ']'), err
}

// member is a name and its value in canonical form; units are the UTF-16 code units that order it (RFC 8785 §3.2.3).
type member struct {
	name  string
	units []uint16
	value []byte
}

func appendObject(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	var members []member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		value, err := appendValue(nil, dec, depth+1)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, utf16.Encode([]rune(name)), value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b member) int { return slices.Compare(a.units, b.units) })
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			if m.name == members[i-1].name {
				return nil, fmt.Errorf("the name %q stands twice in one object", m.name)
			}
			out = append(out, ',')
		}
		out = appendString(out, m.name)
		out = append(out, ':')
		out = append(out, m.value...)
	}
	return append(out, '}'), nil
}

// appendString escapes what RFC 8785 §3.2.2.2 names and nothing else.
func appendString(out []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, `\b`...)
		case '\t':
			out = append(out, `\t`...)
		case '\n':
			out = append(out, `\n`...)
		case '\f':
			out = append(out, `\f`...)
		case '\r':
			out = append(out, `\r`...)
		default:
			if c < 0x20 {
				out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			} else {
				out = append(out, c)
			}
		}
	}
	return append(out, '"')
}

// appendNumber prints a JSON number as ECMAScript's Number::toString does (RFC 8785 §3.2.2.3).
func appendNumber(out []byte, literal string) ([]byte, error) {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %s is out of range", literal)
	}
	if f == 0 {
		return append(out, '0'), nil
	}
	format := byte('f')
	if abs := math.Abs(f); abs < 1e-6 || abs >= 1e21 {
		format = 'e'
	}
	start := len(out)
	out = strconv.AppendFloat(out, f, format, -1, 64)
	if n := len(out); format == 'e' && n-start > 4 && out[n-4] == 'e' && out[n-2] == '0' {
		out = append(out[:n-2], out[n-1]) // ECMAScript writes 1e-7 where strconv writes 1e-07
	}
	if !strings.ContainsAny(literal, ".eE") && string(out[start:]) != literal {
		return nil, fmt.Errorf("the integer %s cannot be kept exactly: write it as a string", literal)
	}
	return out, nil
}
