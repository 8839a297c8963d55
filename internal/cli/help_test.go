package cli_test

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// commands are all commands that can be typed, each with its words.
func commands(t *testing.T) (parser *kong.Kong, leaves []*kong.Node) {
	t.Helper()
	parser, err := kong.New(&grammar{}, kong.Name("leafward"), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	return parser, parser.Model.Leaves(true)
}

// words is a command line as a shell splits it, as far as examples need.
func words(line string) (args []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
			continue
		}
		args = append(args, strings.Fields(part)...)
	}
	return args
}

func TestExamplesInTheHelpAreRightCommandLines(t *testing.T) {
	_, leaves := commands(t)
	examples := 0
	for _, leaf := range leaves {
		for _, line := range strings.Split(leaf.Detail, "\n") {
			_, command, ok := strings.Cut(line, "  leafward ")
			if !ok {
				continue
			}
			examples++
			parser, _ := commands(t) // a parser keeps what it has read
			if _, err := parser.Parse(words(command)); err != nil {
				t.Errorf("the help of %s shows %q: %v", leaf.Path(), line, err)
			}
		}
	}
	if examples < len(leaves)/2 {
		t.Errorf("there are %d examples for %d commands", examples, len(leaves))
	}
}

func TestTheManualHasEveryCommandAndEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	_, leaves := commands(t)
	for _, leaf := range leaves {
		command := leaf.Path()
		if !strings.Contains(string(text), "leafward "+command) && !strings.Contains(string(text), "`"+command) {
			t.Errorf("docs/cli.md does not tell of %q", command)
		}
		for _, flag := range leaf.Flags {
			if flag.Name != "help" && !strings.Contains(string(text), "--"+flag.Name) && !strings.Contains(string(text), "--no-"+flag.Name) {
				t.Errorf("docs/cli.md does not tell of --%s of %q", flag.Name, command)
			}
		}
	}
}

func TestEveryCommandAnswersInJSONAndTakesADataDirectory(t *testing.T) {
	_, leaves := commands(t)
	for _, leaf := range leaves {
		flags := map[string]bool{}
		for _, flag := range leaf.Flags {
			flags[flag.Name] = true
		}
		offline := strings.Contains(leaf.Path(), "audit verify") || strings.Contains(leaf.Path(), "version")
		if !flags["json"] || !offline && !(flags["data-dir"] && flags["server"] && flags["key"] && flags["root"]) {
			t.Errorf("%s has only %v", leaf.Path(), flags)
		}
	}
}
