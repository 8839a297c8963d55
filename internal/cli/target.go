package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/leafward/leafward/api"
)

type targetCommands struct {
	Add    targetAdd    `cmd:"" help:"Say where certificates are installed."`
	List   targetList   `cmd:"" help:"List targets."`
	Test   targetTest   `cmd:"" help:"Have the target's agent try a deployment without changing anything."`
	Remove targetRemove `cmd:"" help:"Remove a target that no certificate is bound to."`
}

type targetAdd struct {
	asking
	Name      string `arg:"" help:"Name of the target."`
	Type      string `required:"" placeholder:"TYPE" help:"Type of the server program, such as nginx."`
	Agent     string `required:"" placeholder:"NAME" help:"Agent on its host."`
	Team      string `placeholder:"TEAM" help:"Team that the target belongs to; none: all teams share it."`
	Config    string `placeholder:"FILE" help:"Settings of the type as a JSON object; - for standard input. The flags below win over it."`
	CertPath  string `placeholder:"FILE" help:"Where the certificate goes on that host, with its chain unless --chain-path is given."`
	KeyPath   string `placeholder:"FILE" help:"Where the private key goes."`
	ChainPath string `placeholder:"FILE" help:"Where the chain goes, when it is a file of its own."`
	Reload    string `placeholder:"COMMAND" help:"What makes the program take the files up; the agent's own list must allow it."`
	Validate  string `placeholder:"COMMAND" help:"What tests the program's configuration before; the agent's own list must allow it."`
	Address   string `placeholder:"HOST:PORT" help:"Where the certificate is seen being served."`
	Hostname  string `placeholder:"NAME" help:"Name to ask for there (SNI); the certificate's first host name unless said otherwise."`
}

func (c *targetAdd) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	config, err := c.config(s)
	if err != nil {
		return err
	}
	agent, err := r.agent(ctx, c.Agent)
	if err != nil {
		return err
	}
	team, err := r.team(ctx, c.Team)
	if err != nil {
		return err
	}
	kind, err := r.targetType(ctx, c.Type)
	if err != nil {
		return err
	}
	body := api.TargetWrite{Name: api.Some(c.Name), Type: api.Some(kind), AgentID: api.Some(agent), Config: api.Some(config)}
	if team != "" {
		body.TeamID = api.Some(team)
	}
	made, err := api.CreateTarget.Call(ctx, r.Client, api.Make[api.TargetWrite]{Body: body})
	if err != nil {
		return err
	}
	return r.answer(made, func() {
		r.say(good, fmt.Sprintf("leafward target test %s%s", quoted(made.Name), r.where.flags()), "the target %s (%s at %s) is added", made.Name, made.Type, c.Agent)
	})
}

// config is the file's settings with those of the flags laid over.
func (c *targetAdd) config(s *Session) (map[string]any, error) {
	config := make(map[string]any)
	if c.Config != "" {
		text, err := readFile(s, c.Config)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &config); err != nil || config == nil {
			return nil, failed(codeUsage, "write it as {\"cert_path\": \"…\", …}", "--config %s is not a JSON object: %v", c.Config, err)
		}
	}
	for name, value := range map[string]string{
		"cert_path": c.CertPath, "key_path": c.KeyPath, "chain_path": c.ChainPath, "reload_command": c.Reload, "validate_command": c.Validate, "hostname": c.Hostname,
	} {
		if value != "" {
			config[name] = value
		}
	}
	if c.Address != "" {
		host, port, err := net.SplitHostPort(c.Address)
		number, wrong := strconv.Atoi(port)
		if err != nil || wrong != nil {
			return nil, failed(codeUsage, "write it as HOST:PORT, such as 127.0.0.1:443", "--address %q has no host and port", c.Address)
		}
		config["address"], config["port"] = first(host, "127.0.0.1"), number
	}
	return config, nil
}

// readFile reads a small file, or standard input for "-".
func readFile(s *Session, name string) ([]byte, error) {
	const most = 1 << 20
	in := s.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, failed(codeFile, "name a file that can be read, or - for standard input", "%s cannot be read: %v", name, cause(err))
		}
		defer file.Close()
		in = file
	}
	text, err := readAll(in, most)
	if err != nil {
		return nil, failed(codeFile, "name a smaller file that can be read", "%s cannot be read: %v", name, cause(err))
	}
	return text, nil
}

