package drilltest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/drilltest"
)

var drills = drilltest.Flags()

// TestChild is not a test: it is the drill that the others run in a process of its own.
func TestChild(t *testing.T) {
	how, id, _ := strings.Cut(os.Getenv("LEAFWARD_TEST_DRILL"), " ")
	if how == "" {
		t.Skip("runs only as a child")
	}
	d := drills.New(t, id, "sqlite")
	d.Measured("%d of %d", drills.Sized(1, 2), d.Random(1).IntN(1000))
	switch how {
	case "panics":
		panic("broken")
	case "fails":
		t.Error("broken")
	case "skips":
		t.Skip("not here")
	}
}

// run runs a drill that ends somehow, and returns the board.
func run(t *testing.T, board, how string, flags ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.run=^TestChild$", "-drill.board=" + board}, flags...)...)
	cmd.Env = append(os.Environ(), "LEAFWARD_TEST_DRILL="+how)
	said, err := cmd.CombinedOutput()
	if well := strings.HasPrefix(how, "passes") || strings.HasPrefix(how, "skips"); well != (err == nil) {
		t.Fatalf("a drill that %s: %v\n%s", how, err, said)
	}
	text, err := os.ReadFile(board)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheBoardHasOneLineForEachDrillAndEngineHoweverItEnds(t *testing.T) {
	board := filepath.Join(t.TempDir(), "cache", "board")
	for how, says := range map[string]string{"passes": "holds on sqlite: 1 of ", "fails": "falls short on sqlite: 1 of ", "panics": "falls short on sqlite: ", "skips": "was skipped on sqlite: "} {
		if err := os.RemoveAll(board); err != nil {
			t.Fatal(err)
		}
		run(t, board, "passes R30")
		run(t, board, "passes R4")
		text := run(t, board, how+" R4")
		if want := regexp.MustCompile(`^R4 ` + says + `[^\n]*\nR30 holds on sqlite: 1 of [^\n]*\n$`); !want.MatchString(text) {
			t.Errorf("after a drill that %s the board is\n%s", how, text)
		}
	}
}

func TestADrillRunsAgainFromItsSeed(t *testing.T) {
	board := filepath.Join(t.TempDir(), "board")
	first := run(t, board, "passes R4", "-drill.long")
	seed := regexp.MustCompile(`long form, \d{4}-\d\d-\d\d, (-drill\.seed=\d+)\n$`).FindStringSubmatch(first)
	if seed == nil {
		t.Fatalf("the line is %q", first)
	}
	if again := run(t, board, "passes R4", "-drill.long", seed[1]); again != first {
		t.Errorf("from the same seed it says %q, and said %q", again, first)
	}
	if _, err := fmt.Sscanf(first, "R4 holds on sqlite: 2 of %d", new(int)); err != nil {
		t.Errorf("the line is %q: %v", first, err)
	}
}
