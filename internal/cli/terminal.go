package cli

import "os"

// NewSession is a session on the process's own streams.
func NewSession(version string) *Session {
	width, terminal := terminalWidth(os.Stdout)
	return &Session{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Width: width, Version: version, Getenv: os.Getenv,
		Colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}
