package target_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
)

func TestACommandIsSplitAsAShellWould(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]target.Command{
		"nginx -t":                           {"nginx", "-t"},
		"  nginx\t-s   reload ":              {"nginx", "-s", "reload"},
		`nginx -g 'daemon off;'`:             {"nginx", "-g", "daemon off;"},
		`a "b c" d\ e f'g'"h"`:               {"a", "b c", "d e", "fgh"},
		`a "\"\\\$\x"`:                       {"a", `"\$\x`},
		`a '' "" '\'`:                        {"a", "", "", `\`},
		`C:\\nginx\\nginx.exe -p "C:\nginx"`: {`C:\nginx\nginx.exe`, "-p", `C:\nginx`},
		"a b~c d#e x=y":                      {"a", "b~c", "d#e", "x=y"},
		`a \; \| '$HOME'`:                    {"a", ";", "|", "$HOME"},
	} {
		got, err := target.ParseCommand(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q %v, want %q", text, got, err, want)
		}
	}
}

func TestWhatNeedsAShellIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"a; b", "a && b", "a | b", "a & b", "a $HOME", `a "$HOME"`, "a `b`", "a \"`b`\"", "a > b", "a < b", "(a)", "{a,b}", "a *", "a ?", "a [b]",
		"!a", "a ~", "a #b", "a\nb", "a 'b", `a "b`, `a \`, "", "   ", "''", "a\x00b", "a \xff", strings.Repeat("a", 1025), strings.Repeat("a ", 65),
	} {
		if got, err := target.ParseCommand(text); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("%q: got %q %v, want it refused", text, got, err)
		}
	}
	_, err := target.ParseCommand("nginx -t; rm x")
	if err == nil || !strings.Contains(err.Error(), "';'") {
		t.Errorf("the error does not name what needs the shell: %v", err)
	}
}

func TestACommandRunsWithACleanEnvironment(t *testing.T) {
	t.Setenv("LEAFWARD_KEY", "secret")
	output, err := target.Command{"env"}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(output + "\n") {
		if name, _, _ := strings.Cut(line, "="); name != "PATH" && name != "LANG" {
			t.Errorf("the environment has %s", line)
		}
	}
}

func TestTheEndOfTheOutputIsKept(t *testing.T) {
	t.Parallel()
	output, err := target.Command{"sh", "-c", `yes "$0" | head -5000; printf 'the \033[31mend\n'`, "line"}.Run(t.Context())
	if err != nil || len(output) > 4096 || !strings.HasSuffix(output, "line\nthe [31mend") {
		t.Errorf("got %d bytes, %v, ending %q", len(output), err, output[max(0, len(output)-40):])
	}
}

func TestAFailureSaysWhatTheProgramPrinted(t *testing.T) {
	t.Parallel()
	_, err := target.Command{"sh", "-c", "echo no such thing >&2; exit 3"}.Run(t.Context())
	if leafward.KindOf(err) != leafward.Precondition || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("got %v", err)
	}
	for _, c := range []target.Command{nil, {"leafward-has-no-such-program"}, {"./command_test.go"}} {
		if _, err := c.Run(t.Context()); err == nil {
			t.Errorf("%v ran", c)
		}
	}
}

func TestTheWholeGroupIsKilledWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pid")
	if err := syscall.Mkfifo(pids, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := target.Command{"sh", "-c", `sleep 600 & echo $! >"$0"; wait`, pids}.Run(ctx)
		ended <- err
	}()
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
	eventually(t, "the grandchild is gone", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil
	})
}

func TestADaemonThatKeepsTheOutputOpenIsNoFailure(t *testing.T) {
	t.Parallel()
	output, err := target.Command{"sh", "-c", "sleep 5 & echo started"}.Run(t.Context())
	if err != nil || output != "started" {
		t.Errorf("got %q %v", output, err)
	}
}

// eventually asks until the answer is yes, for at most ten seconds.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !ask(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{"nginx -t", `a 'b c' "d\"e" f\ g`, "a; b", `''`, "a '' b", `\'`, "ä 'ö'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := target.ParseCommand(text)
		if err != nil {
			if leafward.KindOf(err) != leafward.Invalid {
				t.Fatalf("outside bytes gave %v", err)
			}
			return
		}
		again, err := target.ParseCommand(c.String())
		if len(c.String()) > 1024 {
			return
		}
		if err != nil || !slices.Equal(c, again) {
			t.Fatalf("%q is written as %s, which is read as %q (%v)", c, c, again, err)
		}
	})
}
