//go:build linux

package e2e_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that should happen soon.
const patience = 30 * time.Second

// program is the path of a binary that `make build build-testhooks` made.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		missing(t, "bin/"+name+" is missing: `make e2e` builds it")
	}
	return path
}

// installed gives the test up by name when a program is missing, and fails it where CI=true.
func installed(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, name+" is not installed: apt-get install "+debian(name))
		}
	}
}

// debian is the package of a program.
func debian(program string) string {
	switch program {
	case "certtool", "ocsptool":
		return "gnutls-bin"
	case "certutil":
		return "libnss3-tools"
	}
	return program
}

// missing fails the test where CI=true, and skips it at a desk.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip("skipped: " + what)
}

// tool runs a program to its end and returns what it printed on stdout.
func tool(t testing.TB, stdin []byte, name string, args ...string) string {
	t.Helper()
	out, err := try(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", filepath.Base(name), strings.Join(args, " "), err)
	}
	return out
}

// try is tool for a program that may fail; the error tells its stderr.
func try(t testing.TB, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = errors.New(exit.String() + ": " + strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// process is a running program and what it has said. Its methods may be called from several goroutines.
type process struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended

	mu    sync.Mutex
	said  []string
	rest  []byte
	fresh chan struct{} // closed at the next line
}

// start runs a program until the end of the test, and dies with it.
func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	return startIn(t, "", nil, name, args...)
}

// startIn is start in a directory and an environment.
func startIn(t testing.TB, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(name) + " " + args[0], gone: make(chan struct{}), fresh: make(chan struct{})}
	p.cmd = exec.Command(name, args...)
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = 5 * time.Second // of those who inherited its output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.gone)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.gone:
		case <-time.After(10 * time.Second):
			p.kill()
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.tell())
		}
	})
	return p
}

// Write takes the program's output.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, text...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		p.said, p.rest = append(p.said, string(line)), rest
		close(p.fresh)
		p.fresh = make(chan struct{})
	}
}

// last are the last lines.
func (p *process) last(n int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said[max(0, len(p.said)-n):])
}

// tell is the end of what it said, without the requests that went well.
func (p *process) tell() string {
	lines := slices.DeleteFunc(p.last(2000), func(line string) bool {
		return strings.Contains(line, `"msg":"request"`) && !strings.Contains(line, `"status":5`)
	})
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// heard waits for a line that contains the words, from the first line on.
func (p *process) heard(t testing.TB, words string) string {
	t.Helper()
	return p.heardWithin(t, patience, words)
}

// heardWithin is heard for what may take longer.
func (p *process) heardWithin(t testing.TB, longest time.Duration, words string) string {
	t.Helper()
	deadline := time.After(longest)
	for next := 0; ; {
		p.mu.Lock()
		lines, fresh := p.said[next:], p.fresh
		p.mu.Unlock()
		for _, line := range lines {
			if strings.Contains(line, words) {
				return line
			}
		}
		next += len(lines)
		select {
		case <-fresh:
		case <-p.gone:
			t.Fatalf("%s ended (%v) before it said %q:\n%s", p.name, p.cmd.ProcessState, words, p.tell())
		case <-deadline:
			t.Fatalf("%s did not say %q within %s:\n%s", p.name, words, longest, p.tell())
		}
	}
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may be gone

// kill ends it as a power failure would.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.gone
}

// stop asks it to end and returns its exit code.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	p.signal(syscall.SIGTERM)
	return p.ended(t)
}

// ended waits until it has ended and returns its exit code.
func (p *process) ended(t testing.TB) int {
	t.Helper()
	select {
	case <-p.gone:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s does not end:\n%s", p.name, p.tell())
		return -1
	}
}
