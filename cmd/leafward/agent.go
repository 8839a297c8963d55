package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/leafward/leafward/internal/agent"
	"github.com/leafward/leafward/internal/cli"
)

// agentCommands are the commands of a host's agent.
type agentCommands struct {
	Join joinCommand `cmd:"" help:"Make this host known to a server, with the command that an invitation prints."`
	Run  runCommand  `cmd:"" help:"Work for the server on this host: make keys, deploy certificates, look at what is served."`

	cli.Agents
}

// agentVars fill in what the help of the commands depends on.
func agentVars() kong.Vars { return kong.Vars{"agent_dir": agent.DefaultDir()} }

// agentFlags are what join and run share.
type agentFlags struct {
	DataDir      string   `name:"data-dir" placeholder:"DIR" help:"Where the agent keeps who it is and its keys (by default ${agent_dir})."`
	AllowPath    []string `name:"allow-path" sep:"none" placeholder:"DIR" help:"Let the agent write certificates and keys below this directory too. Can be repeated."`
	AllowCommand []string `name:"allow-command" sep:"none" placeholder:"COMMAND" help:"Let the agent run exactly this command line too. Can be repeated."`
}

func (f agentFlags) dir() string {
	if f.DataDir == "" {
		return agent.DefaultDir()
	}
	return f.DataDir
}

// joinCommand makes this host known to a server.
type joinCommand struct {
	Server string `arg:"" name:"url" help:"Address of the server, such as https://leafward.example.com:8443."`
	Token  string `required:"" placeholder:"LWA-…" help:"One-time token of an invitation; - reads it from standard input."`
	Root   string `required:"" placeholder:"SHA256" help:"SHA-256 of the server's root certificate: the agent trusts no other."`
	Name   string `placeholder:"NAME" help:"Name of the agent, where the invitation has none (by default the name of this host)."`
	Force  bool   `help:"Join again in place of the agent that the data directory holds. Its keys stay."`
	JSON   bool   `name:"json" help:"Answer and fail in JSON."`
	agentFlags
}

// joined is what joining answers in JSON.
type joined struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Server     string   `json:"server"`
	RootSHA256 string   `json:"root_sha256"`
	MayWrite   []string `json:"may_write"`
	MayRun     []string `json:"may_run"`
	Next       string   `json:"next"`
}

// Help is shown below the flags.
func (*joinCommand) Help() string {
	return "`leafward agent invite` on the server prints this command with its token and SHA-256. The paths and commands that are allowed here are kept, so that `agent run` needs no flags."
}

// Run is called by kong.
func (c *joinCommand) Run(ctx context.Context, s *cli.Session) error {
	token := c.Token
	if token == "-" {
		text, err := io.ReadAll(io.LimitReader(s.In, 1<<10))
		if err != nil {
			return err
		}
		token = strings.TrimSpace(string(text))
	}
	made, err := agent.Join(ctx, agent.Joining{
		Server: c.Server, Token: token, RootSHA256: c.Root, Name: c.Name, Dir: c.dir(),
		AllowPaths: c.AllowPath, AllowCommands: c.AllowCommand, Force: c.Force, Version: version,
	})
	if err != nil {
		return err
	}
	next := "leafward agent run"
	if c.DataDir != "" {
		next += " --data-dir " + cli.Quoted(c.DataDir)
	}
	if c.JSON {
		e := json.NewEncoder(s.Out)
		e.SetIndent("", "  ")
		return e.Encode(joined{made.ID, made.Name, made.Server, made.RootSHA256(), made.Rules.Paths(), made.Rules.Commands(), next})
	}
	_, err = fmt.Fprintf(s.Out, "✔ %s joined %s (id %s)\n  it may write below %s\n  it may run         %s\nNext: %s\n",
		made.Name, made.Server, made.ID, strings.Join(made.Rules.Paths(), ", "), strings.Join(made.Rules.Commands(), " · "), next)
	return err
}

// runCommand works for the server that the agent has joined.
type runCommand struct {
	JSON bool `name:"json" help:"Write the log as JSON."`
	agentFlags
	pointFlag
}

// Help is shown below the flags.
func (*runCommand) Help() string {
	return "--allow-path and --allow-command given here win: each, if given at all, takes the place of all of its kind that were given to `agent join`. SIGTERM ends the agent after the work under way. It ends by itself, with success, when the server has retired it."
}

// Run is called by kong.
func (c *runCommand) Run(ctx context.Context) error {
	var handler slog.Handler = slog.NewTextHandler(os.Stderr, nil)
	if c.JSON {
		handler = slog.NewJSONHandler(os.Stderr, nil)
	}
	points, err := c.points()
	if err != nil {
		return err
	}
	a, err := agent.Open(agent.Config{
		Dir: c.dir(), AllowPaths: c.AllowPath, AllowCommands: c.AllowCommand, Version: version, Pace: agent.DefaultPace(),
		Plugins: agent.Plugins(), Log: slog.New(handler), At: points.Hit,
	})
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Run(ctx)
}