// targetType is the type as the server writes it: nginx is NGINX.
func (r *run) targetType(ctx context.Context, given string) (string, error) {
	plugins, err := api.ListPlugins.Call(ctx, r.Client, api.ListPluginsInput{Kind: "target"})
	if err != nil {
		return "", err
	}
	var known []string
	for _, p := range plugins.Data {
		if strings.EqualFold(p.Type, given) {
			return p.Type, nil
		}
		known = append(known, p.Type)
	}
	return "", failed("unsupported_type", "use one of: "+strings.Join(known, ", "), "this server has no target type %q", given)
}

type targetList struct {
	asking
	limited
	Agent string `placeholder:"NAME" help:"Only those of this agent."`
}

func (c *targetList) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	agent, err := r.agent(ctx, c.Agent)
	if err != nil {
		return err
	}
	targets, err := collect(c.Limit, func(l api.Listing) (api.Page[api.Target], error) {
		return api.ListTargets.Call(ctx, r.Client, api.ListTargetsInput{Listing: l, AgentID: agent})
	})
	if err != nil {
		return err
	}
	err = r.answer(targets, func() {
		if len(targets.Data) == 0 {
			r.say(good, "leafward target add NAME --type nginx --agent AGENT --cert-path … --key-path …"+r.where.flags(), "there are no targets")
			return
		}
		n := r.names()
		t := &table{head: []string{"NAME", "TYPE", "AGENT", "TEAM", "STATE", "CERTIFICATE FILE"}, cut: []int{0, 2, 3, 5}}
		for _, target := range targets.Data {
			state := "on"
			if !target.Enabled {
				state = "off"
			}
			file, _ := target.Config["cert_path"].(string)
			t.add(target.Name, target.Type, n.agent(ctx, target.AgentID), first(n.team(ctx, target.TeamID), "all"), state, file)
		}
		r.print(t)
	})
	tell(r, "target", targets)
	return err
}

type targetTest struct {
	asking
	Name string `arg:"" help:"Name or id of the target."`
}

// Run exits with 1 when the dry run failed.
func (c *targetTest) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.target(ctx, c.Name)
	if err != nil {
		return err
	}
	found, err := api.TestTargetConnection.Call(ctx, r.Client, api.TargetID{ID: id})
	if err != nil {
		return err
	}
	err = r.answer(found, func() {
		for _, step := range found.Steps {
			line := step.Name
			if step.Message != "" {
				line += ": " + step.Message
			}
			fmt.Fprintf(r.Out, "%s %s\n", r.mark(mood(step.OK)), strings.ReplaceAll(clean(line), "\n", "\n  "))
		}
	})
	if err != nil {
		return err
	}
	if found.Status != "success" {
		return failed(codeFailed, "mend it on the host, then leafward target test "+quoted(c.Name)+r.where.flags(), "the target %s is not ready: %s", c.Name, found.Message)
	}
	r.say(good, "leafward cert create NAME --target "+quoted(c.Name)+r.where.flags(), "the target %s is ready: %s", c.Name, found.Message)
	return nil
}

type targetRemove struct {
	asking
	Name string `arg:"" help:"Name or id of the target."`
}

// removed is what removing answers in JSON.
type removed struct {
	Removed string `json:"removed"`
}

func (c *targetRemove) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.target(ctx, c.Name)
	if err != nil {
		return err
	}
	if _, err := api.DeleteTarget.Call(ctx, r.Client, api.ByID{ID: id}); err != nil {
		if wire, ok := errors.AsType[*api.Error](err); ok && len(wire.Counts) > 0 {
			wire.Fix = "leafward cert list --target " + quoted(c.Name) + r.where.flags() + " shows its certificate; leafward cert unbind CERTIFICATE " + quoted(c.Name) + r.where.flags() + " takes that off"
		}
		return err
	}
	return r.answer(removed{id}, func() {
		r.say(good, "the files on the host stay as they are; remove them there when they are not needed", "the target %s is removed", c.Name)
	})
}
