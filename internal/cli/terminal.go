package cli

import (
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/leafward/leafward"
)

// NewSession is a session on the process's own streams.
func NewSession(version string) *Session {
	width, terminal := terminalWidth(os.Stdout)
	return &Session{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Width: width, Version: version, Getenv: os.Getenv,
		Colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// AskPassphrase asks the person at the terminal, without showing what is typed; other is the flag that spares the question.
func (s *Session) AskPassphrase(other string) func(string) (leafward.Secret, error) {
	return func(prompt string) (leafward.Secret, error) {
		in := int(os.Stdin.Fd())
		if !term.IsTerminal(in) {
			return nil, leafward.Errorf(leafward.Invalid, "give --passphrase-file FILE (mode 0600), or "+other, "there is no terminal to ask for the passphrase")
		}
		fmt.Fprintf(s.Err, "%s: ", prompt)
		text, err := term.ReadPassword(in)
		fmt.Fprintln(s.Err)
		return text, err
	}
}
