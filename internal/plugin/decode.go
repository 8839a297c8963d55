package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/leafward/leafward"
)

// maxConfig bounds the JSON of one configuration, in bytes.
const maxConfig = 256 << 10

// Decode reads a JSON object into the Config that config points to. Keys that the Config does not have, repeated keys
// and values out of bounds are refused, all in one error of kind Invalid with a Field for each; absent properties
// get their defaults. What could be read is set even then, so that a caller can go on to find its own problems.
func Decode(raw []byte, config any) error {
	fields, err := Fields(config)
	if err != nil {
		return err
	}
	at := reflect.ValueOf(config)
	if at.Kind() != reflect.Pointer || at.IsNil() {
		return fmt.Errorf("plugin: Decode needs a pointer, not %T", config)
	}
	values, err := members(raw)
	if err != nil {
		return err
	}
	var problems leafward.Problems
	refuseUnknown(&problems, fields, values)
	for _, f := range fields {
		value, problem := f.value(values[f.Name])
		if problem != "" {
			problems.Add(f.Name, problem, f.Doc)
			continue
		}
		if value != nil {
			at.Elem().Field(f.index).Set(reflect.ValueOf(value).Convert(at.Elem().Field(f.index).Type()))
		}
	}
	return problems.Err()
}

// Complete adds to a configuration the defaults of what it leaves out, so that somebody who does not know the Config reads
// what counts.
func Complete(raw []byte, config any) (json.RawMessage, error) {
	fields, err := Fields(config)
	if err != nil {
		return nil, err
	}
	values, err := members(raw)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if !absent(values[f.Name]) || f.Default == "" {
			continue
		}
		value, _ := f.parse(f.Default)
		if values[f.Name], err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	return json.Marshal(values)
}

// value is what the property is to be: a Go value of the property's type, or nil to leave it alone.
func (f Field) value(raw json.RawMessage) (value any, problem string) {
	switch none := absent(raw); {
	case none && f.Required:
		return nil, "is required"
	case none && f.Default == "":
		return nil, ""
	case none:
		return f.parse(f.Default)
	}
	switch f.Type {
	case Boolean:
		return decode[bool](raw, "must be true or false")
	case Integer:
		n, err := strconv.ParseInt(string(raw), 10, 32)
		if err != nil {
			return nil, f.between("must be a whole number")
		}
		return f.check(int(n))
	case List:
		return checked[[]string](f, raw, "must be a list of strings")
	case Map:
		return checked[map[string]string](f, raw, "must be an object whose values are strings")
	case String:
	}
	return checked[string](f, raw, "must be a string")
}

// parse reads a default.
func (f Field) parse(text string) (any, string) {
	switch f.Type {
	case Boolean:
		return decode[bool]([]byte(text), "must be true or false")
	case Integer:
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, "must be a whole number"
		}
		return f.check(n)
	case List:
		return f.check(strings.Split(text, ","))
	case String, Map:
	}
	return f.check(text)
}

func decode[T any](raw []byte, problem string) (any, string) {
	var value T
	if json.Unmarshal(raw, &value) != nil {
		return nil, problem
	}
	return value, ""
}

func checked[T any](f Field, raw []byte, problem string) (any, string) {
	value, wrong := decode[T](raw, problem)
	if wrong != "" {
		return nil, wrong
	}
	return f.check(value)
}

// check holds a value against the bounds of the property.
func (f Field) check(value any) (any, string) {
	size, texts := int64(0), []string(nil)
	switch v := value.(type) {
	case int:
		size = int64(v)
	case string:
		if len(f.Enum) > 0 && !slices.Contains(f.Enum, v) {
			return nil, "must be one of " + strings.Join(f.Enum, ", ")
		}
		if strings.ContainsRune(v, 0) {
			return nil, "holds a NUL character"
		}
		size = int64(utf8.RuneCountInString(v))
	case []string:
		size, texts = int64(len(v)), v
	case map[string]string:
		size = int64(len(v))
		for key, text := range v {
			texts = append(texts, key, text)
		}
	}
	if size < f.Min || size > f.Max {
		return nil, f.between("must have")
	}
	for _, text := range texts {
		if utf8.RuneCountInString(text) > maxString || strings.ContainsRune(text, 0) {
			return nil, fmt.Sprintf("has an entry with a NUL character or more than %d characters", maxString)
		}
	}
	return value, ""
}

// between says which bounds the property has.
func (f Field) between(must string) string {
	if f.Type == Integer {
		if f.Min == math.MinInt32 && f.Max == math.MaxInt32 {
			return "must be a whole number"
		}
		return fmt.Sprintf("must be a whole number from %d to %d", f.Min, f.Max)
	}
	unit := "entries"
	if f.Type == String {
		unit = "characters"
	}
	if f.Min == 0 {
		return fmt.Sprintf("%s at most %d %s", must, f.Max, unit)
	}
	return fmt.Sprintf("%s %d to %d %s", must, f.Min, f.Max, unit)
}

// refuseUnknown names keys that are not properties: no setting is stored that nothing reads.
func refuseUnknown(problems *leafward.Problems, fields []Field, values map[string]json.RawMessage) {
	var known, unknown []string
	for _, f := range fields {
		known = append(known, f.Name)
	}
	for key := range values {
		if !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	for _, key := range unknown[:min(len(unknown), maxEntries)] {
		problems.Add(clip(key), "is not a setting here", "known settings are "+strings.Join(known, ", "))
	}
}

// clip shortens a key for a message.
func clip(key string) string {
	if r := []rune(key); len(r) > 100 {
		return string(r[:100]) + "…"
	}
	return key
}

// members are the properties of one JSON object; "" and null are the empty object.
func members(raw []byte) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || string(trimmed) == "null" {
		return out, nil
	}
	if len(raw) > maxConfig {
		return nil, wrong("config", fmt.Sprintf("must have at most %d bytes", maxConfig))
	}
	if !utf8.Valid(raw) {
		return nil, wrong("config", "is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, wrong("config", "must be a JSON object")
	}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return nil, wrong("config", "is not valid JSON")
		}
		if _, twice := out[name]; twice {
			return nil, wrong(clip(name), "stands there twice")
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, wrong("config", "is not valid JSON")
		}
		out[name] = value
	}
	if _, err := d.Token(); err != nil || !json.Valid(raw) {
		return nil, wrong("config", "is not valid JSON")
	}
	return out, nil
}

func wrong(field, problem string) error {
	var problems leafward.Problems
	problems.Add(field, problem, "send config as one JSON object with each setting once")
	return problems.Err()
}
