//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress tells what is being done: on a terminal in one line that is written again and again, elsewhere in a line when a
// measurement begins and then every ten seconds at most.
type progress struct {
	out   io.Writer
	begun time.Time
	again bool

	mu      sync.Mutex
	measure string // what is being measured
	told    time.Time
}

func newProgress(out io.Writer) *progress {
	file, ok := out.(*os.File)
	return &progress{out: out, begun: time.Now(), again: ok && term.IsTerminal(int(file.Fd()))}
}

// begin says what is measured from now on.
func (p *progress) begin(measure string) {
	p.mu.Lock()
	p.measure, p.told = measure, time.Time{}
	p.mu.Unlock()
	p.tell("begins")
}

// tell says what is done for it.
func (p *progress) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	words := fmt.Sprintf("… %s %s: %s", time.Since(p.begun).Round(time.Second), p.measure, fmt.Sprintf(format, args...))
	switch {
	case p.again:
		fmt.Fprint(p.out, "\r\x1b[K", words)
	case time.Since(p.told) >= 10*time.Second:
		fmt.Fprintln(p.out, words)
		p.told = time.Now()
	}
}

// clear makes room for a line of something else on the same terminal.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.again {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
