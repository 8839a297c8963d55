package drilltest

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// renew puts the line of a drill and an engine in the place of their older one. The board is sorted by drill and engine, and
// replaced as a whole, so that whoever reads it, or ends us, finds it complete.
func renew(board, id, on, line string) error {
	text, err := os.ReadFile(board)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(text)), "\n"), func(old string) bool {
		oldID, oldOn := whose(old)
		return old == "" || oldID == id && oldOn == on
	})
	lines = append(lines, line)
	slices.SortStableFunc(lines, func(a, b string) int {
		idA, onA := whose(a)
		idB, onB := whose(b)
		return cmp.Or(cmp.Compare(number(idA), number(idB)), cmp.Compare(onA, onB))
	})
	if err := os.MkdirAll(filepath.Dir(board), 0o755); err != nil {
		return err
	}
	next := board + ".new"
	if err := os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(next, board)
}

// whose are the drill and the engine of a line such as "R4 holds on sqlite: …".
func whose(line string) (id, on string) {
	head, _, _ := strings.Cut(line, ":")
	id, _, _ = strings.Cut(head, " ")
	_, on, _ = strings.Cut(head, " on ")
	return id, on
}

// number is that of a drill's id, R4.
func number(id string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(id, "R")) // what is no number comes first
	return n
}
