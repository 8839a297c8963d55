package target

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leafward/leafward"
)

// File is one file of a change and what it shall hold.
type File struct {
	Path    string
	Kind    Kind
	Content leafward.Secret
}

// Change is several files that go together, and what makes a service take them. Files are renamed in the given order:
// name the certificate before its key.
type Change struct {
	Files    []File
	Validate Command // the service's configuration test; empty for none
	Reload   Command // empty for none
	// Stopped are texts that a failed reload prints when nothing runs that could be reloaded. Then the change stands:
	// it counts from the next start on.
	Stopped []string
	// Prove looks at what is served after the reload; nil for nothing to look at. A *WrongCertificate puts everything
	// back, another error leaves the new files and is returned.
	Prove func(context.Context) error
	Tell  func(Step) // hears of each step; may be nil
}

// Files swaps files as the Rules of this host allow, one change at a time.
type Files struct {
	dir   string
	rules Rules
	at    func(step string) error
	turn  chan struct{}
}

// NewFiles keeps its journals in dir, which it makes (0700) and which no other process may use meanwhile. at is called
// before each step with its name, for tests: an error fails the step, and what does not return ends the change as a
// crash would. It may be nil.
func NewFiles(dir string, rules Rules, at func(step string) error) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if at == nil {
		at = func(string) error { return nil }
	}
	return &Files{dir: dir, rules: rules, at: at, turn: make(chan struct{}, 1)}, nil
}

// Rules are what this host allows.
func (f *Files) Rules() Rules { return f.rules }

// Holds tells whether every file has its content and mode already, so that Swap would write none.
func (f *Files) Holds(files []File) (bool, error) {
	s, err := f.plan(Change{Files: files, Tell: func(Step) {}})
	return err == nil && len(s.Files) == 0, err
}

// Swap makes the change, or leaves everything as it was. Files that hold their content already are not written again;
// the configuration test, reload and proof are run all the same.
func (f *Files) Swap(ctx context.Context, c Change) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.Tell == nil {
		c.Tell = func(Step) {}
	}
	s, err := f.plan(c)
	if err != nil {
		return err
	}
	if err := f.prepare(ctx, s); err != nil {
		return errors.Join(explain("write the new files", err), f.discard(s))
	}
	if err := f.apply(ctx, s, c.Tell); err != nil {
		return f.undo(ctx, s, c.Tell, err)
	}
	unproved := f.prove(ctx, c)
	if _, wrong := errors.AsType[*WrongCertificate](unproved); wrong {
		return f.undo(ctx, s, c.Tell, unproved)
	}
	return errors.Join(unproved, explain("clear up after the change, which is in use,", f.close(s)))
}

// plan resolves the paths, reads what is there and refuses what the rules do not allow. Nothing is written.
func (f *Files) plan(c Change) (*swap, error) {
	s := &swap{ID: rand.Text(), State: open, Validate: c.Validate, Reload: c.Reload, Stopped: c.Stopped}
	for _, command := range []Command{c.Validate, c.Reload} {
		if len(command) == 0 {
			continue
		}
		if err := f.rules.allow(command); err != nil {
			return nil, err
		}
	}
	seen := map[string]string{}
	for i, file := range c.Files {
		if !contentsOf(file.Content).is(file.Kind) {
			return nil, leafward.Errorf(leafward.Internal, "", "what is to be written to %s is not a %s", file.Path, file.Kind)
		}
		path, err := f.rules.Path(file.Path, file.Kind)
		if err != nil {
			return nil, err
		}
		if other, twice := seen[path]; twice {
			return nil, leafward.Errorf(leafward.Invalid, "give each its own path", "%s and %s are the same file", other, file.Path)
		}
		seen[path] = file.Path
		old, err := read(path)
		if err != nil {
			return nil, explain("read "+path, err)
		}
		mode := modeOf(old, file.Kind)
		if old.exists && old.mode == mode && bytes.Equal(old.content, file.Content) {
			c.Tell(Step{"keep", true, path + " holds it already"})
			continue
		}
		beside := filepath.Join(filepath.Dir(path), fmt.Sprintf(".leafward-%s-%d", s.ID, i))
		s.Files = append(s.Files, entry{
			Path: path, New: beside + ".new", Old: beside + ".old", NewSum: sum(file.Content), OldSum: sum(old.content),
			NewMode: mode, Existed: old.exists, Mode: old.mode, UID: old.uid, GID: old.gid,
			content: file.Content, before: old.content,
		})
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); err == nil || slices.Contains(s.Made, dir) {
				break
			}
			s.Made = append(s.Made, dir)
		}
	}
	return s, nil
}

