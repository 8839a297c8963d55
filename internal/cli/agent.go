package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leafward/leafward/api"
)

// Agents are the commands of the group agent that ask a server.
type Agents struct {
	Invite agentInvite `cmd:"" help:"Make a one-time token, and the command by which a host joins."`
	List   agentList   `cmd:"" help:"List agents."`
	Retire agentRetire `cmd:"" help:"Retire an agent: its key opens nothing any more."`
}

type agentInvite struct {
	asking
	Name string `placeholder:"NAME" xor:"who" help:"Name that the agent will have; its host's name unless given."`
	For  string `placeholder:"AGENT" xor:"who" help:"Agent that lost its key and gets a new one in its place."`
	Team string `placeholder:"TEAM" help:"Team that it will belong to; none: all teams share it."`
}

// invitation is what inviting answers in JSON.
type invitation struct {
	api.NewAgentInvitation
	URL        string `json:"url"`
	RootSHA256 string `json:"root_sha256"`
	Command    string `json:"command"`
}

func (c *agentInvite) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	if c.For != "" && c.Team != "" {
		return failed(codeUsage, "leave --team out", "--team is for a new agent; the one of --for keeps its team")
	}
	var body api.AgentInvitationWrite
	for _, given := range []struct {
		to   *api.Opt[string]
		name string
		find func(context.Context, string) (string, error)
	}{{&body.ForAgentID, c.For, r.agent}, {&body.TeamID, c.Team, r.team}, {&body.Name, c.Name, func(_ context.Context, name string) (string, error) { return name, nil }}} {
		id, err := given.find(ctx, given.name)
		if err != nil {
			return err
		}
		if id != "" {
			*given.to = api.Some(id)
		}
	}
	at, err := r.reachable(ctx)
	if err != nil {
		return err
	}
	made, err := api.CreateAgentInvitation.Call(ctx, r.Client, api.Make[api.AgentInvitationWrite]{Body: body})
	if err != nil {
		return err
	}
	command := fmt.Sprintf("leafward agent join %s --token %s --root %s", at.url, made.Token, at.rootSHA256)
	if c.For != "" {
		command += " --force"
	}
	return r.answer(invitation{made, at.url, at.rootSHA256, command}, func() {
		fmt.Fprintln(r.Out, command)
		r.say(good, "type the line above on the host, as the user that may write the certificates there, then leafward agent run",
			"the invitation is good for one agent until %s", when(&made.ExpiresAt, time.Now()))
		if at.here() {
			r.say(warn, "", "the server is only known as %s, which other hosts cannot reach: start it with --hostname NAME for agents elsewhere", at.url)
		}
	})
}

type agentList struct {
	asking
	limited
	Retired bool   `xor:"which" help:"Retired ones instead."`
	Status  string `placeholder:"STATE" xor:"which" help:"Online, Offline or Degraded."`
}

func (c *agentList) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	agents, err := collect(c.Limit, func(l api.Listing) (api.Page[api.Agent], error) {
		if c.Retired {
			return api.ListRetiredAgents.Call(ctx, r.Client, api.ListRetiredAgentsInput{Listing: l})
		}
		return api.ListAgents.Call(ctx, r.Client, api.ListAgentsInput{Listing: l, Status: c.Status})
	})
	if err != nil {
		return err
	}
	err = r.answer(agents, func() {
		if len(agents.Data) == 0 {
			r.say(good, "leafward agent invite"+r.where.flags(), "there are no such agents")
			return
		}
		n, now := r.names(), time.Now()
		t := &table{head: []string{"NAME", "STATE", "SEEN", "HOST", "ADDRESS", "SYSTEM", "VERSION", "TEAM", "NOTE"}, cut: []int{0, 3, 6, 7, 8}}
		for _, a := range agents.Data {
			seen := "never"
			if a.LastHeartbeatAt != nil {
				seen = distance(a.LastHeartbeatAt.Sub(now))
			}
			system := a.OS
			if a.Architecture != "" {
				system += "/" + a.Architecture
			}
			t.add(a.Name, agentState(&a), seen, a.Hostname, a.IPAddress, system, a.Version, first(n.team(ctx, a.TeamID), "all"), agentNote(&a))
		}
		r.print(t)
	})
	tell(r, "agent", agents)
	return err
}

func agentState(a *api.Agent) string {
	if a.RetiredAt != nil {
		return "Retired"
	}
	return a.Status
}

// agentNote is why an agent is not as it should be.
func agentNote(a *api.Agent) string {
	switch {
	case a.RetiredReason != nil:
		return *a.RetiredReason
	case a.DeployFailed:
		return "its last deployment failed"
	case a.Status == "Degraded":
		return fmt.Sprintf("its clock is off by %s", time.Duration(a.ClockSkew)*time.Second)
	}
	return ""
}

type agentRetire struct {
	asking
	Name   string `arg:"" help:"Name or id of the agent."`
	Force  bool   `help:"Although things hang on it: its jobs are cancelled, certificates unbound from its targets, and the targets switched off. Needs --reason."`
	Reason string `placeholder:"TEXT" help:"Why, for the record."`
}

func (c *agentRetire) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.agent(ctx, c.Name)
	if err != nil {
		return err
	}
	in := api.RetireAgentInput{ID: id, Reason: c.Reason}
	if c.Force {
		in.Force = "true"
	}
	done, err := api.RetireAgent.Call(ctx, r.Client, in)
	if err != nil {
		if wire, ok := errors.AsType[*api.Error](err); ok && len(wire.Counts) > 0 {
			wire.Fix = "leafward target list --agent " + quoted(c.Name) + r.where.flags() + " shows its targets; to retire it with all of that: --force --reason WHY"
		}
		return err
	}
	return r.answer(done, func() {
		n := done.Counts
		r.say(good, "its process ends by itself; certificates and keys on its host stay, so revoke them when the host is not trusted: leafward cert revoke NAME"+r.where.flags(),
			"the agent %s is retired, with %s, %s and %s", c.Name, count(int64(n.ActiveTargets), "target"), count(int64(n.ActiveCertificates), "certificate"), count(int64(n.PendingJobs), "job"))
	})
}
