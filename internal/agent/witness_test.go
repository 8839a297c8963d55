package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func note(size int) string {
	return fmt.Sprintf("leafward/audit/x\n%d\nroot\n\n— leafward/audit/x signature\n", size)
}

func TestTheLongestCheckpointIsKeptAndAShorterLogIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), checkpointFile)
	w := &witness{path: path, log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, step := range []struct {
		heard, kept string
		warnings    int
	}{
		{"", "", 0},
		{note(7), note(7), 0},
		{note(7), note(7), 0},
		{note(1200), note(1200), 0},
		{note(30), note(1200), 1},
		{note(31), note(1200), 1},
		{"nonsense", note(1200), 1},
		{note(-5), note(1200), 1},
		{strings.Replace(note(5000), "root", strings.Repeat("x", maxCheckpoint), 1), note(1200), 1},
		{note(1201), note(1201), 1},
		{note(1), note(1201), 2},
	} {
		w.hear(t.Context(), step.heard)
		kept, _ := os.ReadFile(path)
		if string(kept) != step.kept || strings.Count(log.String(), "shorter than it was") != step.warnings {
			t.Errorf("after %.20q it keeps %q and has said:\n%s", step.heard, kept, &log)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}
