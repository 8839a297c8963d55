package plugin

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/leafward/leafward"
)

// Field describes one property of a Config.
type Field struct {
	Name     string
	Type     Type
	Doc      string
	Default  string // as text; "" is none
	Required bool
	Secret   bool
	Enum     []string
	Min, Max int64 // value of an integer, characters of a string, entries of a list or map

	index int // of the struct's field
}

// Type is the JSON type of a property.
type Type string

// The types a property may have; the entries of lists and maps are strings.
const (
	String  Type = "string"
	Boolean Type = "boolean"
	Integer Type = "integer"
	List    Type = "array"
	Map     Type = "object"
)

const (
	maxString  = 4096
	maxSecret  = 64 << 10
	maxEntries = 100
)

// Fields are the properties of a Config, in the order of the struct; config is the struct or a pointer to it. The
// error means that the tags themselves are wrong.
func Fields(config any) ([]Field, error) {
	t := reflect.TypeOf(config)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("plugin: a Config must be a struct, not %T", config)
	}
	var out []Field
	for i := range t.NumField() {
		f, err := field(t.Field(i))
		if err != nil {
			return nil, fmt.Errorf("plugin: %s.%s: %w", t, t.Field(i).Name, err)
		}
		if slices.ContainsFunc(out, func(o Field) bool { return o.Name == f.Name }) {
			return nil, fmt.Errorf("plugin: %s has two properties %q", t, f.Name)
		}
		f.index = i
		out = append(out, f)
	}
	return out, nil
}

func field(sf reflect.StructField) (Field, error) {
	f := Field{
		Name:     sf.Tag.Get("json"),
		Doc:      sf.Tag.Get("doc"),
		Default:  sf.Tag.Get("default"),
		Required: sf.Tag.Get("required") == "true",
		Secret:   sf.Tag.Get("secret") == "true",
	}
	if !sf.IsExported() || f.Name == "" || strings.Contains(f.Name, ",") || f.Doc == "" {
		return f, fmt.Errorf("must be exported and carry a plain json name and a doc")
	}
	if values := sf.Tag.Get("enum"); values != "" {
		f.Enum = strings.Split(values, ",")
	}
	hidden := sf.Type == reflect.TypeFor[leafward.Secret]()
	if f.Secret != hidden {
		return f, fmt.Errorf("secret:\"true\" and the type leafward.Secret go together")
	}
	switch {
	case hidden:
		f.Type, f.Max = String, maxSecret
	case sf.Type.Kind() == reflect.String:
		f.Type, f.Max = String, maxString
	case sf.Type.Kind() == reflect.Bool:
		f.Type = Boolean
	case sf.Type.Kind() == reflect.Int:
		f.Type, f.Min, f.Max = Integer, math.MinInt32, math.MaxInt32
	case sf.Type == reflect.TypeFor[[]string]():
		f.Type, f.Max = List, maxEntries
	case sf.Type == reflect.TypeFor[map[string]string]():
		f.Type, f.Max = Map, maxEntries
	default:
		return f, fmt.Errorf("the type %s is not one a property may have", sf.Type)
	}
	return bound(f, sf.Tag)
}

// bound reads min and max and checks the default against them.
func bound(f Field, tag reflect.StructTag) (Field, error) {
	for name, at := range map[string]*int64{"min": &f.Min, "max": &f.Max} {
		text, ok := tag.Lookup(name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return f, fmt.Errorf("%s is not a number", name)
		}
		*at = n
	}
	if f.Default == "" {
		return f, nil
	}
	if f.Required || f.Type == Map {
		return f, fmt.Errorf("a required property or a map has no default")
	}
	if _, problem := f.parse(f.Default); problem != "" {
		return f, fmt.Errorf("the default %s", problem)
	}
	return f, nil
}

// Schema is the JSON Schema of a Config; x-order lists the properties in the order of the struct.
func Schema(config any) (map[string]any, error) {
	fields, err := Fields(config)
	if err != nil {
		return nil, err
	}
	properties, order, required := map[string]any{}, []string{}, []string{}
	for _, f := range fields {
		properties[f.Name] = f.schema()
		order = append(order, f.Name)
		if f.Required {
			required = append(required, f.Name)
		}
	}
	schema := map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "x-order": order}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema, nil
}

func (f Field) schema() map[string]any {
	s := map[string]any{"type": string(f.Type), "description": f.Doc}
	lower, upper := "minLength", "maxLength"
	switch f.Type {
	case Integer:
		lower, upper = "minimum", "maximum"
	case List:
		lower, upper = "minItems", "maxItems"
		s["items"] = map[string]any{"type": "string", "maxLength": maxString}
	case Map:
		lower, upper = "minProperties", "maxProperties"
		s["additionalProperties"] = map[string]any{"type": "string", "maxLength": maxString}
	case String, Boolean:
	}
	if f.Type != Boolean {
		s[upper] = f.Max
		if f.Min != 0 {
			s[lower] = f.Min
		}
	}
	if f.Default != "" {
		s["default"], _ = f.parse(f.Default)
	}
	if len(f.Enum) > 0 {
		s["enum"] = f.Enum
	}
	if f.Secret {
		s["writeOnly"] = true
	}
	return s
}
