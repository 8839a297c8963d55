package fleet

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/store"
)

// InvitationLife is how long an invitation can be used.
const InvitationLife = time.Hour

// Invite is what an administrator says of the agent that is to come.
type Invite struct {
	Name  string // "": the agent names itself
	Team  string // "": all teams share it
	Agent string // the known agent that gets a new key, "" for a new one
}

// Invitation is an open invitation. Its token is shown once.
type Invitation struct {
	leafward.Credential
	Agent string // id that the agent has, or will have
	Token string
}

// Invite makes a token with which one agent joins within an hour, or gets a new key.
func (s *Service) Invite(ctx context.Context, in Invite) (made Invitation, err error) {
	var p leafward.Problems
	if in.Name != "" {
		leafward.CheckName(&p, "name", in.Name)
	}
	p.Check(in.Agent == "" || in.Name == "" && in.Team == "", "for_agent_id", "cannot go with a name or team", "send for_agent_id alone: the agent keeps its own")
	if err := p.Err(); err != nil {
		return made, err
	}
	token, hash := keys.NewToken(keys.JoinPrefix)
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		c := leafward.Credential{Row: leafward.Row{ID: store.NewID("inv")}, Kind: leafward.JoinCredential, Name: in.Name, Team: in.Team, Hash: hash, ExpiresAt: tx.Now.Add(InvitationLife), UsesLeft: 1}
		if in.Agent != "" {
			if err := reinvite(tx, &c, in.Agent); err != nil {
				return err
			}
		} else if err := invite(tx, &c); err != nil {
			return err
		}
		tx.AddCredential(&c)
		tx.RecordOn(leafward.AgentInvited, "agent", c.Principal, c.Team, leafward.Details{"invitation": c.ID, "name": c.Name, "again": in.Agent != "", "expires_at": c.ExpiresAt.Format(time.RFC3339)})
		made = Invitation{Credential: c, Agent: c.Principal, Token: token}
		return nil
	})
	return made, err
}

// invite reserves the id of a new agent: that of the principal.
func invite(tx *store.Tx, c *leafward.Credential) error {
	if err := teamFor(tx, &c.Team); err != nil {
		return err
	}
	principal := leafward.Principal{Row: leafward.Row{ID: store.NewID("ag")}, Kind: leafward.AgentPrincipal, Name: c.Name, Team: c.Team}
	tx.AddPrincipal(&principal, leafward.Grant{Role: leafward.RoleAgent})
	c.Principal = principal.ID
	return tx.Err()
}

// reinvite points an invitation at an agent that is known.
func reinvite(tx *store.Tx, c *leafward.Credential, id string) error {
	var p leafward.Problems
	a, err := tx.Agent(id)
	switch {
	case leafward.KindOf(err) == leafward.NotFound:
		p.Add("for_agent_id", "names an agent that does not exist", "`leafward agent list` shows them")
		return p.Err()
	case err != nil:
		return err
	case a.Sentinel():
		p.Add("for_agent_id", "names the server itself or a source, which has no key", "name an agent on a host")
		return p.Err()
	case !a.RetiredAt.IsZero():
		p.Add("for_agent_id", "names an agent that is retired", "invite the host as a new agent")
		return p.Err()
	case !tx.Actor.MayWrite(a.Team):
		return shared()
	}
	c.Principal, c.Subject, c.Team, c.Name = a.Principal, a.ID, a.Team, a.Name
	return nil
}

func shared() error {
	return leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "an agent that all teams share is for administrators of all teams; your key is for some")
}

// teamFor checks the team of a new agent; an administrator of one team names none and means it.
func teamFor(tx *store.Tx, team *string) error {
	if *team == "" && len(tx.Actor.Teams) == 1 {
		*team = tx.Actor.Teams[0]
	}
	if err := tx.CheckTeam("agent", "", *team); err != nil {
		return err
	}
	if !tx.Actor.MayWrite(*team) {
		return shared()
	}
	return nil
}

// Invitations lists invitations, the newest first, whatever became of them.
func (s *Service) Invitations(ctx context.Context, q leafward.Query) (page leafward.List[leafward.Credential], err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		page, err = v.Invitations(q)
		return err
	})
	return page, err
}

// RevokeInvitation closes an invitation at once.
func (s *Service) RevokeInvitation(ctx context.Context, id string) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		c, err := tx.Invitation(id)
		if err != nil || !c.RevokedAt.IsZero() {
			return err
		}
		if !tx.Actor.MayWrite(c.Team) {
			return shared()
		}
		revoke(tx, &c)
		return nil
	})
}

func revoke(tx *store.Tx, c *leafward.Credential) {
	c.RevokedAt = tx.Now
	tx.PutCredential(c)
	tx.Record(leafward.KeyRevoked, c.ID, c.Team, leafward.Details{"name": c.Name, "kind": string(c.Kind)})
}

// Facts are what a host says of itself.
type Facts struct {
	Hostname, OS, Architecture, IPAddress, Version string
	Protocol                                       string // leafward.AgentProtocol from agents of ours
}

func (f Facts) apply(a *leafward.Agent) {
	a.Hostname, a.OS, a.Architecture, a.IPAddress, a.Version = f.Hostname, f.OS, f.Architecture, f.IPAddress, f.Version
	a.Ours = f.Protocol == leafward.AgentProtocol
}

// Registration is what a new agent, or an administrator for it, says.
type Registration struct {
	ID, Name, Team string
	Facts
}

