package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// unit is the text of a unit of systemd.
func unit(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "packaging", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// line is the value of a setting that stands once in a unit.
func line(t *testing.T, text, setting string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^`+setting+`=(.*)$`).FindAllStringSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%s= stands %d times", setting, len(found))
	}
	return found[0][1]
}

// means is the command that the words are, which must parse.
func means(t *testing.T, words string) string {
	t.Helper()
	args := strings.Fields(words)
	parser, err := kong.New(&commands{}, agentVars(), kong.Name("leafward"))
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := parser.Parse(args[1:])
	if err != nil {
		t.Fatalf("%s: %v", words, err)
	}
	return chosen.Command()
}

func TestTheUnitsOfSystemdStartCommandsThatExist(t *testing.T) {
	for name, want := range map[string]string{"leafward.service": "serve", "leafward-agent.service": "agent run"} {
		text := unit(t, name)
		command := strings.ReplaceAll(line(t, text, "ExecStart"), "%S", "/var/lib")
		if !strings.HasPrefix(command, "/usr/bin/leafward ") || !strings.Contains(command, "--data-dir /var/lib/"+line(t, text, "StateDirectory")) {
			t.Errorf("%s starts %s", name, command)
		}
		for _, flags := range []string{"", "--allow-path /srv/tls --allow-command reload-it --json"} {
			if got := means(t, strings.ReplaceAll(command, "$LEAFWARD_AGENT_FLAGS", flags)); got != want {
				t.Errorf("%s starts %q, not %q", name, got, want)
			}
			if want == "serve" {
				break
			}
		}
		if line(t, text, "Restart") != "on-failure" || line(t, text, "StateDirectoryMode") != "0700" {
			t.Errorf("%s starts what ended well again, or lets others look into its directory", name)
		}
	}
	join := regexp.MustCompile(`(?m)^# +(leafward agent join .*)$`).FindStringSubmatch(unit(t, "leafward-agent.service"))
	if join == nil || means(t, join[1]) != "agent join <url>" {
		t.Errorf("the unit says how to join: %q", join)
	}
}

// The programs are replaced by one that exists, since systemd looks.
func TestSystemdUnderstandsItsUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"leafward.service", "leafward-agent.service"} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(unit(t, name), "/usr/bin/leafward", self)), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("systemd says of %s: %v\n%s", name, err, out)
		}
	}
}
