package auth

import (
	"context"
	"fmt"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Teams lists teams.
func (s *Service) Teams(ctx context.Context, q leafward.Query) (leafward.List[leafward.Team], error) {
	return store.Teams().List(ctx, s.db, q)
}

// Team reads one team.
func (s *Service) Team(ctx context.Context, id string) (leafward.Team, error) {
	return store.Teams().Get(ctx, s.db, id)
}

// CreateTeam makes a team of what fill writes.
func (s *Service) CreateTeam(ctx context.Context, fill func(*leafward.Team) error) (leafward.Team, error) {
	return store.Teams().Create(ctx, s.db, fill, func(_ *store.Tx, t *leafward.Team) error {
		t.Slug = leafward.Slug(t.Name)
		return nil
	})
}

// UpdateTeam changes a team.
func (s *Service) UpdateTeam(ctx context.Context, id, match string, change func(*leafward.Team) error) (leafward.Team, error) {
	return store.Teams().Update(ctx, s.db, id, match, change, nil)
}

// DeleteTeam removes a team that nothing refers to.
func (s *Service) DeleteTeam(ctx context.Context, id, match string) error {
	return store.Teams().Delete(ctx, s.db, id, match, nil)
}

// Owners lists owners.
func (s *Service) Owners(ctx context.Context, q leafward.Query) (leafward.List[leafward.Owner], error) {
	return store.Owners().List(ctx, s.db, q)
}

// Owner reads one owner.
func (s *Service) Owner(ctx context.Context, id string) (leafward.Owner, error) {
	return store.Owners().Get(ctx, s.db, id)
}

// CreateOwner makes an owner of what fill writes.
func (s *Service) CreateOwner(ctx context.Context, fill func(*leafward.Owner) error) (leafward.Owner, error) {
	return store.Owners().Create(ctx, s.db, fill, checkOwner)
}

// UpdateOwner changes an owner.
func (s *Service) UpdateOwner(ctx context.Context, id, match string, change func(*leafward.Owner) error) (leafward.Owner, error) {
	return store.Owners().Update(ctx, s.db, id, match, change, checkOwner)
}

// DeleteOwner removes an owner that nothing refers to.
func (s *Service) DeleteOwner(ctx context.Context, id, match string) error {
	return store.Owners().Delete(ctx, s.db, id, match, nil)
}

// checkOwner gives an owner that names no team the actor's only one, or else the default team. The team must exist in
// the actor's scope.
func checkOwner(tx *store.Tx, o *leafward.Owner) error {
	if o.Team == "" {
		o.Team = leafward.DefaultTeam
		if len(tx.Actor.Teams) == 1 {
			o.Team = tx.Actor.Teams[0]
		}
	}
	if _, err := tx.Team(o.Team); err != nil {
		var p leafward.Problems
		p.Add("team_id", fmt.Sprintf("names the team %.130q, which does not exist", o.Team), "use the id of a team from GET /api/v1/teams")
		return p.Err()
	}
	return nil
}
