package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/app"
	"github.com/leafward/leafward/internal/cli"
	"github.com/leafward/leafward/internal/config"
)

// serveCommand runs the server until it is told to stop.
type serveCommand struct {
	config.Flags
	clockFlag
	pointFlag

	wrong []leafward.Field `kong:"-"` // with the command line
}

// sorted keeps what is wrong with the command line of `serve` until the settings have been looked at too, and returns
// the rest; other commands are none of its business.
func (c *serveCommand) sorted(args []string) []string {
	if len(args) == 0 || args[0] != "serve" {
		return args
	}
	w, err := readWords(args[0], &serveCommand{}, args[1:])
	if err != nil {
		return args // the parser says it
	}
	c.wrong = w.wrong
	return slices.Concat(args[:1], w.good)
}

// Run is called by kong.
func (c *serveCommand) Run(ctx context.Context) error {
	if err := app.RunsOn(runtime.GOOS); err != nil {
		return err
	}
	points, err := c.points()
	if err != nil {
		return err
	}
	c.Clock = c.start()
	settings, err := config.Load(c.Flags, os.Environ())
	mistakes, _ := config.AsMistakes(err)
	mistakes = append(mistakes, app.Mistakes(settings)...)
	if len(c.wrong)+len(mistakes) > 0 {
		return explained(c.wrong, mistakes)
	}
	if os.Getenv("GOGC") == "" { // what lives is small: collecting half as often costs a few megabytes, and less time
		debug.SetGCPercent(200)
	}
	server, err := app.New(ctx, app.Config{
		Serve: settings, Version: version, Program: os.Args[0], Out: os.Stdout, Log: os.Stderr, Points: points,
	})
	if err != nil {
		return ended(err)
	}
	err = server.Run(ctx)
	return ended(errors.Join(err, server.Close()))
}

// ended is nil for a start that a signal ended: that is an orderly stop.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// explained is the error of a wrong start: everything that is wrong with the command line and the settings, each with its
// remedy.
func explained(words []leafward.Field, mistakes config.Mistakes) error {
	all := slices.Clone(words)
	for _, m := range mistakes {
		all = append(all, leafward.Field{Field: m.Where, Problem: m.Problem, Fix: m.Fix})
	}
	wrong := &leafward.Error{Kind: leafward.Invalid, Message: "the configuration is not valid", Fix: "mend what is named and start again", Fields: all}
	if len(all) == 1 {
		wrong.Fix = all[0].Fix
	}
	if len(words) > 0 {
		return cli.Usage(wrong)
	}
	return wrong
}

// openapiCommand prints the document that the server serves at /api/openapi.json.
type openapiCommand struct{}

// Run is called by kong.
func (*openapiCommand) Run() error {
	text, err := app.Document(version)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
