package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/plugin"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/target"
)

// Targets lists targets.
func (s *Service) Targets(ctx context.Context, q leafward.Query) (leafward.List[leafward.Target], error) {
	return store.Targets().List(ctx, s.db, q)
}

// Target reads one target.
func (s *Service) Target(ctx context.Context, id string) (leafward.Target, error) {
	return store.Targets().Get(ctx, s.db, id)
}

// CreateTarget makes a target of what fill writes and of a configuration.
func (s *Service) CreateTarget(ctx context.Context, fill func(*leafward.Target) error, config json.RawMessage) (leafward.Target, error) {
	return store.Targets().Create(ctx, s.db, s.write(fill, config), s.checkTarget)
}

// UpdateTarget changes a target. The configuration, nil to leave it alone, is laid over the stored one, one level deep. It
// takes effect with the next deployment.
func (s *Service) UpdateTarget(ctx context.Context, id, match string, change func(*leafward.Target) error, config json.RawMessage) (leafward.Target, error) {
	return store.Targets().Update(ctx, s.db, id, match, s.write(change, config), func(tx *store.Tx, t *leafward.Target) error {
		return s.checkTarget(tx, t)
	})
}

// DeleteTarget removes a target that nothing refers to.
func (s *Service) DeleteTarget(ctx context.Context, id, match string) error {
	return store.Targets().Delete(ctx, s.db, id, match, nil)
}

// write applies a change and the configuration that came with it.
func (s *Service) write(change func(*leafward.Target) error, config json.RawMessage) func(*leafward.Target) error {
	return func(t *leafward.Target) error {
		var p leafward.Problems
		if err := p.Merge(change(t)); err != nil {
			return err
		}
		if t.Type == "" {
			return p.Err() // told by Validate
		}
		kind, err := s.plugin(t.Type)
		if err != nil {
			return err
		}
		if t.ID == "" {
			t.ID = store.NewID("tgt")
		}
		if config == nil && len(t.Config) > 0 {
			return p.Err()
		}
		if err := p.Merge(s.configure(t, kind, config)); err != nil {
			return err
		}
		return p.Err()
	}
}

// plugin is the built-in type of target of a name.
func (s *Service) plugin(name string) (target.Plugin, error) {
	var built []string
	for _, p := range s.plugins {
		if p.Type == name {
			return p, nil
		}
		built = append(built, p.Type)
	}
	return target.Plugin{}, leafward.CheckType("target", name, leafward.TargetTypes(), built)
}

// configure lays a configuration over the target's own, has the plugin check the whole, and seals what is secret.
func (s *Service) configure(t *leafward.Target, kind target.Plugin, change json.RawMessage) error {
	old, err := s.whole(t)
	if err != nil {
		return err
	}
	merged, err := plugin.Merge(old, change)
	if err != nil {
		return err
	}
	if err := kind.Parse(merged); err != nil {
		return below("config", err)
	}
	open, hidden, set, err := plugin.Split(merged, kind.Config)
	if err != nil {
		return err
	}
	_, before, _, err := plugin.Split(old, kind.Config)
	if err != nil {
		return err
	}
	if !alike(t.Config, open) {
		t.Config = open
	}
	switch {
	case len(set) == 0:
		t.Sealed, t.Secrets = nil, []string{}
	case len(t.Sealed) == 0 || !bytes.Equal(before, hidden):
		t.Sealed, t.Secrets = s.master.Seal(sealedAt(t.ID), hidden), set
	}
	return nil
}

