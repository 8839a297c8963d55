package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/plugin"
	"github.com/leafward/leafward/internal/store"
)

// MaxWait bounds one long poll.
const MaxWait = time.Minute

const (
	maxWork  = 100                   // items of one answer
	lookPace = time.Second           // between two looks for what became due or what another server wrote
	restPace = 20 * time.Millisecond // between two looks when much is being written
)

// Item is one thing an agent may take up.
type Item struct {
	leafward.Job
	About       leafward.Certificate // of an order, deployment or proof
	Key         leafward.KeyRule     // of an order: the key to make
	Target      leafward.Target
	Config      json.RawMessage // of the target, with its secrets and defaults
	Fingerprint string          // of the version to deploy or to see, SHA-256 in lower hex
}

// Work is what an agent may take up now. When there is nothing, it waits for something up to the given time. It never
// claims: two that ask get the same.
func (s *Service) Work(ctx context.Context, id string, wait time.Duration) (items []Item, err error) {
	end := time.Now().Add(min(wait, MaxWait))
	for {
		changed := s.db.Changed()
		if items, err = s.work(ctx, id); err != nil || len(items) > 0 || !time.Now().Before(end) {
			return items, err
		}
		if err := s.await(ctx, id, end, changed); err != nil {
			return nil, err
		}
		select {
		case <-leafward.Hurry(ctx):
			end = time.Time{}
		default:
		}
	}
}

// await returns when the agent may have something to hear, or at the end.
func (s *Service) await(ctx context.Context, id string, end time.Time, changed <-chan struct{}) error {
	for wait := lookPace; ; {
		pause := time.NewTimer(min(wait, time.Until(end)))
		select {
		case <-changed:
		case <-pause.C:
		case <-leafward.Hurry(ctx):
			end = time.Time{}
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
		pause.Stop()
		if !time.Now().Before(end) {
			return nil
		}
		changed = s.db.Changed()
		found, fresh, err := s.due.look(ctx, s.db, id)
		if err != nil || found {
			return err
		}
		wait = lookPace
		if !fresh {
			wait, changed = restPace, nil
		}
	}
}

// glance is one look at who has work, or was retired lately, shared by all agents that wait.
type glance struct {
	mu     sync.Mutex
	stale  <-chan struct{} // closed by the next commit after the look
	at     time.Time
	agents map[string]bool
}

// look tells whether the agent has something to hear. It looks again when something was committed since, but not more
// often than every restPace: then fresh is false, and the caller asks again.
func (g *glance) look(ctx context.Context, db *store.DB, id string) (found, fresh bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	age := time.Since(g.at)
	old := g.stale == nil || age >= lookPace
	if !old {
		select {
		case <-g.stale:
			if old = age >= restPace; !old {
				return g.agents[id], false, nil
			}
		default:
		}
	}
	if old {
		stale := db.Changed()
		err := db.View(leafward.WithActor(ctx, leafward.System("work")), func(v *store.View) (err error) {
			g.agents, err = v.AgentsToTell(v.Now.Add(-2 * MaxWait))
			return err
		})
		if err != nil {
			return false, false, err
		}
		g.stale, g.at = stale, time.Now()
	}
	return g.agents[id], true, nil
}

// work reads what the agent may take up now.
func (s *Service) work(ctx context.Context, id string) (items []Item, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		items = []Item{}
		a, err := acting(v, id)
		if err != nil {
			return err
		}
		jobs, err := v.AgentWork(id, maxWork)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if !fits(&a, &j) {
				continue
			}
			item, ok, err := s.item(v, j)
			if err != nil {
				return fmt.Errorf("work item of job %s: %w", j.ID, err)
			}
			if ok {
				items = append(items, item)
			}
		}
		return nil
	})
	return items, err
}

// fits tells whether the agent understands the job: of another make, it knows CSRs and deployments only.
func fits(a *leafward.Agent, j *leafward.Job) bool {
	switch j.Kind {
	case leafward.OrderJob:
		return j.Status == leafward.JobAwaitingCSR
	case leafward.DeployJob:
		return j.Status != leafward.JobAwaitingCSR
	case leafward.ProveJob, leafward.CheckJob:
		return a.Ours && j.Status != leafward.JobAwaitingCSR
	case leafward.RootJob:
	}
	return false
}

// item reads everything the agent needs for a job; ok is false while the job cannot be worked: its target is switched
// off, or what it is about is gone.
func (s *Service) item(v *store.View, j leafward.Job) (item Item, ok bool, err error) {
	item.Job = j
	if j.Certificate != "" {
		c, found, err := v.CertificateOfAny(j.Certificate)
		if err != nil || !found {
			return item, false, err
		}
		item.About = c
	}
	if j.Kind == leafward.OrderJob {
		item.Key = leafward.KeyRule{Algorithm: item.About.Algorithm, MinSize: item.About.Size}
		if item.Key.Algorithm == "" {
			profile, found, err := v.ProfileOfAny(item.About.Profile)
			if err != nil || !found {
				return item, false, err
			}
			item.Key.Algorithm, item.Key.MinSize = profile.FirstKey()
		}
		return item, true, nil
	}
	if j.Version != "" {
		version, found, err := v.VersionOfAny(j.Version)
		if err != nil || !found {
			return item, false, err
		}
		item.Fingerprint = version.SHA256
	}
	t, found, err := v.TargetOfAny(j.Target)
	if err != nil || !found || !t.Enabled && j.Kind == leafward.DeployJob {
		return item, false, err
	}
	item.Target = t
	if item.Config, err = s.whole(&t); err != nil {
		return item, false, err
	}
	kind, err := s.plugin(t.Type)
	if err != nil {
		return item, false, err
	}
	item.Config, err = plugin.Complete(item.Config, kind.Config)
	return item, err == nil, err
}

// slotOf is whose key an order is for.
func slotOf(j *leafward.Job) string {
	_, slot, _ := strings.Cut(j.Subject, "/")
	return slot
}

// whole is a target's configuration with its secrets.
func (s *Service) whole(t *leafward.Target) (json.RawMessage, error) {
	if len(t.Sealed) == 0 {
		return t.Config, nil
	}
	hidden, err := s.master.Open(sealedAt(t.ID), t.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(hidden)
	return plugin.Merge(t.Config, hidden)
}

func sealedAt(id string) keys.Context {
	return keys.Context{Table: "targets", Column: "sealed", Row: id}
}
