package fleet_test

import (
	"context"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// holding is the context of somebody who presents the invitation.
func holding(t *testing.T, in fleet.Invitation) context.Context {
	t.Helper()
	return leafward.WithActor(t.Context(), leafward.Actor{ID: in.ID, Name: "invitation", Type: leafward.ActorAgent, Role: leafward.RoleJoin})
}

func TestAnInvitationMakesOneAgentOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		in, err := w.Invite(w.ctx, fleet.Invite{Name: "web1"})
		check(t, err)
		if !strings.HasPrefix(in.Token, keys.JoinPrefix) || in.Agent == "" {
			t.Fatalf("%+v", in)
		}
		a, key, err := w.Register(holding(t, in), fleet.Registration{Facts: fleet.Facts{Hostname: "web1.example", OS: "linux", Protocol: leafward.AgentProtocol}})
		check(t, err)
		if a.ID != in.Agent || a.Name != "web1" || a.Hostname != "web1.example" || !a.Ours || !strings.HasPrefix(key, keys.KeyPrefix) {
			t.Errorf("%+v %s", a, key)
		}
		if w.events(t, leafward.AgentInvited, a.ID) != 1 || w.events(t, leafward.AgentJoined, a.ID) != 1 {
			t.Error("inviting and joining are recorded once each")
		}
		_, _, err = w.Register(holding(t, in), fleet.Registration{Name: "web1"})
		refused(t, "a second use", err, leafward.Unauthorized)
	})
}

func TestAnInvitationIsHeldToItsWords(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	for name, in := range map[string]fleet.Registration{
		"another name": {Name: "web2"}, "another id": {ID: "web1"}, "another team": {Team: leafward.DefaultTeam},
		"a host name that is none": {Facts: fleet.Facts{Hostname: strings.Repeat("x", 254)}}, "an address that is none": {Facts: fleet.Facts{IPAddress: "here"}},
	} {
		invitation, err := w.Invite(w.ctx, fleet.Invite{Name: "web1"})
		check(t, err)
		_, _, err = w.Register(holding(t, invitation), in)
		refused(t, name, err, leafward.Invalid)
		if _, _, err = w.Register(holding(t, invitation), fleet.Registration{Name: "web1"}); err != nil {
			t.Errorf("%s: what was refused must not use the invitation up: %v", name, err)
		}
		agents, err := w.Agents(w.ctx, leafward.Query{})
		check(t, err)
		_, err = w.Retire(w.ctx, agents.Items[0].ID, false, "")
		check(t, err)
	}
}

func TestAnInvitationThatIsOverOrRevokedOpensNothing(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	late, err := w.Invite(w.ctx, fleet.Invite{})
	check(t, err)
	w.write(t, func(tx *store.Tx) {
		c, err := tx.Invitation(late.ID)
		tx.Fail(err)
		c.ExpiresAt = tx.Now
		tx.PutCredential(&c)
	})
	_, _, err = w.Register(holding(t, late), fleet.Registration{Name: "late"})
	refused(t, "an hour later", err, leafward.Unauthorized)
	revoked, err := w.Invite(w.ctx, fleet.Invite{})
	check(t, err)
	check(t, w.RevokeInvitation(w.ctx, revoked.ID))
	_, _, err = w.Register(holding(t, revoked), fleet.Registration{Name: "revoked"})
	refused(t, "a revoked one", err, leafward.Unauthorized)
	refused(t, "revoking what is not there", w.RevokeInvitation(w.ctx, "inv-none"), leafward.NotFound)
}

func TestALostAgentGetsANewKeyInPlaceOfTheOld(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, _ := w.agent(t, "web1", true)
	var old []leafward.Credential
	w.view(t, func(v *store.View) (err error) {
		old, err = v.CredentialsOf(a.Principal)
		return err
	})
	in, err := w.Invite(w.ctx, fleet.Invite{Agent: a.ID})
	check(t, err)
	again, key, err := w.Register(holding(t, in), fleet.Registration{Facts: fleet.Facts{Hostname: "new", Protocol: leafward.AgentProtocol}})
	check(t, err)
	if again.ID != a.ID || again.Name != "web1" || again.Hostname != "new" || key == "" {
		t.Errorf("%+v", again)
	}
	w.view(t, func(v *store.View) error {
		now, found, err := v.CredentialByHash(old[0].Hash)
		if !found || now.RevokedAt.IsZero() {
			t.Error("the old key must be revoked")
		}
		fresh, found, err2 := v.CredentialByHash(keys.HashToken(key))
		if !found || fresh.Usable(v.Now) != nil || fresh.Principal != a.Principal {
			t.Errorf("the new key: %+v %v", fresh, err2)
		}
		return err
	})
}

