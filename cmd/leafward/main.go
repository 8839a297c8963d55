// Command leafward is server, agent and command line of a certificate manager.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "dev" //nolint:gochecknoglobals // the linker can set nothing else

// commands are all commands.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Run the server."`
	Agent   agentCommands  `cmd:"" help:"The agent of a host."`
	OpenAPI openapiCommand `cmd:"" name:"openapi" help:"Print the OpenAPI document of the REST API."`
	Version versionCommand `cmd:"" help:"Print the version."`
	hookCommands
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run parses and runs one command, and returns the exit code: 2 for a wrong command line, 1 for what failed.
func run(ctx context.Context, args []string) int {
	var all commands
	parser, err := kong.New(&all, kong.Name("leafward"), kong.Description("Leafward issues, deploys, proves, renews and revokes X.509 certificates."),
		kong.BindTo(ctx, (*context.Context)(nil)), agentVars())
	if err != nil {
		return fail(err)
	}
	chosen, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "leafward:", err)
		return 2
	}
	return fail(chosen.Run())
}

func fail(err error) int {
	if err == nil || errors.Is(err, context.Canceled) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "leafward:", err)
	return 1
}
