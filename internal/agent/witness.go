package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
)

const (
	checkpointFile = "checkpoint" // the longest that the server has signed
	maxCheckpoint  = 4096         // bytes
)

// witness keeps the longest checkpoint of the server's audit log that this agent was told, beyond the reach of whoever may
// change the server: an export that was rewritten does not fit it (`leafward audit verify --checkpoint`).
type witness struct {
	path string
	log  *slog.Logger
	told bool // that the log has become shorter
}

func (a *Agent) newWitness() *witness {
	return &witness{path: a.dir.file(checkpointFile), log: a.log}
}

// hear takes what the server said, "" for nothing. A log that has become shorter is told, and what was kept stays.
func (w *witness) hear(ctx context.Context, checkpoint string) {
	size := sizeOf(checkpoint)
	if size == 0 {
		return
	}
	kept, err := load(w.path, maxCheckpoint)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.log.WarnContext(ctx, "the kept checkpoint cannot be read", "error", err)
		return
	}
	switch known := sizeOf(string(kept)); {
	case size > known:
		if err := save(w.path, []byte(checkpoint)); err != nil {
			w.log.WarnContext(ctx, "the checkpoint of the audit log cannot be kept", "error", err)
		}
		w.told = false
	case size < known && !w.told:
		w.log.WarnContext(ctx, "the server's audit log is shorter than it was: it was restored from a backup, or changed",
			"events", size, "before", known, "kept", w.path)
		w.told = true
	}
}

// sizeOf is how many events a checkpoint covers: its second line. It is 0 where there is none; whether the signature holds
// is for `leafward audit verify`, which is told the key.
func sizeOf(checkpoint string) int64 {
	lines := strings.SplitN(checkpoint, "\n", 4)
	if len(checkpoint) > maxCheckpoint || len(lines) < 4 {
		return 0
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return 0
	}
	return size
}