// alike tells whether two JSON values say the same.
func alike(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// below names fields by the property that they are in.
func below(property string, err error) error {
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok {
		return err
	}
	fields := slices.Clone(e.Fields)
	for i := range fields {
		if fields[i].Field != property {
			fields[i].Field = property + "." + fields[i].Field
		}
	}
	return &leafward.Error{Kind: e.Kind, Message: e.Message, Fix: e.Fix, Fields: fields}
}

// checkTarget holds the rules between a target, its team, its agent and what is installed there.
func (s *Service) checkTarget(tx *store.Tx, t *leafward.Target) error {
	if t.Team == "" && t.Revision == 0 && len(tx.Actor.Teams) == 1 {
		t.Team = tx.Actor.Teams[0]
	}
	var p leafward.Problems
	if err := p.Merge(tx.CheckTeam("target", t.ID, t.Team)); err != nil {
		return err
	}
	if err := p.Merge(checkAgent(tx, t)); err != nil {
		return err
	}
	if err := p.Err(); err != nil {
		return err
	}
	before, found, err := tx.TargetOfAny(t.ID)
	if err != nil {
		return err
	}
	if !found || before.Agent != t.Agent || before.Enabled != t.Enabled || !alike(before.Config, t.Config) {
		if err := s.checkFiles(tx, t); err != nil {
			return err
		}
	}
	if !found || t.Revision == 0 || before.Agent == t.Agent {
		return nil
	}
	counts, err := tx.References("target", t.ID)
	if err == nil && len(counts) > 0 {
		err = &leafward.Error{Kind: leafward.Conflict, Message: "certificates are bound to the target, and their keys are with the agent " + before.Agent, Fix: "unbind them first (PUT target_ids), move the target, and bind them again", Counts: counts}
	}
	return err
}

// checkFiles refuses files that another target of the agent writes: each would overwrite the other's certificate. A target
// that is switched off writes nothing.
func (s *Service) checkFiles(tx *store.Tx, t *leafward.Target) error {
	if !t.Enabled || t.Agent == "" {
		return nil
	}
	others, err := tx.TargetsOfAgent(t.Agent)
	if err != nil {
		return err
	}
	written := make(map[string]string)
	for _, other := range others {
		if other.ID == t.ID || !other.Enabled {
			continue
		}
		name := other.Name
		if !tx.Actor.Sees(other.Team) {
			name = "of another team"
		}
		for _, path := range s.files(&other) {
			written[path] = name
		}
	}
	var p leafward.Problems
	own := s.files(t)
	for _, property := range slices.Sorted(maps.Keys(own)) {
		if other, taken := written[own[property]]; taken && own[property] != "" {
			p.Add("config."+property, fmt.Sprintf("is %s, which the target %s writes on the same host", own[property], other), "give it another file, or bind the certificate to that target")
		}
	}
	return p.Err()
}

// files are the paths that a target writes, by the property that names them.
func (s *Service) files(t *leafward.Target) map[string]string {
	kind, err := s.plugin(t.Type)
	if err != nil || kind.Files == nil {
		return nil
	}
	return kind.Files(t.Config)
}

// checkAgent refuses an agent that cannot serve the target.
func checkAgent(tx *store.Tx, t *leafward.Target) error {
	if t.Agent == "" {
		return nil // told by Validate
	}
	var p leafward.Problems
	a, err := tx.Agent(t.Agent)
	switch {
	case leafward.KindOf(err) == leafward.NotFound:
		p.Add("agent_id", fmt.Sprintf("names the agent %.130q, which does not exist", t.Agent), "`leafward agent list` shows them")
	case err != nil:
		return err
	case a.Sentinel():
		p.Add("agent_id", "is not an agent on a host, and a target of type "+t.Type+" is a program on one", "name the agent on that host")
	case !a.RetiredAt.IsZero():
		p.Add("agent_id", "names an agent that is retired", "name one that is not; `leafward agent list` shows them")
	case a.Team != "" && a.Team != t.Team:
		p.Add("agent_id", "names an agent of the team "+a.Team+" alone", "give the target to that team, or name an agent that all teams share")
	}
	return p.Err()
}

// Tested is what a dry run found.
type Tested struct {
	OK      bool
	Message string
	Steps   []leafward.Step
}

// testTime is how long the agent may take for a dry run.
const testTime = 30 * time.Second

// TestTarget has the target's agent try a deployment without changing anything that lasts.
func (s *Service) TestTarget(ctx context.Context, id string) (out Tested, err error) {
	var j leafward.Job
	var agent string
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		out, j = Tested{}, leafward.Job{}
		t, err := store.Targets().Read(&tx.View, id)
		if err != nil {
			return err
		}
		a, err := tx.Agent(t.Agent)
		if err != nil {
			return err
		}
		agent = a.Name
		if out.Message = silent(&a, tx.Now); out.Message != "" {
			return nil
		}
		j = leafward.Job{Kind: leafward.CheckJob, Subject: t.ID, Team: t.Team, Target: t.ID, Agent: a.ID, MaxAttempts: 1, Deadline: tx.Now.Add(testTime), WaitingFor: "the agent " + a.ID}
		_, err = job.Enqueue(tx, &j)
		return err
	})
	if err != nil || j.ID == "" {
		return out, err
	}
	return s.tested(ctx, j, agent)
}

// silent says why an agent cannot be asked for a dry run, "" when it can.
func silent(a *leafward.Agent, now time.Time) string {
	switch {
	case !a.RetiredAt.IsZero():
		return "the agent " + a.Name + " is retired: move the target to another agent"
	case a.Status(now) == "Offline" && a.LastHeartbeat.IsZero():
		return "the agent " + a.Name + " was never heard: start it on the target's host"
	case a.Status(now) == "Offline":
		return fmt.Sprintf("the agent %s was not heard since %s: start it on the target's host", a.Name, a.LastHeartbeat.UTC().Format(time.RFC3339))
	case !a.Ours:
		return "the agent " + a.Name + " is online, but of another make: only a leafward agent can try a deployment without making it"
	}
	return ""
}

// tested waits for the dry run of an agent, by its name, and tells what it found. One that takes too long is cancelled.
func (s *Service) tested(ctx context.Context, j leafward.Job, agent string) (out Tested, err error) {
	j, err = s.Settled(ctx, j.ID, testTime)
	if err != nil {
		return out, err
	}
	if j.Status.Open() {
		err = s.db.Write(ctx, func(tx *store.Tx) error {
			now, _, err := tx.JobOfAny(j.ID)
			if err == nil && now.Status.Open() {
				now.Deadline = tx.Now
				err = s.engine.Cancel(tx, &now, "the server, since the agent did not answer in time")
			}
			j = now
			return err
		})
		if err != nil {
			return out, err
		}
	}
	err = s.db.View(ctx, func(v *store.View) error {
		out.Steps, err = v.Steps(j.ID)
		return err
	})
	out.OK = j.Status == leafward.JobCompleted
	switch {
	case out.OK:
		out.Message = "the agent " + agent + " could deploy to this target"
	case j.Status == leafward.JobCancelled, j.StartedAt.IsZero():
		out.Message = fmt.Sprintf("the agent %s did not answer within %s", agent, testTime)
	default:
		out.Message = j.LastError
	}
	return out, err
}
