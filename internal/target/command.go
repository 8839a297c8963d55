package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/leafward/leafward"
)

const (
	commandTime = 30 * time.Second
	drainTime   = 2 * time.Second // for output of a process that outlives its parent
	maxOutput   = 4096            // bytes kept, the last ones
)

// Run runs the command to its end, at most 30 seconds, with PATH and LANG as its whole environment and nothing on its
// input. output is the last 4 KiB it wrote. When the context ends first, the whole process group is killed.
func (c Command) Run(ctx context.Context) (output string, err error) {
	if len(c) == 0 {
		return "", leafward.Errorf(leafward.Invalid, "name a program and its arguments", "there is no command to run")
	}
	program, err := find(c[0])
	if err != nil {
		return "", leafward.Errorf(leafward.Precondition,
			"install it, or name another program in the target and allow it with --allow-command", "%s is not on this host", c[0])
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	var tail tail
	cmd := exec.CommandContext(ctx, program, c[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C"}
	cmd.Stdout, cmd.Stderr = &tail, &tail
	cmd.WaitDelay = drainTime
	inOwnGroup(cmd)
	err = cmd.Run()
	output = tail.String()
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		return output, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = errors.New("did not end in time and was killed")
	case ctx.Err() != nil:
		err = errors.New("was cut short and killed")
	default:
		err = fmt.Errorf("failed (%w)", err)
	}
	message := fmt.Sprintf("%s %s", c, err)
	if output != "" {
		message += ": " + output
	}
	return output, &leafward.Error{Kind: leafward.Precondition, Message: message, Fix: "run " + c.String() + " on the host and mend what it names"}
}

// find looks a program up in PATH and then where administrators' programs are, which is not in every user's PATH.
func find(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err == nil || strings.ContainsRune(name, filepath.Separator) {
		return found, err
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", err
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxOutput):]...)
	t.kept = t.kept[max(0, len(t.kept)-maxOutput):]
	return len(p), nil
}

// String is the text without control characters, fit for a message.
func (t *tail) String() string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(t.kept), ""))
	return strings.TrimSpace(text)
}
