package plugin

import (
	"encoding/json"
	"maps"
	"slices"
)

// Split parts a configuration into what may be shown and what must be sealed; set names the properties of the second
// part, in order. What the Config does not know is sealed as well. Merge(open, sealed) is the whole again.
func Split(raw []byte, config any) (open, sealed json.RawMessage, set []string, err error) {
	fields, err := Fields(config)
	if err != nil {
		return nil, nil, nil, err
	}
	values, err := members(raw)
	if err != nil {
		return nil, nil, nil, err
	}
	shown, hidden := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for key, value := range values {
		switch {
		case slices.ContainsFunc(fields, func(f Field) bool { return f.Name == key && !f.Secret }):
			shown[key] = value
		case !absent(value):
			hidden[key] = value
		}
	}
	if open, err = json.Marshal(shown); err == nil {
		sealed, err = json.Marshal(hidden)
	}
	return open, sealed, slices.Sorted(maps.Keys(hidden)), err
}

// Redact makes a configuration fit for people: every secret that is set is null, and set names it.
func Redact(raw []byte, config any) (shown json.RawMessage, set []string, err error) {
	open, _, set, err := Split(raw, config)
	if err != nil {
		return nil, nil, err
	}
	values, err := members(open)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range set {
		values[name] = json.RawMessage("null")
	}
	shown, err = json.Marshal(values)
	return shown, set, err
}

// Merge lays a change over a stored configuration, one level deep: an absent property keeps its value, so that secrets
// can stay away; null clears it; a value replaces it whole.
func Merge(old, change []byte) (json.RawMessage, error) {
	merged, err := members(old)
	if err != nil {
		return nil, err
	}
	values, err := members(change)
	if err != nil {
		return nil, err
	}
	for key, value := range values {
		if string(value) == "null" {
			delete(merged, key)
			continue
		}
		merged[key] = value
	}
	return json.Marshal(merged)
}

// absent tells whether a value counts as none.
func absent(value json.RawMessage) bool {
	return value == nil || string(value) == "null" || string(value) == `""`
}
