package api

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/leafward/leafward"
)

// Config is the configuration of a plugin: an object whose properties the schema of GET /api/v1/plugins describes.
type Config json.RawMessage

// Schema is any object; what its properties may be depends on the type beside it.
func (Config) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// MarshalJSON writes the text as it is.
func (c Config) MarshalJSON() ([]byte, error) { return json.RawMessage(c).MarshalJSON() }

// UnmarshalJSON keeps the text as it is.
func (c *Config) UnmarshalJSON(text []byte) error { return (*json.RawMessage)(c).UnmarshalJSON(text) }

// ShownConfig is a configuration for people: every secret that is set stands there as null.
func ShownConfig(open json.RawMessage, secrets []string) Config {
	values := map[string]json.RawMessage{}
	_ = json.Unmarshal(open, &values) // the store's own text
	for _, name := range secrets {
		values[name] = json.RawMessage("null")
	}
	text, _ := json.Marshal(values) // a map of JSON texts
	return text
}

// SentConfig is the change that a client sent: nil without one, null to clear everything. A null that only repeats how a
// secret was shown, with secrets_set beside it, is left out, so that what GET answered can be sent back.
func SentConfig(config Opt[Config], secrets Opt[[]string]) json.RawMessage {
	if !config.Set {
		return nil
	}
	values := map[string]json.RawMessage{}
	if config.Null || json.Unmarshal(config.Value, &values) != nil {
		return json.RawMessage("null")
	}
	for _, name := range secrets.Value {
		if bytes.Equal(values[name], []byte("null")) {
			delete(values, name)
		}
	}
	text, _ := json.Marshal(values) // a map of JSON texts
	return text
}

// SameList is Same for a list.
func SameList[T comparable](p *leafward.Problems, field string, sent Opt[[]T], stored []T) {
	if sent.Set && !slices.Equal(sent.Value, stored) {
		p.Add(field, "is set by the server", "leave it out, or send it back as it was answered")
	}
}
