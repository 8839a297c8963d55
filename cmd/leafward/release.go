//go:build !testhooks

package main

import "github.com/leafward/leafward/internal/hook"

// clockFlag is empty: a release has the system's clock.
type clockFlag struct{}

func (clockFlag) start() string { return "" }

// pointFlag is empty: a release has no failpoints.
type pointFlag struct{}

func (pointFlag) points() (*hook.Points, error) { return hook.NewPoints(), nil }

// hookCommands are for test builds.
type hookCommands struct{}
