// Package cli is the command line for people and scripts: a client of the REST API like any stranger's, over the socket
// in the data directory or over TLS.
//
// What was asked for goes to standard output, words about it to standard error, and every message ends with what to do
// next. Commands take names or ids and show names. With --json the output is the API's own, and an error one JSON object.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // refused, failed or not reached
	exitUsage  = 2 // the command line itself is wrong; nothing was done
)

// Session is what a command works with.
type Session struct {
	In       io.Reader
	Out, Err io.Writer
	Width    int  // columns that a table may take; 0: as many as it needs
	Colour   bool // Out is a terminal that shows colours
	Version  string
	Getenv   func(string) string

	called map[string]string        // ids that were found by a name: the name, for errors
	people func(text string) string // puts names for ids, once a server is known
}

// Commands are the commands that speak with a server, besides those on agents, and version.
type Commands struct {
	Status  statusCommand  `cmd:"" help:"Show what works, and what breaks next." group:"Look:"`
	Cert    certCommands   `cmd:"" help:"Certificates: create, list, renew, deploy, revoke." group:"Certificates:"`
	Issue   issueCommand   `cmd:"" help:"Make a key here and get a certificate for it, as two files." group:"Certificates:"`
	Import  importCommand  `cmd:"" help:"Take in certificates that were signed elsewhere, from PEM and CSV files." group:"Certificates:"`
	Target  targetCommands `cmd:"" help:"Places where certificates are installed." group:"Certificates:"`
	Job     jobCommands    `cmd:"" help:"Work that is done and waits to be done." group:"Look:"`
	CA      caCommands     `cmd:"" name:"ca" help:"Authorities: where their keys are; take the root offline." group:"Administer:"`
	Audit   auditCommands  `cmd:"" help:"The audit log: export it, verify an export." group:"Look:"`
	Key     keyCommands    `cmd:"" help:"API keys." group:"Administer:"`
	Version versionCommand `cmd:"" help:"Print the version of this program." group:"Look:"`
}

// Main parses the arguments by the grammar, a struct of kong commands, and runs the command: its Run method gets ctx,
// the session and what the options bind. It returns the exit code.
func Main(ctx context.Context, s *Session, args []string, grammar any, options ...kong.Option) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case finished:
			code = int(r)
		default:
			panic(r)
		}
	}()
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help":
		args = append(slices.Clone(args[1:]), "--help")
	case args[0] == "--version":
		args = slices.Concat([]string{"version"}, args[1:])
	}
	parser, err := kong.New(grammar, append(options,
		kong.Name("leafward"),
		kong.Description("Leafward issues, deploys, proves, renews and revokes X.509 certificates."),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(code int) { panic(finished(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
	)...)
	if err != nil {
		return s.Fail(err, args)
	}
	if slices.Contains(args, "") {
		return s.Fail(failed(codeUsage, "leave it out, or give it a value; a variable of the shell may not be set", "an argument is empty"), args)
	}
	chosen, err := parser.Parse(args)
	if err != nil {
		return s.Fail(usage(err), args)
	}
	return s.Fail(chosen.Run(), args)
}

// finished carries the exit code of --help out of the parser.
type finished int

// Fail tells the error on standard error, in four parts or with --json among the arguments as JSON, and returns the exit
// code; nil is success.
func (s *Session) Fail(err error, args []string) int {
	if err == nil {
		return exitOK
	}
	f := explain(err)
	for id, name := range s.called {
		f.Message, f.Fix = strings.ReplaceAll(f.Message, id, name), strings.ReplaceAll(f.Fix, id, name)
	}
	if slices.Contains(args, "--json") {
		_ = s.json(s.Err, f) // nobody is left to tell
	} else {
		if s.people != nil {
			f.Message = s.people(f.Message)
		}
		fmt.Fprint(s.Err, f.text(s))
	}
	if f.Code == codeUsage {
		return exitUsage
	}
	return exitFailed
}

// usage is the failure of a command line that does not parse.
func usage(err error) error {
	f := &failure{Code: codeUsage, Message: err.Error(), Fix: "`leafward --help` lists the commands", Docs: docsCommands}
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if node := parse.Context.Selected(); node != nil {
			f.Fix = fmt.Sprintf("`leafward %s --help` shows how it is written", node.Path())
		}
	}
	return f
}
