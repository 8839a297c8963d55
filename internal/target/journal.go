package target

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const maxJournal = 1 << 20 // bytes

// state is how far a swap came, as far as recovery must know.
type state string

const (
	open      state = "open"      // anything up to the test: to be undone
	validated state = "validated" // all files are new and the test passed: to be finished
	undoing   state = "undoing"   // to be undone, whatever was reached before
	done      state = "done"      // only what lies beside the files is left to remove
)

// swap is one change as its journal keeps it.
type swap struct {
	ID       string   `json:"id"`
	Number   int      `json:"number"` // later changes have higher ones
	State    state    `json:"state"`
	Files    []entry  `json:"files"`
	Made     []string `json:"made"` // directories that this change made
	Validate Command  `json:"validate"`
	Reload   Command  `json:"reload"`
	Stopped  []string `json:"stopped"`
}

// entry is one file of a swap: where it is, what lies beside it, what it held before.
type entry struct {
	Path    string      `json:"path"`
	New     string      `json:"new"`
	Old     string      `json:"old"`
	NewSum  string      `json:"new_sum"`
	OldSum  string      `json:"old_sum"`
	NewMode fs.FileMode `json:"new_mode"`
	Existed bool        `json:"existed"`
	Mode    fs.FileMode `json:"mode"`
	UID     int         `json:"uid"`
	GID     int         `json:"gid"`

	content, before []byte
}

// record makes a state of the swap durable.
func (f *Files) record(s *swap, to state) error {
	if len(s.Files) == 0 {
		return nil
	}
	if err := f.at("record " + string(to)); err != nil {
		return err
	}
	if s.Number == 0 {
		number, err := f.next()
		if err != nil {
			return err
		}
		s.Number = number
	}
	s.State = to
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := f.journal(s)
	if err := os.Remove(path + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := write(path+".tmp", slices.Concat([]byte(sum(body)+"\n"), body), 0o600, -1, -1); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(f.dir)
}

func (f *Files) journal(s *swap) string {
	return filepath.Join(f.dir, fmt.Sprintf("%08d-%s.swap", s.Number, s.ID))
}

// next is a number above all journals that are open.
func (f *Files) next() (int, error) {
	names, err := f.journals()
	if err != nil {
		return 0, err
	}
	highest := 0
	for _, name := range names {
		var n int
		if _, err := fmt.Sscanf(name, "%d-", &n); err == nil {
			highest = max(highest, n)
		}
	}
	return highest + 1, nil
}

// journals are the names of the open journals, oldest first.
func (f *Files) journals() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".swap") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// parseJournal reads a journal: the SHA-256 of the rest in hex, a line feed, the swap as JSON.
func parseJournal(text []byte) (*swap, error) {
	head, body, found := bytes.Cut(text, []byte("\n"))
	digest := sha256.Sum256(body)
	if !found || len(text) > maxJournal || string(head) != hex.EncodeToString(digest[:]) {
		return nil, errors.New("the journal is damaged")
	}
	var s swap
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("the journal is damaged: %w", err)
	}
	return &s, nil
}

// syncDirs makes the names of all files of the swap durable; a directory that was not made yet has none.
func (s *swap) syncDirs() error {
	var synced []string
	for _, e := range s.Files {
		dir := filepath.Dir(e.Path)
		if slices.Contains(synced, dir) {
			continue
		}
		synced = append(synced, dir)
		if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
