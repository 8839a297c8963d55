//go:build linux

package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a server may use for its fleet.
const (
	maxPoll  = 200 * time.Millisecond // for 99 of 100 polls
	maxFleet = 300 << 20              // bytes of memory
)

// Many agents, each on a connection of its own, poll for work; then half of them lose their connections and come back at once.
func TestAFleetPollsAndComesBackAtOnce(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R26", engineOf(dsn))
		f := &fleet{t: t, server: serve(t, dsn), every: time.Duration(sized(1, 30)) * time.Second, agents: make([]poller, sized(150, 2000))}
		f.enrol()
		if t.Failed() {
			return
		}
		steady := f.poll(2, func(int) bool { return false })
		back := f.poll(1, func(agent int) bool { return agent%2 == 0 })
		memory := f.server.memory(t, "VmRSS")
		d.measured("%d agents every %s: p99 %s, %s while half come back at once, %d MB of memory", len(f.agents), f.every, steady.Round(time.Millisecond/10), back.Round(time.Millisecond/10), memory>>20)
		if *long && max(steady, back) > maxPoll {
			t.Errorf("99 of 100 polls are answered within %s, and within %s while half come back; the limit is %s", steady, back, maxPoll)
		}
		if memory > maxFleet {
			t.Errorf("the server uses %d bytes; the limit is %d", memory, maxFleet)
		}
	})
}

// fleet is one run of the drill.
type fleet struct {
	t      *testing.T
	server *server
	every  time.Duration
	agents []poller
}

// poller is an agent that asks for work and has none.
type poller struct {
	id, key string
	over    *http.Transport
}

// enrol registers the agents.
func (f *fleet) enrol() {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(f.server.root(f.t))
	var working sync.WaitGroup
	for hand := range 8 {
		working.Go(func() {
			for i := hand; i < len(f.agents); i += 8 {
				a, err := f.server.admin.send(f.t.Context(), "POST", "/api/v1/agents", object{"name": fmt.Sprintf("host-%d", i)})
				if err != nil || a.status != http.StatusCreated {
					f.t.Errorf("%d: %d %v %s", i, a.status, err, a.body)
					return
				}
				f.agents[i] = poller{id: text(a.object(), "id"), key: text(a.object(), "api_key"), over: &http.Transport{
					TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true,
				}}
				f.t.Cleanup(f.agents[i].over.CloseIdleConnections)
			}
		})
	}
	working.Wait()
}

// poll has each agent ask some times, spread over the interval, or soon where it has lost its connection, as agents of ours
// do: after half a second to three. It returns within which time 99 of 100 were answered.
func (f *fleet) poll(times int, lost func(agent int) bool) time.Duration {
	var working sync.WaitGroup
	var mu sync.Mutex
	var waits []time.Duration
	begun := time.Now()
	for i := range f.agents {
		working.Go(func() {
			own := f.every * time.Duration(i) / time.Duration(len(f.agents))
			if lost(i) {
				f.agents[i].over.CloseIdleConnections()
				own = time.Second/2 + time.Duration(i)*5*time.Second/2/time.Duration(len(f.agents))
			}
			for n := range times {
				<-time.After(time.Until(begun.Add(own + time.Duration(n)*f.every)))
				at := time.Now()
				if err := f.agents[i].ask(f.t.Context(), f.server.url); err != nil {
					f.t.Errorf("agent %d: %v", i, err)
					return
				}
				mu.Lock()
				waits = append(waits, time.Since(at))
				mu.Unlock()
			}
		})
	}
	working.Wait()
	slices.Sort(waits)
	return waits[len(waits)*99/100]
}

// ask sends a heartbeat and looks for work.
func (p *poller) ask(ctx context.Context, url string) error {
	c := &client{base: url, key: p.key, http: &http.Client{Transport: p.over, Timeout: patience}}
	a, err := c.send(ctx, "POST", "/api/v1/agents/"+p.id+"/heartbeat", object{"hostname": "host", "version": "1"})
	if err == nil && a.status == http.StatusOK {
		a, err = c.send(ctx, "GET", "/api/v1/agents/"+p.id+"/work", nil)
	}
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%d %s", a.status, a.body)
	}
	return err
}

// memory is a figure of what the server has of the machine's, in bytes: VmRSS is what it keeps now, VmHWM the most so far.
func (s *server) memory(t *testing.T, figure string) int {
	t.Helper()
	most := memoryOf(s.cmd.Process.Pid, figure)
	if most == 0 {
		t.Fatal("its memory is not told")
	}
	return most
}

// memoryOf is such a figure of any process; 0 when it has ended.
func memoryOf(process int, figure string) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, figure+":"); found {
			kilobytes, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			return kilobytes << 10
		}
	}
	return 0
}
