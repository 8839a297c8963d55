//go:build !testhooks

package main

// clockFlag is empty: a release has the system's clock.
type clockFlag struct{}

func (clockFlag) start() string { return "" }

// hookCommands are for test builds.
type hookCommands struct{}
