//go:build linux

package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The manual of the command line is typed from top to bottom, by the binary that is shipped. Lines that end in & keep
// running. What a newcomer has is stood in for: the ports of the server, and an nginx with its files.
func TestTheManualCanBeTypedFromTopToBottom(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	n.secure(t)
	m := newManual(t, n)
	text, err := os.ReadFile("../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 10 {
		t.Fatalf("the manual has %d blocks of commands", len(blocks))
	}
	for _, block := range blocks {
		m.enter(t, block[1])
	}
}

// manual is where the commands are typed.
type manual struct {
	dir   string
	env   []string
	stand *strings.Replacer // what is in the manual, and what stands in for it here
}

// newManual is an empty directory, with a PATH whose nginx is the private one.
func newManual(t *testing.T, n *nginx) *manual {
	t.Helper()
	m := &manual{dir: shortDir(t)}
	real, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(m.dir, "tools")
	if err := os.Mkdir(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	wrapper := "#!/bin/sh\nexec " + real + " " + strings.Join(n.args(), " ") + ` "$@"` + "\n"
	if err := os.WriteFile(filepath.Join(tools, "nginx"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	m.env = append(os.Environ(), "PATH="+tools+":"+filepath.Dir(program(t, "leafward"))+":"+os.Getenv("PATH"))
	listen := freeAddress(t)
	_, port, _ := net.SplitHostPort(listen)
	m.stand = strings.NewReplacer(
		"leafward serve", "leafward serve --probe-allow 127.0.0.0/8 --listen "+listen+" --public-listen "+freeAddress(t),
		"--data-dir ./agent", "--data-dir ./agent --allow-path "+n.tls(),
		"/etc/nginx/shop.pem", n.file("tls/site.pem"), "/etc/nginx/shop.key", n.file("tls/site.key"),
		"127.0.0.1:443", n.addr, "https://localhost:8443", "https://localhost:"+port,
	)
	return m
}

// enter types a block. Each line that keeps running has its own process, and is waited for until it says that it runs.
func (m *manual) enter(t *testing.T, block string) {
	t.Helper()
	var now strings.Builder
	for _, line := range strings.SplitAfter(m.stand.Replace(block), "\n") {
		command, stays := strings.CutSuffix(strings.TrimSpace(line), " &")
		if !stays {
			now.WriteString(line)
			continue
		}
		m.run(t, now.String())
		now.Reset()
		p := startIn(t, m.dir, m.env, "sh", "-c", "exec "+command)
		p.heard(t, map[bool]string{true: "is ready", false: "the agent runs"}[strings.Contains(command, "serve")])
	}
	m.run(t, now.String())
}

// run runs lines of a shell, each of which must go well.
func (m *manual) run(t *testing.T, lines string) {
	t.Helper()
	if strings.TrimSpace(lines) == "" {
		return
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-eux")
	cmd.Dir, cmd.Env, cmd.Stdin = m.dir, m.env, strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}
