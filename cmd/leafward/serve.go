package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

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
	if mistakes, ok := config.AsMistakes(err); ok {
		return explained(mistakes)
	}
	if err != nil {
		return err
	}
	server, err := app.New(ctx, app.Config{
		Serve: settings.Serve, Warnings: settings.Warnings, Version: version, Program: os.Args[0], Out: os.Stdout, Log: os.Stderr,
	})
	if err != nil {
		return err
	}
	err = server.Run(ctx)
	return errors.Join(err, server.Close())
}

// explained is the error of a wrong configuration: every mistake with its remedy.
func explained(mistakes config.Mistakes) error {
	wrong := &leafward.Error{Kind: leafward.Invalid, Message: "the configuration is not valid", Fix: "mend what is named and start again"}
	for _, m := range mistakes {
		wrong.Fields = append(wrong.Fields, leafward.Field{Field: m.Where, Problem: m.Problem, Fix: m.Fix})
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

// versionCommand prints what this is.
type versionCommand struct{}

// Run is called by kong.
func (*versionCommand) Run() error {
	_, err := fmt.Printf("leafward %s %s/%s %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return err
}
