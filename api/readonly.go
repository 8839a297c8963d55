package api

import (
	"time"

	"github.com/leafward/leafward"
)

// Stored is what the server sets on every resource. A client may send it back unchanged; another value is refused.
type Stored struct {
	ID        Opt[string]    `json:"id,omitzero" doc:"Id; chosen once, on create" maxLength:"128"`
	Number    Opt[int64]     `json:"number,omitzero" doc:"Permanent number; set by the server"`
	UUID      Opt[string]    `json:"uuid,omitzero" doc:"UUID; set by the server" maxLength:"36"`
	Revision  Opt[int64]     `json:"revision,omitzero" doc:"Grows with every change; set by the server"`
	CreatedAt Opt[time.Time] `json:"created_at,omitzero" doc:"Set by the server"`
	UpdatedAt Opt[time.Time] `json:"updated_at,omitzero" doc:"Set by the server"`
}

// Check refuses what only the server sets: on create (the row has no revision yet) everything but an id, which the row
// then gets, and on update every value that differs from the stored one.
func (s Stored) Check(p *leafward.Problems, row *leafward.Row, number int64) {
	if row.Revision == 0 {
		row.ID = s.ID.Value
	} else {
		Same(p, "id", s.ID, row.ID)
	}
	Same(p, "number", s.Number, number)
	Same(p, "uuid", s.UUID, row.UUID)
	Same(p, "revision", s.Revision, row.Revision)
	SameTime(p, "created_at", s.CreatedAt, row.CreatedAt)
	SameTime(p, "updated_at", s.UpdatedAt, row.UpdatedAt)
}

// Same refuses a read-only property that was sent with another value than the stored one.
func Same[T comparable](p *leafward.Problems, field string, sent Opt[T], stored T) {
	if sent.Set && sent.Value != stored {
		p.Add(field, "is set by the server", "leave it out, or send it back as it was answered")
	}
}

// SameTime is Same for an instant, which may come back in another zone or coarser by less than a second.
func SameTime(p *leafward.Problems, field string, sent Opt[time.Time], stored time.Time) {
	if sent.Set && sent.Value.Sub(stored).Abs() >= time.Second {
		p.Add(field, "is set by the server", "leave it out, or send it back as it was answered")
	}
}
