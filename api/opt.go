package api

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Opt is a property of a PUT body: absent (the zero value), null, or a value.
type Opt[T any] struct {
	Set   bool // the property was sent
	Null  bool // it was sent as null
	Value T
}

// Some is an Opt with a value.
func Some[T any](value T) Opt[T] { return Opt[T]{Set: true, Value: value} }

// IsZero tells encoding/json to leave an absent property out.
func (o Opt[T]) IsZero() bool { return !o.Set }

// UnmarshalJSON reads null or a value.
func (o *Opt[T]) UnmarshalJSON(text []byte) error {
	o.Set = true
	if bytes.Equal(text, []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(text, &o.Value)
}

// MarshalJSON writes null or the value.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if o.Null || !o.Set {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// Schema is that of T, with null allowed.
func (o Opt[T]) Schema(r huma.Registry) *huma.Schema {
	s := huma.SchemaFromType(r, reflect.TypeFor[T]())
	if s.Ref != "" {
		return &huma.Schema{OneOf: []*huma.Schema{s, {Type: "null"}}}
	}
	s.Nullable = true
	return s
}

// Apply writes the sent value into a property; null clears it.
func (o Opt[T]) Apply(to *T) {
	if o.Set {
		var zero T
		*to = zero
		if !o.Null {
			*to = o.Value
		}
	}
}

// Or is Apply for a property with a default: null brings the default back.
func (o Opt[T]) Or(fallback T, to *T) {
	if o.Set && o.Null {
		*to = fallback
		return
	}
	o.Apply(to)
}
