// Command leafward is server, agent and command line of a certificate manager.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/leafward/leafward/internal/cli"
)

// version is set by the linker.
var version = "dev"

// commands are all commands.
type commands struct {
	Serve serveCommand  `cmd:"" help:"Run the server." group:"Run:"`
	Agent agentCommands `cmd:"" help:"Agents: leafward on the hosts that use certificates." group:"Run:"`
	cli.Commands
	Backup    backupCommand    `cmd:"" help:"Write an encrypted backup of the server's database." group:"Administer:"`
	Restore   restoreCommand   `cmd:"" help:"Put a backup into an empty data directory." group:"Administer:"`
	Reconcile reconcileCommand `cmd:"" help:"Teach a restored database what happened after its backup." group:"Administer:"`

	OpenAPI openapiCommand `cmd:"" name:"openapi" help:"Print the OpenAPI document of the REST API." group:"Look:"`
	hookCommands
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	all := &commands{}
	code := cli.Main(ctx, cli.NewSession(version), all.Serve.sorted(os.Args[1:]), all, agentVars())
	stop()
	os.Exit(code)
}
