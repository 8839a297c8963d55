//go:build !testhooks

package main

// clockFlag is empty: a release has the system's clock.
type clockFlag struct{}

func (clockFlag) start() string { return "" }

// pointFlag is empty: a release has no failpoints.
type pointFlag struct{}

func (pointFlag) at() (func(step string) error, error) { return nil, nil }

// hookCommands are for test builds.
type hookCommands struct{}
