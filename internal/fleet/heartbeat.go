package fleet

import (
	"context"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// beatEvery is how often at most a heartbeat that says nothing new is written.
const beatEvery = 10 * time.Second

// Heartbeat notes that an agent was heard and what it says of its host; clock, when not zero, is the time it is there.
func (s *Service) Heartbeat(ctx context.Context, id string, facts Facts, clock time.Time) error {
	var fresh bool
	err := s.db.View(ctx, func(v *store.View) error {
		a, err := acting(v, id)
		if err != nil {
			return err
		}
		heard := v.Now.Sub(a.LastHeartbeat)
		fresh = heard >= 0 && heard < beatEvery && told(a, facts) == a && steady(&a, skewOf(clock, v.Now))
		return nil
	})
	if err != nil || fresh {
		return err
	}
	return s.db.Write(ctx, func(tx *store.Tx) error {
		a, err := acting(&tx.View, id)
		if err != nil {
			return err
		}
		now := told(a, facts)
		if now != a {
			var p leafward.Problems
			now.CheckFacts(&p)
			if err := p.Err(); err != nil {
				return err
			}
			tx.PutAgent(&now)
		}
		tx.Beat(id, skewOf(clock, tx.Now))
		return nil
	})
}

// told is the agent with what a heartbeat says of it; what it leaves out stays.
func told(a leafward.Agent, f Facts) leafward.Agent {
	for to, value := range map[*string]string{&a.Hostname: f.Hostname, &a.OS: f.OS, &a.Architecture: f.Architecture, &a.IPAddress: f.IPAddress, &a.Version: f.Version} {
		if value != "" {
			*to = value
		}
	}
	a.Ours = f.Protocol == leafward.AgentProtocol
	return a
}

// skewOf is how many seconds the agent's clock is ahead; the way of the message counts as nothing.
func skewOf(clock, now time.Time) int64 {
	if clock.IsZero() {
		return 0
	}
	return int64(clock.Sub(now).Round(time.Second) / time.Second)
}

// steady tells whether the clock is on the same side of what is accepted as before.
func steady(a *leafward.Agent, skew int64) bool {
	off := func(s int64) bool { return (time.Duration(s) * time.Second).Abs() > leafward.MaxClockSkew }
	return off(a.ClockSkew) == off(skew)
}
