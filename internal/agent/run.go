package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/nginx"
)

// Pace is how often an agent does what it does again and again. Waits are spread by a random part.
type Pace struct {
	Heartbeat time.Duration // between two heartbeats
	Poll      time.Duration // how long the server may hold back its answer while there is no work
	Pause     time.Duration // before asking again when all the work there is cannot be done yet
	Lease     time.Duration // how long a job is the agent's, renewed at a third of it
	First     time.Duration // wait after the first failure, doubled with each
	Longest   time.Duration // longest wait after a failure
	Drain     time.Duration // how long work under way may go on after the agent was told to stop
}

// DefaultPace is the pace of the product.
func DefaultPace() Pace {
	return Pace{
		Heartbeat: 30 * time.Second, Poll: 50 * time.Second, Pause: 2 * time.Second, Lease: 30 * time.Second,
		First: time.Second, Longest: time.Minute, Drain: 45 * time.Second,
	}
}

// atOnce is how many jobs an agent works at the same time.
const atOnce = 4

// Config is what an agent is made of.
type Config struct {
	Dir           string   // data directory
	AllowPaths    []string // nil: as kept when it joined
	AllowCommands []string // nil: as kept when it joined
	Version       string   // of this program
	Pace          Pace
	Plugins       []target.Plugin
	Log           *slog.Logger
	At            func(step string) error // for tests, called before each step as target.NewFiles calls it; may be nil
}

// Plugins are the kinds of targets that are built in.
func Plugins() []target.Plugin { return []target.Plugin{nginx.Plugin()} }

// Agent is a joined agent, ready to run.
type Agent struct {
	Identity
	version string
	pace    Pace
	log     *slog.Logger
	dir     *dir
	link    *link
	ring    *keyring
	files   *target.Files
	plugins map[string]target.Plugin
	desk    *desk
	at      func(step string) error
}

// Open takes hold of a data directory that holds an agent. The caller closes it.
func Open(c Config) (*Agent, error) {
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, notJoined(c.Dir)
	}
	d, err := openDir(c.Dir)
	if err != nil {
		return nil, err
	}
	a, err := open(c, d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return a, nil
}

func open(c Config, d *dir) (*Agent, error) {
	identity, err := d.get()
	if err != nil {
		return nil, err
	}
	if c.At == nil {
		c.At = func(string) error { return nil }
	}
	if c.AllowPaths != nil {
		identity.AllowPaths = c.AllowPaths
	}
	if c.AllowCommands != nil {
		identity.AllowCommands = c.AllowCommands
	}
	rules, err := target.NewRules(d.path, identity.AllowPaths, identity.AllowCommands)
	if err != nil {
		return nil, err
	}
	if err := makeDir(d.file("swaps")); err != nil {
		return nil, err
	}
	files, err := target.NewFiles(d.file("swaps"), rules, c.At)
	if err != nil {
		return nil, explain("make the directory "+d.file("swaps"), err)
	}
	ring, err := openKeyring(d.file("keys"))
	if err != nil {
		return nil, err
	}
	plugins := make(map[string]target.Plugin)
	for _, p := range c.Plugins {
		plugins[p.Type] = p
	}
	return &Agent{
		Identity: identity, version: c.Version, pace: c.Pace, log: c.Log, dir: d, ring: ring, files: files, plugins: plugins,
		link: &link{client: pinned(identity.Server, identity.Root, identity.Key, c.Version), id: identity.ID},
		desk: newDesk(c.Pace), at: c.At,
	}, nil
}

// Close gives the data directory back.
func (a *Agent) Close() error {
	a.link.client.HTTP.CloseIdleConnections()
	return a.dir.Close()
}

// Rules are what the host lets this agent do.
func (a *Agent) Rules() target.Rules { return a.files.Rules() }

// errRetired ends an agent that the server does not know any more.
var errRetired = errors.New("the agent is retired")

// Run works until the context ends, then finishes what is under way; or until the server says that the agent is retired.
// Both are no error.
func (a *Agent) Run(ctx context.Context) error {
	a.log.InfoContext(ctx, "the agent runs", "agent", a.ID, "name", a.Name, "server", a.Server, "root_sha256", a.RootSHA256(),
		"may_write", a.Rules().Paths(), "may_run", a.Rules().Commands())
	if err := a.files.Recover(ctx, a.told(ctx)); err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "a change that was interrupted could not be brought to its end", "error", advised(err))
	}
	stopping, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var loops sync.WaitGroup
	loops.Go(func() { a.beats(stopping, stop) })
	a.poll(stopping, work, stop)
	stop(nil)
	loops.Wait()
	if a.desk.busy() > 0 {
		a.log.InfoContext(ctx, "finishing the work under way", "jobs", a.desk.busy())
	}
	late := time.AfterFunc(a.pace.Drain, cut)
	defer late.Stop()
	a.desk.wait()
	if errors.Is(context.Cause(stopping), errRetired) {
		a.log.WarnContext(ctx, "the server has retired this agent: there is nothing left to do", "agent", a.ID)
	}
	return nil
}

