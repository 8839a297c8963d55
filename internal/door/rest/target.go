package rest

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

func (s *server) targets(r *router) {
	bind(r, api.ListTargets, func(ctx context.Context, in api.ListTargetsInput) (api.Page[api.Target], error) {
		page, err := s.Fleet.Targets(ctx, in.Query(map[string]string{"name": in.Name, "team_id": in.TeamID, "type": in.Type, "agent_id": in.AgentID}))
		return api.PageOf(page, api.TargetOf), err
	})
	bind(r, api.CreateTarget, func(ctx context.Context, in api.Make[api.TargetWrite]) (api.Target, error) {
		config, err := configOf(in.Body.Config)
		if err != nil {
			return api.Target{}, err
		}
		t, err := s.Fleet.CreateTarget(ctx, writeTarget(in.Body), config)
		return api.TargetOf(&t), err
	})
	bind(r, api.GetTarget, func(ctx context.Context, in api.ByID) (api.Target, error) {
		t, err := s.Fleet.Target(ctx, in.ID)
		return api.TargetOf(&t), err
	})
	bind(r, api.UpdateTarget, func(ctx context.Context, in api.Update[api.TargetWrite]) (api.Target, error) {
		config, err := configOf(in.Body.Config)
		if err != nil {
			return api.Target{}, err
		}
		t, err := s.Fleet.UpdateTarget(ctx, in.ID, in.IfMatch, writeTarget(in.Body), config)
		return api.TargetOf(&t), err
	})
	bind(r, api.DeleteTarget, func(ctx context.Context, in api.ByID) (api.None, error) {
		return api.None{}, s.Fleet.DeleteTarget(ctx, in.ID, in.IfMatch)
	})
	bind(r, api.TestTargetConnection, func(ctx context.Context, in api.TargetID) (api.TargetTest, error) {
		done, err := s.Fleet.TestTarget(ctx, in.ID)
		out := api.TargetTest{Status: "failed", Message: done.Message, Steps: []api.TargetStep{}}
		if done.OK {
			out.Status = "success"
		}
		for _, step := range done.Steps {
			out.Steps = append(out.Steps, api.TargetStep{Name: step.Name, OK: step.OK, Message: step.Message})
		}
		return out, err
	})
}

// configOf is a sent configuration as JSON, nil when none was sent.
func configOf(in api.Opt[map[string]any]) (json.RawMessage, error) {
	if !in.Set {
		return nil, nil
	}
	if in.Null {
		return nil, invalid("config", "cannot be cleared: the type needs settings", "send the settings that are to change; null clears a single one")
	}
	return json.Marshal(in.Value)
}

// writeTarget applies what a client sent to a new or a stored target.
func writeTarget(in api.TargetWrite) func(*leafward.Target) error {
	return func(t *leafward.Target) error {
		var p leafward.Problems
		fresh := t.Revision == 0
		in.Check(&p, &t.Row, 0)
		in.TeamID.Apply(&t.Team)
		in.Name.Apply(&t.Name)
		if fresh {
			in.Type.Apply(&t.Type)
		} else if in.Type.Set && in.Type.Value != t.Type {
			p.Add("type", "cannot be changed", "make a new target of the other type")
		}
		in.AgentID.Apply(&t.Agent)
		if in.SecretsSet.Set && !slices.Equal(in.SecretsSet.Value, t.Secrets) {
			p.Add("secrets_set", "is set by the server", "leave it out, or send it back as it was answered")
		}
		if fresh {
			t.Enabled = true
		}
		in.Enabled.Or(true, &t.Enabled)
		return p.Err()
	}
}