// Register makes an agent and its key, which is returned once: an administrator's for an agent to come, or, with an
// invitation, the agent's own. An invitation for a known agent gives it a new key in place of the old ones.
func (s *Service) Register(ctx context.Context, in Registration) (a leafward.Agent, key string, err error) {
	key, hash := keys.NewToken(keys.KeyPrefix)
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		a = leafward.Agent{}
		if tx.Actor.Role == leafward.RoleJoin {
			return join(tx, &a, in, hash)
		}
		a.ID, a.Name, a.Team = in.ID, in.Name, in.Team
		in.apply(&a)
		if a.Name == "" {
			a.Name = a.Hostname
		}
		if a.ID == "" {
			a.ID = store.NewID("ag")
		}
		if err := a.Validate(); err != nil {
			return err
		}
		if err := teamFor(tx, &a.Team); err != nil {
			return err
		}
		principal := leafward.Principal{Row: leafward.Row{ID: a.ID}, Kind: leafward.AgentPrincipal, Name: a.Name, Team: a.Team}
		if taken, err := tx.PrincipalExists(a.ID); err != nil || taken || slices.Contains(leafward.SentinelAgents(), a.ID) {
			return errors.Join(err, leafward.Errorf(leafward.Conflict, "choose another id, or leave it out", "the id %s is taken", a.ID))
		}
		tx.AddPrincipal(&principal, leafward.Grant{Role: leafward.RoleAgent})
		return enrol(tx, &a, hash)
	})
	if err != nil {
		return leafward.Agent{}, "", err
	}
	return a, key, nil
}

// join is what an invitation opens. It is used up in the transaction that makes the agent or its key.
func join(tx *store.Tx, a *leafward.Agent, in Registration, hash []byte) error {
	c, found, err := tx.InvitationOfAny(tx.Actor.ID)
	if err == nil && !found {
		err = leafward.Missing("invitation", tx.Actor.ID)
	}
	if err != nil {
		return err
	}
	if err := c.Usable(tx.Now); err != nil { // used or revoked by another request since it was recognised
		return err
	}
	c.UsesLeft--
	tx.PutCredential(&c)
	var p leafward.Problems
	p.Check(in.ID == "" || in.ID == c.Principal, "id", "is not the id that the invitation reserved", "leave it out")
	p.Check(in.Team == "" || in.Team == c.Team, "team_id", "is not the team of the invitation", "leave it out")
	if c.Subject != "" {
		if *a, err = tx.Agent(c.Subject); err != nil {
			return err
		}
		p.Check(in.Name == "" || in.Name == a.Name, "name", "is not the name of the agent", "leave it out")
		if err := p.Err(); err != nil {
			return err
		}
		return rejoin(tx, a, in, hash)
	}
	a.ID, a.Name, a.Team = c.Principal, c.Name, c.Team
	in.apply(a)
	p.Check(a.Name == "" || in.Name == "" || in.Name == a.Name, "name", "is not the name in the invitation", "leave it out")
	for _, name := range []string{in.Name, a.Hostname} {
		if a.Name == "" {
			a.Name = name
		}
	}
	if err := p.Merge(a.Validate()); err != nil {
		return err
	}
	if err := p.Err(); err != nil {
		return err
	}
	return enrol(tx, a, hash)
}

// enrol inserts an agent whose principal, of the same id, exists, with its key.
func enrol(tx *store.Tx, a *leafward.Agent, hash []byte) error {
	a.Principal, a.RegisteredAt = a.ID, tx.Now
	if taken, err := tx.AgentNamed(a.Team, a.Name); err != nil || taken {
		return errors.Join(err, leafward.Errorf(leafward.Conflict, "choose another name; a host that lost its key gets a new one by `leafward agent invite --for AGENT`", "an agent named %s exists already", a.Name))
	}
	tx.AddAgent(a)
	addKey(tx, a, hash)
	tx.Record(leafward.AgentJoined, a.ID, a.Team, leafward.Details{"name": a.Name, "hostname": a.Hostname, "ours": a.Ours})
	return tx.Err()
}

// rejoin gives a known agent a new key and ends its old ones.
func rejoin(tx *store.Tx, a *leafward.Agent, in Registration, hash []byte) error {
	if !a.RetiredAt.IsZero() {
		return leafward.Errorf(leafward.Gone, "invite the host as a new agent", "the agent %s was retired meanwhile", a.ID)
	}
	in.apply(a)
	if err := a.Validate(); err != nil {
		return err
	}
	tx.PutAgent(a)
	old, err := tx.CredentialsOf(a.Principal)
	if err != nil {
		return err
	}
	for _, c := range old {
		if c.Kind == leafward.KeyCredential {
			revoke(tx, &c)
		}
	}
	addKey(tx, a, hash)
	tx.Record(leafward.AgentJoined, a.ID, a.Team, leafward.Details{"name": a.Name, "hostname": a.Hostname, "ours": a.Ours, "again": true})
	return tx.Err()
}

// addKey gives an agent its API key. The key is of all teams: what an agent may do hangs on its id alone.
func addKey(tx *store.Tx, a *leafward.Agent, hash []byte) {
	c := leafward.Credential{Principal: a.Principal, Kind: leafward.KeyCredential, Name: "agent " + a.ID, Team: a.Team, Hash: hash, UsesLeft: -1}
	tx.AddCredential(&c)
	tx.Record(leafward.KeyCreated, c.ID, a.Team, leafward.Details{"name": c.Name, "role": string(leafward.RoleAgent)})
}
