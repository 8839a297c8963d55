package lifecycle

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
)

// Authorities is what callers ask of authorities: what they are, and where their keys are kept.
type Authorities struct{ ca *ca.CA }

// NewAuthorities returns the service.
func NewAuthorities(all *ca.CA) *Authorities { return &Authorities{all} }

// List lists the authorities that the caller sees, the oldest first.
func (s *Authorities) List(ctx context.Context) ([]leafward.AuthorityStanding, error) {
	return s.ca.Standings(ctx)
}

// Get reads one.
func (s *Authorities) Get(ctx context.Context, id string) (leafward.AuthorityStanding, error) {
	return s.ca.Standing(ctx, id)
}

// CopyKey hands out an authority's private key, sealed for the recipients, and the SHA-256 of that.
func (s *Authorities) CopyKey(ctx context.Context, id string, recipients []string) (sealed []byte, sha string, err error) {
	if err := s.ca.MayChange(ctx, id); err != nil {
		return nil, "", err
	}
	return s.ca.CopyKey(ctx, id, recipients)
}

// TakeOffline removes the private key of which a copy was handed out.
func (s *Authorities) TakeOffline(ctx context.Context, id, sha string, days int) (leafward.AuthorityStanding, error) {
	err := s.ca.MayChange(ctx, id)
	if err == nil {
		err = s.ca.TakeOffline(ctx, id, sha, days)
	}
	if err != nil {
		return leafward.AuthorityStanding{}, err
	}
	return s.ca.Standing(ctx, id)
}

// BringOnline puts the private key back.
func (s *Authorities) BringOnline(ctx context.Context, id, sealed string) (leafward.AuthorityStanding, error) {
	err := s.ca.MayChange(ctx, id)
	if err == nil {
		err = s.ca.BringOnline(ctx, id, sealed)
	}
	if err != nil {
		return leafward.AuthorityStanding{}, err
	}
	return s.ca.Standing(ctx, id)
}
