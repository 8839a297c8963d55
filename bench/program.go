//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is one that runs beside this one, again after it ended.
type program struct {
	cmd   *exec.Cmd
	ready time.Duration // from the start to the words that it is ready
}

// run starts it and waits for the words.
func (p *program) run(ctx context.Context, path, words string, args ...string) error {
	heard := newListener(words)
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), path, args...)
	p.cmd.Stdout, p.cmd.Stderr = heard, heard
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	if err := heard.wait(ctx, path); err != nil {
		return err
	}
	p.ready = time.Since(begun)
	return nil
}

// end lets it end by itself; what it has stays.
func (p *program) end() { p.signal(syscall.SIGTERM) }

// kill ends it at once.
func (p *program) kill() { p.signal(syscall.SIGKILL) }

func (p *program) signal(how syscall.Signal) {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(how)
		_ = p.cmd.Wait() // it is measured, not judged
		p.cmd = nil
	}
}

// cpu is what it has used of the processor since it began.
func (p *program) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name before it may hold spaces
	fields := strings.Fields(after)
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / 100 // USER_HZ
}

// memory is a figure of its memory, in bytes: VmRSS is what it holds now, VmHWM the most so far.
func (p *program) memory(figure string) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)) // 0 when it is gone
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, figure+":"); found {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// listener waits for words in a program's output.
type listener struct {
	words, said []byte
	heard       chan struct{}
	done        bool
}

func newListener(words string) *listener {
	return &listener{words: []byte(words), heard: make(chan struct{})}
}

func (l *listener) Write(text []byte) (int, error) {
	if l.done {
		return len(text), nil
	}
	l.said = append(l.said, text...)
	if bytes.Contains(l.said, l.words) {
		l.done = true
		close(l.heard)
	}
	return len(text), nil
}

func (l *listener) wait(ctx context.Context, who string) error {
	select {
	case <-l.heard:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return fmt.Errorf("%s is not ready after a minute: %s", who, l.said)
	}
}

// pause waits a little before something is looked at again.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
