//go:build testhooks

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/hook"
)

// clockFlag says where the clock of the server starts.
type clockFlag struct {
	StartAt string `name:"clock" placeholder:"TIME" help:"Start with the clock at this time (RFC 3339)."`
}

func (c clockFlag) start() string { return c.StartAt }

// pointFlag breaks what has no socket to ask: an agent, and a server that starts.
type pointFlag struct {
	Failpoint []string `name:"failpoint" sep:"none" placeholder:"NAME=ACTION" help:"Set an action on a failpoint from the start on: of an agent a step of a swap, such as rename=after:1,kill, of a server one such as store.migrated-15=kill. Can be repeated."`
}

// points are the failpoints with these actions.
func (p pointFlag) points() (*hook.Points, error) {
	points := hook.NewPoints()
	for _, text := range p.Failpoint {
		name, action, _ := strings.Cut(text, "=")
		if err := points.Set(name, action); err != nil {
			return nil, err
		}
	}
	return points, nil
}

// hookCommands move the time of a running server and break it.
type hookCommands struct {
	Clock struct {
		Advance advanceCommand `cmd:"" help:"Move the clock on."`
		Set     setCommand     `cmd:"" help:"Move the clock to a time."`
		Show    showCommand    `cmd:"" help:"Show the clock."`
	} `cmd:"" help:"Move the server's clock." group:"Test builds only:"`
	Failpoint struct {
		Set  failCommand  `cmd:"" help:"Set an action on a failpoint; none clears it."`
		List pointCommand `cmd:"" help:"List the failpoints that are set."`
	} `cmd:"" help:"Break the server at named points." group:"Test builds only:"`
}

// atServer says which server is meant.
type atServer struct {
	DataDir string `name:"data-dir" env:"LEAFWARD_DATA_DIR" placeholder:"DIR" help:"The data directory of the server."`
}

type advanceCommand struct {
	atServer
	By string `arg:"" help:"How far, such as 24h."`
}

// Run is called by kong.
func (c *advanceCommand) Run(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "clock", map[string]string{"advance": c.By})
}

type setCommand struct {
	atServer
	To string `arg:"" help:"A time in RFC 3339."`
}

// Run is called by kong.
func (c *setCommand) Run(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "clock", map[string]string{"set": c.To})
}

type showCommand struct{ atServer }

// Run is called by kong.
func (c *showCommand) Run(ctx context.Context) error { return c.ask(ctx, http.MethodGet, "clock", nil) }

type failCommand struct {
	atServer
	Name   string `arg:"" help:"Name of the failpoint."`
	Action string `arg:"" optional:"" help:"[after:N,][N*]error[:TEXT], kill, exit:CODE, sleep:DURATION, block or panic."`
}

// Run is called by kong.
func (c *failCommand) Run(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "failpoint", map[string]string{"name": c.Name, "action": c.Action})
}

type pointCommand struct{ atServer }

// Run is called by kong.
func (c *pointCommand) Run(ctx context.Context) error {
	return c.ask(ctx, http.MethodGet, "failpoint", nil)
}

// ask sends one request to the hooks of the server and prints the answer.
func (s atServer) ask(ctx context.Context, method, what string, in map[string]string) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://leafward/testhooks/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	socket := s.socket()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	response, err := client.Do(request)
	if err != nil {
		return leafward.Errorf(leafward.Later, "start a test build there: `leafward-testhooks serve`, or name another with --data-dir", "no server answers at %s", socket)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return leafward.Errorf(leafward.NotFound, "start a test build there: `leafward-testhooks serve`", "the server at %s is a release, which has no test hooks", socket)
	default:
		return leafward.Errorf(leafward.Invalid, "`leafward "+strings.TrimSuffix(what, "s")+" --help` shows how it is written", "%s", strings.TrimSpace(string(text)))
	}
	_, err = os.Stdout.Write(text)
	return err
}

// socket is where the server listens.
func (s atServer) socket() string {
	dir := s.DataDir
	if dir == "" {
		dir = config.DefaultDataDir
	}
	if text, err := os.ReadFile(filepath.Join(dir, "socket.path")); err == nil {
		return strings.TrimSpace(string(text))
	}
	return filepath.Join(dir, "leafward.sock")
}
