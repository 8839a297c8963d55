package main

import (
	"context"
	"errors"
	"os"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/app"
	"github.com/leafward/leafward/internal/config"
)

// serveCommand runs the server until it is told to stop.
type serveCommand struct {
	config.Flags
	clockFlag
}

// Run is called by kong.
func (c *serveCommand) Run(ctx context.Context) error {
	c.Clock = c.start()
	settings, err := config.Load(c.Flags, os.Environ())
	mistakes, _ := config.AsMistakes(err)
	if mistakes = append(mistakes, app.Mistakes(settings.Serve)...); len(mistakes) > 0 {
		return explained(mistakes)
	}
	server, err := app.New(ctx, app.Config{
		Serve: settings.Serve, Warnings: settings.Warnings, Version: version, Program: os.Args[0], Out: os.Stdout, Log: os.Stderr,
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

// explained is the error of a wrong configuration: every mistake with its remedy.
func explained(mistakes config.Mistakes) error {
	wrong := &leafward.Error{Kind: leafward.Invalid, Message: "the configuration is not valid", Fix: "mend what is named and start again"}
	for _, m := range mistakes {
		wrong.Fields = append(wrong.Fields, leafward.Field{Field: m.Where, Problem: m.Problem, Fix: m.Fix})
	}
	if len(mistakes) == 1 {
		wrong.Fix = mistakes[0].Fix
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
