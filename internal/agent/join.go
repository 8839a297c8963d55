package agent

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
)

// joinTime bounds each request of an enrolment.
const joinTime = 30 * time.Second

// Joining is what somebody says who makes a host's agent known to a server.
type Joining struct {
	Server        string // URL
	Token         string // of `leafward agent invite`
	RootSHA256    string
	Name          string // "": the one in the invitation, else the host's
	Dir           string // data directory
	AllowPaths    []string
	AllowCommands []string
	Force         bool // in place of the agent that the directory holds
	Version       string
}

// Joined is an agent right after it joined.
type Joined struct {
	Identity
	Rules target.Rules // what the host lets it do
}

// Join pins the server's root, registers the agent with the one-time token, and keeps who it is now. All that could
// fail here is tried before the token is used up.
func Join(ctx context.Context, j Joining) (Joined, error) {
	server, err := serverURL(j.Server)
	if err != nil {
		return Joined{}, err
	}
	pin, err := parsePin(j.RootSHA256)
	if err != nil {
		return Joined{}, err
	}
	d, err := openDir(j.Dir)
	if err != nil {
		return Joined{}, err
	}
	defer d.Close()
	rules, err := target.NewRules(d.path, j.AllowPaths, j.AllowCommands)
	if err != nil {
		return Joined{}, err
	}
	if d.joined() && !j.Force {
		return Joined{}, alreadyJoined(d)
	}
	if err := save(d.file("try"), nil); err != nil {
		return Joined{}, explain("write into "+d.path, err)
	}
	if err := os.Remove(d.file("try")); err != nil {
		return Joined{}, explain("write into "+d.path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	root, err := fetchRoot(ctx, server, pin)
	if err != nil {
		return Joined{}, err
	}
	client := pinned(server, root, leafward.Secret(j.Token), j.Version)
	defer client.HTTP.CloseIdleConnections()
	made, err := register(ctx, client, j.Name, hostFacts(ctx, server, j.Version))
	if err != nil {
		return Joined{}, tokenRefused(err)
	}
	i := Identity{Server: server, ID: made.ID, Name: made.Name, Key: made.Key, Root: root, AllowPaths: j.AllowPaths, AllowCommands: j.AllowCommands}
	if !isID(i.ID) || len(i.Key) == 0 {
		return Joined{}, leafward.Errorf(leafward.Precondition, "see which version of leafward the server runs", "%s registered the agent but told it neither an id nor a key that it could use", server)
	}
	return Joined{i, rules}, d.put(i)
}

func alreadyJoined(d *dir) error {
	who := "an agent that cannot be read"
	if i, err := d.get(); err == nil {
		who = "the agent " + i.ID + " of " + i.Server
	}
	return leafward.Errorf(leafward.Conflict, "run it with `leafward agent run`, or join with --force, which forgets it; name another --data-dir for a second agent",
		"%s holds %s already", d.path, who)
}

// tokenRefused says what can be done about a token that the server did not take.
func tokenRefused(err error) error {
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || e.Kind != leafward.Unauthorized && e.Kind != leafward.Denied {
		return err
	}
	return leafward.Errorf(e.Kind, "make a new one with `leafward agent invite` on the server, and join within the hour", "the server did not take the token: %s", e.Error())
}

// notJoined is what a directory without an agent answers.
func notJoined(path string) error {
	return leafward.Errorf(leafward.NotFound, "run `leafward agent invite` on the server, and on this host the command that it prints",
		"%s holds no agent: it has not joined a server yet", path)
}

// hostFacts are what an agent says of its host.
func hostFacts(ctx context.Context, server, version string) facts {
	f := facts{OS: runtime.GOOS, Architecture: runtime.GOARCH, IPAddress: ownAddress(ctx, server), Version: version}
	if name, err := os.Hostname(); err == nil {
		f.Hostname = name
	}
	return f
}
