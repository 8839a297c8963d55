package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/store"
)

// Service answers for identities and tenancy.
type Service struct {
	db   *store.DB
	log  *slog.Logger
	seen *seen
}

// New returns the service on a store.
func New(db *store.DB, log *slog.Logger) *Service {
	return &Service{db: db, log: log, seen: &seen{at: make(map[string]time.Time)}}
}

// patience is how long a caller waits for a database that does not answer. It is less than the time for a request's body,
// which is read afterwards.
const patience = 3 * time.Second

// Authenticate finds who presents the bearer token. Its error says why nobody does, of kind Unauthorized, or that nobody
// could look.
func (s *Service) Authenticate(ctx context.Context, token string) (actor leafward.Actor, err error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	hash := sha256.Sum256([]byte(token))
	var used leafward.Credential
	err = s.db.View(leafward.WithActor(ctx, leafward.System("authentication")), func(v *store.View) error {
		credential, found, err := v.CredentialByHash(hash[:])
		if err != nil {
			return err
		}
		if !found {
			return leafward.Errorf(leafward.Unauthorized, "check the key, or ask an administrator for a new one", "nobody has this key")
		}
		if err := credential.Usable(v.Now); err != nil {
			return ended(v, &credential, err)
		}
		used = credential
		if credential.Kind == leafward.JoinCredential {
			actor = invited(&credential)
			return nil
		}
		actor, err = v.ActorOf(credential)
		return err
	})
	if err == nil {
		s.seen.note(used.ID, used.LastUsedAt)
	}
	return actor, err
}

// ended is why a credential opens nothing any more: Gone when it was that of an agent that is retired, so that the agent
// learns that it has nothing to do any more.
func ended(v *store.View, c *leafward.Credential, why error) error {
	if c.Kind != leafward.KeyCredential || c.RevokedAt.IsZero() {
		return why
	}
	retired, err := v.AgentRetired(c.Principal)
	if err != nil || !retired {
		return errors.Join(err, why)
	}
	return leafward.Errorf(leafward.Gone, "stop the agent on this host; to have it back, invite it as a new one: `leafward agent invite`", "this agent is retired")
}

// invited is who acts with an invitation: somebody who may register one agent and nothing else.
func invited(c *leafward.Credential) leafward.Actor {
	a := leafward.Actor{ID: c.ID, Name: "invitation", Type: leafward.ActorAgent, Role: leafward.RoleJoin}
	if c.Team != "" {
		a.Teams = []string{c.Team}
	}
	return a
}

// CreateKey makes an API key for a new service principal. The secret is returned once and kept nowhere.
func (s *Service) CreateKey(ctx context.Context, name string, role leafward.Role, team string) (secret string, made leafward.Credential, err error) {
	var p leafward.Problems
	leafward.CheckName(&p, "name", name)
	if _, err := leafward.ParseRole(string(role)); err != nil || role == leafward.RoleAgent {
		p.Add("role", "is not a role for a key", "use viewer, operator or admin; agents get theirs by `leafward agent invite`")
	}
	if err := p.Err(); err != nil {
		return "", made, err
	}
	secret, hash := keys.NewToken(keys.KeyPrefix)
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		if !tx.Actor.MayWrite(team) && team == "" {
			return beyond("a key for all teams")
		}
		if err := tx.CheckTeam("key", "", team); err != nil {
			return err
		}
		if taken, err := tx.KeyNamed(name); err != nil {
			return err
		} else if taken {
			return leafward.Errorf(leafward.Conflict, "choose another name, or revoke that key first", "a key named %q exists already", name)
		}
		principal := leafward.Principal{Kind: leafward.ServicePrincipal, Name: name, Team: team}
		tx.AddPrincipal(&principal, leafward.Grant{Role: role, Team: team})
		made = leafward.Credential{Principal: principal.ID, Kind: leafward.KeyCredential, Name: name, Team: team, Hash: hash, UsesLeft: -1}
		tx.AddCredential(&made)
		tx.Record(leafward.KeyCreated, made.ID, team, leafward.Details{"name": name, "role": string(role)})
		return nil
	})
	return secret, made, err
}

// beyond refuses what only an actor of all teams may do.
func beyond(what string) error {
	return leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "%s is for administrators of all teams; your key is for some", what)
}

// Keys lists API keys, the newest first.
func (s *Service) Keys(ctx context.Context, q leafward.Query) (page leafward.List[store.Key], err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		page, err = v.Keys(q)
		return err
	})
	return page, err
}

// RevokeKey closes an API key, given by id or name, at once and for ever.
func (s *Service) RevokeKey(ctx context.Context, id string) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		key, err := tx.Key(id)
		if err != nil {
			return err
		}
		if !key.RevokedAt.IsZero() {
			return nil
		}
		if !tx.Actor.MayWrite(key.Team) {
			return beyond("that key is for all teams, and revoking it")
		}
		key.RevokedAt = tx.Now
		tx.PutCredential(&key)
		tx.Record(leafward.KeyRevoked, key.ID, key.Team, leafward.Details{"name": key.Name})
		return nil
	})
}

// seen gathers when credentials were used, so that using one does not write each time.
type seen struct {
	mu sync.Mutex
	at map[string]time.Time
}

// useResolution is how coarse the time of last use is.
const useResolution = 10 * time.Minute

func (s *seen) note(id string, known time.Time) {
	now := time.Now()
	if now.Sub(known) < useResolution {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[id] = now
}

func (s *seen) take() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.at
	s.at = make(map[string]time.Time)
	return taken
}

// Run writes down every ten seconds which credentials were used, until the context ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	system := leafward.WithActor(ctx, leafward.System("auth"))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		used := s.seen.take()
		if len(used) == 0 {
			continue
		}
		if err := s.db.Write(system, func(tx *store.Tx) error { tx.TouchCredentials(used); return nil }); err != nil {
			s.log.Warn("the last use of keys could not be noted", "error", err)
		}
	}
}
