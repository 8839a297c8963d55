package cli

import (
	"context"
	"regexp"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// names gives the name of a thing by its id, for showing; what the caller may not see keeps its id.
type names struct {
	r     *run
	known map[string]string
	read  map[string]bool // lists that were read
}

func (r *run) names() *names {
	return &names{r: r, known: make(map[string]string), read: make(map[string]bool)}
}

// of is the name of the id. The first page of the list is read once, and what is not on it is asked for alone.
func (n *names) of(id, kind string, list func(into map[string]string) error, one func() (string, error)) string {
	if id == "" {
		return ""
	}
	if !n.read[kind] && list != nil {
		n.read[kind] = true
		_ = list(n.known) // ids are shown then
	}
	name, ok := n.known[id]
	if !ok {
		name, _ = one()
		name = first(name, id)
		n.known[id] = name
	}
	return name
}

func listed[T any](page api.Page[T], err error, into map[string]string, entry func(T) (id, name string)) error {
	for _, row := range page.Data {
		id, name := entry(row)
		into[id] = name
	}
	return err
}

func (n *names) team(ctx context.Context, id string) string {
	return n.of(id, "team", func(into map[string]string) error {
		page, err := api.ListTeams.Call(ctx, n.r.Client, api.ListTeamsInput{Listing: wholePage()})
		return listed(page, err, into, func(t api.Team) (string, string) { return t.ID, t.Name })
	}, func() (string, error) {
		t, err := api.GetTeam.Call(ctx, n.r.Client, api.ByID{ID: id})
		return t.Name, err
	})
}

func (n *names) agent(ctx context.Context, id string) string {
	return n.of(id, "agent", func(into map[string]string) error {
		page, err := api.ListAgents.Call(ctx, n.r.Client, api.ListAgentsInput{Listing: wholePage()})
		return listed(page, err, into, func(a api.Agent) (string, string) { return a.ID, a.Name })
	}, func() (string, error) {
		a, err := api.GetAgent.Call(ctx, n.r.Client, api.AgentID{ID: id})
		return a.Name, err
	})
}

func (n *names) target(ctx context.Context, id string) string {
	return n.of(id, "target", func(into map[string]string) error {
		page, err := api.ListTargets.Call(ctx, n.r.Client, api.ListTargetsInput{Listing: wholePage()})
		return listed(page, err, into, func(t api.Target) (string, string) { return t.ID, t.Name })
	}, func() (string, error) {
		t, err := api.GetTarget.Call(ctx, n.r.Client, api.ByID{ID: id})
		return t.Name, err
	})
}

func (n *names) owner(ctx context.Context, id string) string {
	return n.of(id, "", nil, func() (string, error) {
		o, err := api.GetOwner.Call(ctx, n.r.Client, api.ByID{ID: id})
		return o.Name, err
	})
}

func (n *names) issuer(ctx context.Context, id string) string {
	return n.of(id, "", nil, func() (string, error) {
		i, err := api.GetIssuer.Call(ctx, n.r.Client, api.ByID{ID: id})
		return i.Name, err
	})
}

func (n *names) profile(ctx context.Context, id string) string {
	return n.of(id, "", nil, func() (string, error) {
		p, err := api.GetProfile.Call(ctx, n.r.Client, api.ByID{ID: id})
		return p.Name, err
	})
}

func (n *names) policy(ctx context.Context, id string) string {
	return n.of(id, "", nil, func() (string, error) {
		p, err := api.GetRenewalPolicy.Call(ctx, n.r.Client, api.ByID{ID: id})
		return p.Name, err
	})
}

func (n *names) certificate(ctx context.Context, id string) string {
	return n.of(id, "certificate", func(into map[string]string) error {
		page, err := api.ListCertificates.Call(ctx, n.r.Client, api.ListCertificatesInput{Listing: wholePage()})
		return listed(page, err, into, func(c api.Certificate) (string, string) { return c.ID, c.Name })
	}, func() (string, error) {
		c, err := api.GetCertificate.Call(ctx, n.r.Client, api.ByID{ID: id})
		return c.Name, err
	})
}

// text is what the server says with names for ids, and without calls of the API.
func (n *names) text(ctx context.Context, said string) string {
	said, _, _ = strings.Cut(said, ": POST /api/v1/")
	return n.named(ctx, said)
}

// named is a text with the ids of agents, targets and certificates replaced by their names.
func (n *names) named(ctx context.Context, text string) string {
	return idsInText().ReplaceAllStringFunc(text, func(id string) string {
		switch {
		case strings.HasPrefix(id, "ag-"):
			return n.agent(ctx, id)
		case strings.HasPrefix(id, "tgt-"):
			return n.target(ctx, id)
		}
		return n.certificate(ctx, id)
	})
}

// idsInText finds ids that the server made; those that a client chose are names already.
func idsInText() *regexp.Regexp {
	return regexp.MustCompile(`\b(ag|tgt|mc)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
}

func wholePage() api.Listing { return api.Listing{PerPage: leafward.MaxPerPage} }

// team, owner, agent, target, certificate and the like find the id of what the user calls by its name or id; "" stays "".

func (r *run) team(ctx context.Context, given string) (string, error) {
	return find(r, given, "team", "ask an administrator which teams there are",
		func() (api.Page[api.Team], error) {
			return api.ListTeams.Call(ctx, r.Client, api.ListTeamsInput{Name: given})
		},
		func() (api.Team, error) { return api.GetTeam.Call(ctx, r.Client, api.ByID{ID: given}) },
		func(t api.Team) string { return t.ID })
}

func (r *run) owner(ctx context.Context, given string) (string, error) {
	return find(r, given, "owner", "ask an administrator which owners there are",
		func() (api.Page[api.Owner], error) {
			return api.ListOwners.Call(ctx, r.Client, api.ListOwnersInput{Name: given})
		},
		func() (api.Owner, error) { return api.GetOwner.Call(ctx, r.Client, api.ByID{ID: given}) },
		func(o api.Owner) string { return o.ID })
}

func (r *run) profile(ctx context.Context, given string) (string, error) {
	return find(r, given, "profile", "ask an administrator which profiles there are; prof-server is always there",
		func() (api.Page[api.Profile], error) {
			return api.ListProfiles.Call(ctx, r.Client, api.ListProfilesInput{Name: given})
		},
		func() (api.Profile, error) { return api.GetProfile.Call(ctx, r.Client, api.ByID{ID: given}) },
		func(p api.Profile) string { return p.ID })
}

func (r *run) policy(ctx context.Context, given string) (string, error) {
	return find(r, given, "renewal policy", "ask an administrator which there are; rp-default is always there",
		func() (api.Page[api.RenewalPolicy], error) {
			return api.ListRenewalPolicies.Call(ctx, r.Client, api.ListRenewalPoliciesInput{Name: given})
		},
		func() (api.RenewalPolicy, error) {
			return api.GetRenewalPolicy.Call(ctx, r.Client, api.ByID{ID: given})
		},
		func(p api.RenewalPolicy) string { return p.ID })
}

func (r *run) issuer(ctx context.Context, given string) (string, error) {
	return find(r, given, "issuer", "ask an administrator which issuers there are; iss-local is always there",
		func() (api.Page[api.Issuer], error) {
			return api.ListIssuers.Call(ctx, r.Client, api.ListIssuersInput{Name: given})
		},
		func() (api.Issuer, error) { return api.GetIssuer.Call(ctx, r.Client, api.ByID{ID: given}) },
		func(i api.Issuer) string { return i.ID })
}

func (r *run) agent(ctx context.Context, given string) (string, error) {
	return find(r, given, "agent", "`leafward agent list` shows them",
		func() (api.Page[api.Agent], error) {
			return api.ListAgents.Call(ctx, r.Client, api.ListAgentsInput{Name: given})
		},
		func() (api.Agent, error) { return api.GetAgent.Call(ctx, r.Client, api.AgentID{ID: given}) },
		func(a api.Agent) string { return a.ID })
}

func (r *run) target(ctx context.Context, given string) (string, error) {
	return find(r, given, "target", "`leafward target list` shows them",
		func() (api.Page[api.Target], error) {
			return api.ListTargets.Call(ctx, r.Client, api.ListTargetsInput{Name: given})
		},
		func() (api.Target, error) { return api.GetTarget.Call(ctx, r.Client, api.ByID{ID: given}) },
		func(t api.Target) string { return t.ID })
}

func (r *run) certificate(ctx context.Context, given string) (string, error) {
	return find(r, given, "certificate", "`leafward cert list"+r.where.flags()+"` shows them",
		func() (api.Page[api.Certificate], error) {
			return api.ListCertificates.Call(ctx, r.Client, api.ListCertificatesInput{Name: given})
		},
		func() (api.Certificate, error) {
			return api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: given})
		},
		func(c api.Certificate) string { return c.ID })
}

// all is each of the given, found.
func all(given []string, one func(string) (string, error)) ([]string, error) {
	ids := make([]string, len(given))
	for i, name := range given {
		var err error
		if ids[i], err = one(name); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
