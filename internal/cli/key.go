package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/leafward/leafward/api"
)

type keyCommands struct {
	Create keyCreate `cmd:"" help:"Make an API key and print it, this once."`
	List   keyList   `cmd:"" help:"List API keys."`
	Revoke keyRevoke `cmd:"" help:"Revoke an API key for ever."`
}

type keyCreate struct {
	asking
	Name string `arg:"" help:"Name of the key, such as the program that will use it."`
	Role string `required:"" placeholder:"ROLE" help:"viewer (looks), operator (works with certificates, targets and jobs) or admin (everything)."`
	Team string `placeholder:"TEAM" help:"Team that the key is for; none: all teams."`
}

// Run prints the key alone on standard output, so that `KEY=$(leafward key create …)` gets it.
func (c *keyCreate) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	team, err := r.team(ctx, c.Team)
	if err != nil {
		return err
	}
	body := api.KeyWrite{Name: api.Some(c.Name), Role: api.Some(c.Role)}
	if team != "" {
		body.TeamID = api.Some(team)
	}
	made, err := api.CreateKey.Call(ctx, r.Client, api.Make[api.KeyWrite]{Body: body})
	if err != nil {
		return err
	}
	return r.answer(made, func() {
		fmt.Fprintln(r.Out, made.Secret)
		r.say(good, "keep it now, it cannot be shown again; set LEAFWARD_SERVER, LEAFWARD_KEY and LEAFWARD_ROOT to use it elsewhere",
			"the key %s (%s, %s) is made", made.Name, made.Role, scope(c.Team))
	})
}

func scope(team string) string {
	if team == "" {
		return "all teams"
	}
	return "team " + team
}

type keyList struct {
	asking
	limited
}

func (c *keyList) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	keys, err := collect(c.Limit, func(l api.Listing) (api.Page[api.Key], error) {
		return api.ListKeys.Call(ctx, r.Client, api.ListKeysInput{Paging: paging(l)})
	})
	if err != nil {
		return err
	}
	err = r.answer(keys, func() {
		if len(keys.Data) == 0 {
			r.say(good, "leafward key create NAME --role operator"+r.where.flags(), "there are no API keys; on the socket none is needed")
			return
		}
		names, now := r.names(), time.Now()
		t := &table{head: []string{"NAME", "ROLE", "TEAM", "MADE", "LAST USED", "STATE"}, cut: []int{0, 2}}
		for _, k := range keys.Data {
			team := "all"
			if k.TeamID != "" {
				team = names.team(ctx, k.TeamID)
			}
			t.add(k.Name, k.Role, team, when(&k.CreatedAt, now), when(k.LastUsedAt, now), keyState(k, now))
		}
		r.print(t)
	})
	tell(r, "key", keys)
	return err
}

func keyState(k api.Key, now time.Time) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked " + distance(k.RevokedAt.Sub(now))
	case k.ExpiresAt != nil:
		return "expires " + distance(k.ExpiresAt.Sub(now))
	default:
		return "valid"
	}
}

type keyRevoke struct {
	asking
	Name string `arg:"" help:"Name or id of the key."`
}

// keyRevoked is what revoking answers in JSON.
type keyRevoked struct {
	Revoked string `json:"revoked"`
}

func (c *keyRevoke) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	if _, err := api.RevokeKey.Call(ctx, r.Client, api.KeyID{ID: c.Name}); err != nil {
		return err
	}
	return r.answer(keyRevoked{c.Name}, func() {
		r.say(good, "whoever used it needs another: leafward key create NAME --role ROLE"+r.where.flags(), "the key %s opens nothing any more", c.Name)
	})
}
