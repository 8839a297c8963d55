package leafward

import (
	"encoding/json"
	"log/slog"
)

// Secret is a value that is never printed, logged or marshalled: every form of it shows dots.
type Secret []byte

const dots = "••••••"

func (Secret) String() string               { return dots }
func (Secret) GoString() string             { return dots }
func (Secret) LogValue() slog.Value         { return slog.StringValue(dots) }
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(dots) }
func (Secret) MarshalText() ([]byte, error) { return []byte(dots), nil }

// Reveal is the value itself; the caller owns what becomes of it.
func (s Secret) Reveal() []byte { return s }
