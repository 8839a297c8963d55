package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leafward/leafward"
)

// Recover finishes or undoes what a crash interrupted: call it when the agent starts, before the first Swap. A change
// whose test had passed is reloaded, every other one is put back, tested and reloaded. Doing it again changes nothing.
// A change that cannot be put back keeps its journal for the next time; a journal that cannot be read is renamed
// to .damaged. The error names all of them; the agent can work on regardless.
func (f *Files) Recover(ctx context.Context, tell func(Step)) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if tell == nil {
		tell = func(Step) {}
	}
	names, err := f.journals()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range slices.Backward(names) {
		s, err := f.load(name)
		if err == nil {
			err = f.recover(ctx, s, tell)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(append(failed, f.sweep())...)
}

// recover brings one interrupted swap to its end.
func (f *Files) recover(ctx context.Context, s *swap, tell func(Step)) error {
	switch {
	case s.State == done:
		return f.close(s)
	case s.State == validated && s.allNew():
		err := f.validate(ctx, s, tell)
		if err == nil {
			err = f.reload(ctx, s, tell)
		}
		if err != nil {
			return f.undo(ctx, s, tell, err)
		}
		tell(Step{"recover", true, "finished the change that was interrupted"})
		return f.close(s)
	}
	back, err := f.putBack(ctx, s, tell)
	if err != nil {
		return err
	}
	tell(Step{"recover", true, "undid the change that was interrupted; " + back})
	return nil
}

// allNew tells whether every file holds what the swap wanted.
func (s *swap) allNew() bool {
	return !slices.ContainsFunc(s.Files, func(e entry) bool {
		now, err := read(e.Path)
		return err != nil || !now.exists || sum(now.content) != e.NewSum
	})
}

// undo puts everything back because of an error, and says both in its own.
func (f *Files) undo(ctx context.Context, s *swap, tell func(Step), why error) error {
	fix := "mend the cause on the host, then deploy again"
	if e, ok := errors.AsType[*leafward.Error](why); ok && e.Fix != "" {
		fix = e.Fix
	} else if _, wrong := errors.AsType[*WrongCertificate](why); wrong {
		fix = "see which program answers there, and whether it reads the files of this target"
	}
	if len(s.Files) == 0 {
		return &leafward.Error{Kind: leafward.Precondition, Message: why.Error() + "; no file was changed", Fix: fix}
	}
	back, err := f.putBack(context.WithoutCancel(ctx), s, tell)
	if err != nil {
		back = err.Error()
	}
	return &leafward.Error{Kind: leafward.Precondition, Message: why.Error() + "; " + back, Fix: fix}
}

// putBack restores every file that holds the new content, then tests and reloads. What somebody else wrote meanwhile
// is left alone. The text says how it went; an error means that a file could not be restored, and the journal stays.
func (f *Files) putBack(ctx context.Context, s *swap, tell func(Step)) (string, error) {
	_ = f.record(s, undoing) // without it Recover undoes all the same: not every file is new
	var failed []error
	for _, e := range s.Files {
		var note string
		err := f.step("restore", func() (err error) { note, err = e.restore(); return err })
		if err != nil {
			failed = append(failed, fmt.Errorf("%s could not be put back: %w", e.Path, err))
			note = failed[len(failed)-1].Error()
		}
		if note != "" {
			tell(Step{"restore", err == nil, note})
		}
	}
	if err := errors.Join(append(failed, s.syncDirs())...); err != nil {
		return "", &leafward.Error{
			Kind: leafward.Precondition, Message: "not everything could be put back; the agent tries again when it starts",
			Fix: "mend the cause on the host and restart the agent", Cause: err,
		}
	}
	outcome := "everything was put back"
	if err := f.validate(ctx, s, tell); err != nil {
		outcome += ", and the test fails with the old files too"
	} else if err := f.reload(ctx, s, tell); err != nil {
		outcome += ", but the reload fails with the old files too"
	}
	return outcome, f.discard(s)
}

// restore puts one file back, if it holds the new content; doing it again does nothing.
func (e entry) restore() (note string, err error) {
	now, err := read(e.Path)
	if err != nil {
		return "", err
	}
	holds := sum(now.content)
	renamed := now.exists && holds == e.NewSum && (e.NewSum != e.OldSum || now.mode == e.NewMode)
	switch {
	case !renamed && now.exists == e.Existed && holds == e.OldSum:
		return "", nil
	case !renamed:
		return "left " + e.Path + " alone: somebody else changed it meanwhile", nil
	case !e.Existed:
		return "removed " + e.Path, os.Remove(e.Path)
	}
	saved, err := os.OpenFile(e.Old, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(io.LimitReader(saved, maxFile+1))
	if err == nil && sum(content) != e.OldSum {
		err = errors.New("the saved copy is damaged")
	}
	if err == nil {
		err = dress(saved, e.Mode, e.UID, e.GID)
	}
	if err == nil {
		err = saved.Sync()
	}
	if err = errors.Join(err, saved.Close()); err != nil {
		return "", err
	}
	return "put back " + e.Path, os.Rename(e.Old, e.Path)
}

// close ends a swap that stands: the copies of what was before go, then the journal.
func (f *Files) close(s *swap) error {
	if len(s.Files) == 0 {
		return nil
	}
	if s.State != done {
		if err := f.record(s, done); err != nil {
			return err
		}
	}
	return f.clear(s)
}

// discard ends a swap that was undone or never began: all that it made goes, then the journal.
func (f *Files) discard(s *swap) error {
	if len(s.Files) == 0 {
		return nil
	}
	if err := f.clear(s); err != nil {
		return err
	}
	for _, dir := range sorted(s.Made) {
		_ = os.Remove(dir) // one that somebody else uses by now is not empty and stays
	}
	return nil
}

// clear removes what lies beside the files, and then the journal that names it.
func (f *Files) clear(s *swap) error {
	for _, e := range s.Files {
		for _, path := range []string{e.New, e.Old} {
			if err := f.step("clear", func() error { return os.Remove(path) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := f.step("close", func() error { return os.Remove(f.journal(s)) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(f.dir)
}

// load reads a journal; one that is damaged is put aside under another name.
func (f *Files) load(name string) (*swap, error) {
	path := filepath.Join(f.dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := parseJournal(text)
	if err == nil {
		return s, nil
	}
	aside := strings.TrimSuffix(path, ".swap") + ".damaged"
	return nil, errors.Join(&leafward.Error{
		Kind: leafward.Precondition, Message: "an interrupted change cannot be undone: " + err.Error(),
		Fix: "deploy the certificates of this host again, which writes each pair anew; what is known stands in " + aside,
	}, os.Rename(path, aside))
}

// sweep removes journals that a crash left half-written: nothing had been done yet under them.
func (f *Files) sweep() error {
	torn, err := filepath.Glob(filepath.Join(f.dir, "*.swap.tmp"))
	for _, path := range torn {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