// modeOf is the mode of the new file: that of the old one, less what lets others at a key.
func modeOf(old existing, kind Kind) fs.FileMode {
	switch {
	case !old.exists && kind.private():
		return 0o600
	case !old.exists:
		return 0o644
	case kind.private() && old.mode&0o007 != 0:
		return old.mode & 0o640
	}
	return old.mode
}

// prepare writes the journal, then the new contents and copies of the old ones beside the files, all durable.
func (f *Files) prepare(ctx context.Context, s *swap) error {
	if err := f.record(s, open); err != nil {
		return err
	}
	for _, dir := range slices.Backward(sorted(s.Made)) {
		if err := f.step("mkdir", func() error { return makeDir(dir) }); err != nil {
			return err
		}
	}
	for _, e := range s.Files {
		err := f.step("write", func() error { return write(e.New, e.content, e.NewMode, e.UID, e.GID) })
		if err == nil && e.Existed {
			err = f.step("save", func() error { return write(e.Old, e.before, 0o600, -1, -1) })
		}
		if err != nil {
			return err
		}
	}
	if err := f.step("sync", s.syncDirs); err != nil {
		return err
	}
	return ctx.Err()
}

// sorted orders directories so that a parent comes after its children.
func sorted(dirs []string) []string {
	return slices.SortedFunc(slices.Values(dirs), func(a, b string) int { return len(b) - len(a) })
}

func makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// apply renames, tests and reloads. Between two renames stands nothing but the call.
func (f *Files) apply(ctx context.Context, s *swap, tell func(Step)) error {
	for _, e := range s.Files {
		if err := f.step("rename", func() error { return os.Rename(e.New, e.Path) }); err != nil {
			return explain("write "+e.Path, err)
		}
	}
	if err := f.step("sync", s.syncDirs); err != nil {
		return explain("write the new files", err)
	}
	for _, e := range s.Files {
		tell(Step{"write", true, "wrote " + e.Path})
	}
	if err := f.step("validate", func() error { return f.validate(ctx, s, tell) }); err != nil {
		return err
	}
	if err := f.record(s, validated); err != nil {
		return explain("write the journal", err)
	}
	return f.step("reload", func() error { return f.reload(ctx, s, tell) })
}

func (f *Files) prove(ctx context.Context, c Change) error {
	if c.Prove == nil {
		return nil
	}
	return f.step("prove", func() error { return c.Prove(ctx) })
}

func (f *Files) validate(ctx context.Context, s *swap, tell func(Step)) error {
	return f.run(ctx, "validate", s.Validate, tell, " passed")
}

func (f *Files) reload(ctx context.Context, s *swap, tell func(Step)) error {
	var heard []Step
	err := f.run(ctx, "reload", s.Reload, func(step Step) { heard = append(heard, step) }, " done")
	if err != nil && slices.ContainsFunc(s.Stopped, func(text string) bool { return strings.Contains(err.Error(), text) }) {
		tell(Step{"reload", true, "nothing runs that could be reloaded: the new files count from the next start on"})
		return nil
	}
	for _, step := range heard {
		tell(step)
	}
	return err
}

func (f *Files) run(ctx context.Context, name string, command Command, tell func(Step), well string) error {
	if len(command) == 0 {
		return nil
	}
	err := f.rules.allow(command)
	if err == nil {
		_, err = command.Run(ctx)
	}
	if err != nil {
		tell(Step{name, false, err.Error()})
		return err
	}
	tell(Step{name, true, command.String() + well})
	return nil
}

// step announces a step and takes it.
func (f *Files) step(name string, do func() error) error {
	if err := f.at(name); err != nil {
		return err
	}
	return do()
}

// write makes a new durable file; nobody else can open it before it has its owner and mode.
func write(path string, content []byte, mode fs.FileMode, uid, gid int) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = dress(file, mode, uid, gid)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// dress gives a file its owner and mode; a uid of -1 keeps the owner.
func dress(file *os.File, mode fs.FileMode, uid, gid int) error {
	if uid >= 0 {
		if err := chown(file, uid, gid); err != nil {
			return fmt.Errorf("cannot keep the owner of the file: %w", err)
		}
	}
	return file.Chmod(mode)
}

// explain gives an error of the operating system a kind and a next step.
func explain(doing string, err error) error {
	if err == nil || leafward.KindOf(err) != leafward.Internal {
		return err
	}
	kind, fix := leafward.Precondition, "mend the cause on the host, then deploy again"
	switch {
	case full(err):
		kind, fix = leafward.StorageFull, "free space on the host's file system, then deploy again"
	case errors.Is(err, fs.ErrPermission):
		fix = "run the agent as a user that may write there and keep the owner of the files"
	}
	return &leafward.Error{Kind: kind, Message: "could not " + doing, Fix: fix, Cause: err}
}

func sum(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}
