package lifecycle

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Settings are the rules that certificates follow: profiles and renewal policies.
type Settings struct {
	db     *store.DB
	replan func(tx *store.Tx, policy string) error
}

// NewSettings keeps rules in a store. Replan computes anew, in the transaction of the change, when the certificates of a
// renewal policy are renewed; nil leaves them as they are.
func NewSettings(db *store.DB, replan func(tx *store.Tx, policy string) error) *Settings {
	return &Settings{db: db, replan: replan}
}

// What a profile is when nobody says otherwise, in seconds.
const (
	DefaultProfileTTL = 90 * 24 * 3600
	DefaultBackdate   = 300
)

// Profiles lists profiles.
func (s *Settings) Profiles(ctx context.Context, q leafward.Query) (leafward.List[leafward.Profile], error) {
	return store.Profiles().List(ctx, s.db, q)
}

// Profile reads one profile.
func (s *Settings) Profile(ctx context.Context, id string) (leafward.Profile, error) {
	return store.Profiles().Get(ctx, s.db, id)
}

// CreateProfile makes a profile of what fill writes over the defaults.
func (s *Settings) CreateProfile(ctx context.Context, fill func(*leafward.Profile) error) (leafward.Profile, error) {
	return store.Profiles().Create(ctx, s.db, func(p *leafward.Profile) error {
		*p = leafward.Profile{Team: homeTeam(ctx), MaxTTL: DefaultProfileTTL, Backdate: unsaid, EKUs: []string{"serverAuth"}, NameTypes: []string{}, Enabled: true}
		err := fill(p)
		if p.Backdate == unsaid {
			p.Backdate = min(DefaultBackdate, max(p.MaxTTL, 0)/10)
		}
		return err
	}, checkProfile)
}

// unsaid stands for a number that has not been given yet and depends on others.
const unsaid = -1 << 40

// UpdateProfile changes a profile. What was signed by it stays; the next issuance follows the change.
func (s *Settings) UpdateProfile(ctx context.Context, id, match string, change func(*leafward.Profile) error) (leafward.Profile, error) {
	return store.Profiles().Update(ctx, s.db, id, match, change, checkProfile)
}

// DeleteProfile removes a profile that nothing refers to.
func (s *Settings) DeleteProfile(ctx context.Context, id, match string) error {
	return store.Profiles().Delete(ctx, s.db, id, match, nil)
}

func checkProfile(tx *store.Tx, p *leafward.Profile) error {
	return tx.CheckTeam("profile", p.ID, p.Team)
}

// homeTeam is where something belongs that names no team: the actor's one team, or nowhere, so that all teams share it.
func homeTeam(ctx context.Context) string {
	if actor, _ := leafward.ActorFrom(ctx); len(actor.Teams) == 1 {
		return actor.Teams[0]
	}
	return ""
}