func TestInvitationsAreNotForSentinelsAndRetiredAgents(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	gone, _ := w.agent(t, "gone", true)
	_, err := w.Retire(w.ctx, gone.ID, false, "")
	check(t, err)
	for _, id := range []string{leafward.ServerAgent, "cloud-aws-sm", gone.ID, "ag-none"} {
		_, err := w.Invite(w.ctx, fleet.Invite{Agent: id})
		refused(t, id, err, leafward.Invalid)
	}
	_, err = w.Invite(w.ctx, fleet.Invite{Agent: gone.ID, Name: "web"})
	refused(t, "a name beside an agent", err, leafward.Invalid)
}

func TestAnAgentThatWasRetiredMeanwhileCannotComeBackByInvitation(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, _ := w.agent(t, "web1", true)
	in, err := w.Invite(w.ctx, fleet.Invite{Agent: a.ID})
	check(t, err)
	_, err = w.Retire(w.ctx, a.ID, false, "")
	check(t, err)
	_, _, err = w.Register(holding(t, in), fleet.Registration{})
	refused(t, "joining again", err, leafward.Unauthorized)
}

func TestAnAdministratorRegistersAgentsOfAnyMake(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, key, err := w.Register(w.ctx, fleet.Registration{ID: "edge-1", Name: "edge", Facts: fleet.Facts{Hostname: "edge.example", Version: "2.0"}})
	check(t, err)
	if a.ID != "edge-1" || a.Ours || key == "" {
		t.Errorf("%+v", a)
	}
	for name, c := range map[string]struct {
		in   fleet.Registration
		kind leafward.Kind
	}{
		"the same name":           {fleet.Registration{Name: "edge"}, leafward.Conflict},
		"the same id":             {fleet.Registration{ID: "edge-1", Name: "other"}, leafward.Conflict},
		"a sentinel's id":         {fleet.Registration{ID: leafward.ServerAgent, Name: "other"}, leafward.Conflict},
		"no name":                 {fleet.Registration{}, leafward.Invalid},
		"the id of the caller":    {fleet.Registration{ID: "client", Name: "other"}, leafward.Invalid},
		"the id of the server":    {fleet.Registration{ID: "server", Name: "other"}, leafward.Invalid},
		"a word of a path":        {fleet.Registration{ID: "invitations", Name: "other"}, leafward.Invalid},
		"a team that is not here": {fleet.Registration{Name: "other", Team: "t-none"}, leafward.Invalid},
	} {
		_, _, err := w.Register(w.ctx, c.in)
		refused(t, name, err, c.kind)
	}
}

func TestAnAdministratorOfATeamInvitesAndRegistersForItAlone(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	scoped := storetest.Scoped(t.Context(), leafward.DefaultTeam)
	in, err := w.Invite(scoped, fleet.Invite{})
	if err != nil || in.Team != leafward.DefaultTeam {
		t.Errorf("%+v %v", in, err)
	}
	a, _, err := w.Register(scoped, fleet.Registration{Name: "mine"})
	if err != nil || a.Team != leafward.DefaultTeam {
		t.Errorf("%+v %v", a, err)
	}
	shared, _ := w.agent(t, "shared", true)
	_, err = w.Invite(scoped, fleet.Invite{Agent: shared.ID})
	refused(t, "a key for an agent of all teams", err, leafward.Denied)
	_, err = w.Retire(scoped, shared.ID, false, "")
	refused(t, "retiring an agent of all teams", err, leafward.Denied)
	refused(t, "a heartbeat for an agent of all teams", w.Heartbeat(scoped, shared.ID, fleet.Facts{}, shared.CreatedAt), leafward.Denied)
}