// told writes into the log what a target or a recovery does.
func (a *Agent) told(ctx context.Context) func(target.Step) {
	return func(step target.Step) {
		level := slog.LevelInfo
		if !step.OK {
			level = slog.LevelWarn
		}
		a.log.Log(ctx, level, step.Message, "step", step.Name)
	}
}

// poll asks for work and hands it out until the context ends.
func (a *Agent) poll(ctx, work context.Context, stop context.CancelCauseFunc) {
	trouble := a.newTrouble("the server cannot be asked for work")
	for ctx.Err() == nil {
		items, err := a.link.work(ctx, a.pace.Poll)
		switch {
		case ctx.Err() != nil:
			return
		case leafward.KindOf(err) == leafward.Gone:
			stop(errRetired)
			return
		case err != nil:
			trouble.wait(ctx, err)
			continue
		}
		trouble.over(ctx)
		if a.handOut(ctx, work, items) == 0 && len(items) > 0 {
			a.desk.pause(ctx)
		}
	}
}

// handOut starts the jobs that can be started, and tells how many.
func (a *Agent) handOut(ctx, work context.Context, items []item) (started int) {
	for _, item := range items {
		free, ok := a.desk.take(item.ID)
		if !ok {
			continue
		}
		started++
		go func() {
			err := a.workOn(work, ctx.Done(), item)
			if err != nil && !errors.Is(err, errLeft) {
				a.log.WarnContext(ctx, "a job came to nothing", "job", item.ID, "certificate", item.CertificateID, "error", advised(err))
			}
			free(err)
		}()
	}
	return started
}

// beats says until the context ends that the agent lives.
func (a *Agent) beats(ctx context.Context, stop context.CancelCauseFunc) {
	trouble, log := a.newTrouble("the server does not hear this agent"), a.newWitness()
	for ctx.Err() == nil {
		checkpoint, err := a.link.heartbeat(ctx, hostFacts(ctx, a.Server, a.version))
		switch {
		case ctx.Err() != nil:
			return
		case leafward.KindOf(err) == leafward.Gone:
			stop(errRetired)
			return
		case err != nil:
			trouble.wait(ctx, err)
			continue
		}
		trouble.over(ctx)
		log.hear(ctx, checkpoint)
		rest(ctx, spread(a.pace.Heartbeat))
	}
}

// ownAddress is the address of this host that leads to the server, "" when it cannot be told. Nothing is sent.
func ownAddress(ctx context.Context, server string) string {
	host := server[len("https://"):]
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, "443")
	}
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "udp", host)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if address, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		return address.AddrPort().Addr().WithZone("").Unmap().String()
	}
	return ""
}

// trouble is something that fails again and again: it is told once for each reason, and tried again after growing waits.
type trouble struct {
	agent *Agent
	what  string
	last  string
	n     int
}

func (a *Agent) newTrouble(what string) *trouble { return &trouble{agent: a, what: what} }

// wait tells of an error that is not the last one again, and waits.
func (t *trouble) wait(ctx context.Context, err error) {
	if text := advised(err); text != t.last {
		t.agent.log.WarnContext(ctx, t.what+"; trying again", "error", text)
		t.last = text
	}
	rest(ctx, t.agent.pace.comeback(t.n, err))
	t.n++
}

// over tells that it is well again.
func (t *trouble) over(ctx context.Context) {
	if t.n > 0 {
		t.agent.log.InfoContext(ctx, "the server answers again", "failures", t.n)
	}
	t.n, t.last = 0, ""
}

// comeback is how long to wait after n failures to reach the server before this one, at least as long as it asked for. It
// lies between a half and three times First, doubled with each failure: of a fleet that lost its server at one moment, each
// agent comes back at another, since two thousand greetings of TLS at once keep a small server busy for seconds.
func (p Pace) comeback(n int, err error) time.Duration {
	d := min(p.First<<min(n, 16), p.Longest/3)
	return p.asked(d/2+rand.N(d*5/2+1), err)
}

// backoff is how long to leave alone what failed n times before, at least as long as the other side asked for.
func (p Pace) backoff(n int, err error) time.Duration {
	return p.asked(spread(min(p.First<<min(n, 16), p.Longest)), err)
}

// asked is the wait, or the longer one that an answer asks for.
func (p Pace) asked(d time.Duration, err error) time.Duration {
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		d = max(d, min(e.After, p.Longest))
	}
	return d
}

// spread is a duration between three quarters and five quarters of the given one, so that many agents do not come at once.
func spread(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }

// rest waits, at most until the context ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// advised is an error with its next step.
func advised(err error) string {
	if e, ok := errors.AsType[*leafward.Error](err); ok && e.Fix != "" {
		return e.Error() + " (" + e.Fix + ")"
	}
	return err.Error()
}
