//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/leafward/leafward/api"
)

const (
	pollEvery   = 30 * time.Second
	pollTime    = 100 * time.Millisecond // for 99 of 100
	fleetMemory = 300 << 20
)

// measureFleet has many agents, each on a connection of its own, send a heartbeat and look for work, evenly over the time
// between two polls of one of them.
func measureFleet(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.polls(ctx, s)
	return []row{r}, errors.Join(err, s.stop())
}

func (b *bench) polls(ctx context.Context, s *server) (r row, err error) {
	b.tell("%d agents join", b.agents)
	agents := make([]*poller, b.agents)
	err = eachOf(8, len(agents), func(i int) (err error) {
		agents[i], err = s.enrol(ctx, i)
		return err
	})
	defer func() {
		for _, a := range agents {
			if a != nil {
				a.HTTP.CloseIdleConnections()
			}
		}
	}()
	if err != nil {
		return r, err
	}
	b.tell("%d agents poll for %s", b.agents, pollEvery)
	waits := make([]time.Duration, len(agents))
	begun, spent := time.Now(), s.cpu()
	err = eachOf(len(agents), len(agents), func(i int) error {
		if err := pause(ctx, time.Until(begun.Add(pollEvery*time.Duration(i)/time.Duration(len(agents))))); err != nil {
			return err
		}
		at := time.Now()
		err := agents[i].poll(ctx)
		waits[i] = time.Since(at)
		return err
	})
	if err != nil {
		return r, err
	}
	used, held := s.cpu()-spent, s.memory("VmRSS")
	slices.Sort(waits)
	l := load{waits: waits}
	return row{
		what: fmt.Sprintf("%d agents that poll every %s", b.agents, pollEvery), figure: fmt.Sprintf("p50 %s, p99 %s, %d MB", short(l.at(0.5)), short(l.at(0.99)), held>>20),
		cpu: used / time.Duration(len(agents)), goal: fmt.Sprintf("p99 ≤ 100 ms, %d MB", fleetMemory>>20), missed: l.at(0.99) > pollTime || held > fleetMemory,
	}, nil
}

// poller is an agent that has nothing to do.
type poller struct {
	id string
	*api.Client
}

// enrol registers an agent and has it poll once, which opens its connection.
func (s *server) enrol(ctx context.Context, n int) (*poller, error) {
	made, err := api.RegisterAgent.Call(ctx, s.Client, api.Make[api.AgentRegister]{Body: api.AgentRegister{Name: api.Some(fmt.Sprintf("host-%d", n))}})
	if err != nil {
		return nil, err
	}
	over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.trusted, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true, IdleConnTimeout: 10 * time.Minute}
	p := &poller{made.ID, &api.Client{Base: s.base, Key: made.APIKey, HTTP: &http.Client{Transport: over}}}
	return p, p.poll(ctx)
}

func (p *poller) poll(ctx context.Context) error {
	if _, err := api.AgentHeartbeat.Call(ctx, p.Client, api.HeartbeatInput{ID: p.id, Body: &api.Heartbeat{Hostname: api.Some("host"), Version: api.Some("1")}}); err != nil {
		return err
	}
	_, err := api.AgentGetWork.Call(ctx, p.Client, api.WorkInput{ID: p.id})
	return err
}

// eachOf does something once for each number below many, by so many hands. The first error of each hand ends its work.
func eachOf(hands, many int, do func(n int) error) error {
	var working sync.WaitGroup
	failed := make([]error, hands)
	for hand := range hands {
		working.Go(func() {
			for n := hand; n < many && failed[hand] == nil; n += hands {
				failed[hand] = do(n)
			}
		})
	}
	working.Wait()
	return errors.Join(failed...)
}
