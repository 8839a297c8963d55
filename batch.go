package leafward

import (
	"slices"
	"time"
)

// BatchKind is what a batch does to its certificates.
type BatchKind string

// The kinds of batches.
const (
	BatchRevoke   BatchKind = "revoke"
	BatchRenew    BatchKind = "renew"
	BatchReassign BatchKind = "reassign"
)

// Selector says which certificates a batch acts on: those that every criterion fits. Without any it selects none.
type Selector struct {
	Certificates []string `json:"certificate_ids,omitempty"`
	Profile      string   `json:"profile_id,omitempty"`
	Owner        string   `json:"owner_id,omitempty"`
	Agent        string   `json:"agent_id,omitempty"` // installed by it
	Issuer       string   `json:"issuer_id,omitempty"`
	Team         string   `json:"team_id,omitempty"` // owned by one of its owners
}

// Empty tells whether the selector has no criterion.
func (s *Selector) Empty() bool {
	return len(s.Certificates) == 0 && s.Profile+s.Owner+s.Agent+s.Issuer+s.Team == ""
}

// Validate refuses a selector that says nothing, so that nobody reaches every certificate by a slip.
func (s *Selector) Validate() error {
	var p Problems
	switch {
	case s.Certificates != nil && len(s.Certificates) == 0:
		p.Add("certificate_ids", "is empty", "name at least one certificate, or leave it out")
	case s.Empty():
		p.Add("certificate_ids", "is missing, and so is every other criterion", "name certificates, or a profile, owner, agent, issuer or team")
	}
	return p.Err()
}

// Change is what a batch does beyond its kind.
type Change struct {
	Reason string `json:"reason,omitempty"`   // of a revocation
	Owner  string `json:"owner_id,omitempty"` // who answers for the certificates from then on
	Team   string `json:"team_id,omitempty"`  // to which they belong from then on; "": as they are
}

// Batch is one change to many certificates. Every certificate that it met, and every id that it was given, is an item.
type Batch struct {
	Row
	Kind      BatchKind `db:"kind"`
	Selector  Selector  `db:"selector,json"`
	Change    Change    `db:"change,json"`
	Actor     Actor     `db:"actor,json"` // who asked; the work is done in that scope and that name
	Done      int64     `db:"done"`
	Skipped   int64     `db:"skipped"`
	Failed    int64     `db:"failed"`
	EndedAt   time.Time `db:"ended_at"`
	LastError string    `db:"last_error"` // why it ended before it had met everything; "" when it had
}

// Seen tells whether an actor may look at the batch: whoever asked for it, and all whose scope is as wide.
func (b *Batch) Seen(by Actor) bool {
	if by.Teams == nil || by.ID == b.Actor.ID {
		return true
	}
	return len(b.Actor.Teams) > 0 && !slices.ContainsFunc(b.Actor.Teams, func(team string) bool { return !by.Sees(team) })
}

// Outcome is what became of one certificate of a batch.
type Outcome string

// The outcomes.
const (
	ItemDone    Outcome = "done"
	ItemSkipped Outcome = "skipped" // there was nothing to do
	ItemFailed  Outcome = "failed"
)

// BatchItem is one certificate of a batch, or an id that names none.
type BatchItem struct {
	Batch       string  `db:"batch"`
	Certificate string  `db:"certificate"`
	Outcome     Outcome `db:"outcome"`
	Reason      string  `db:"reason"` // why it was skipped or failed
	Job         string  `db:"job"`    // that it began
}
