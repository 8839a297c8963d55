package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/leafward/leafward"
)

// makeDir makes a directory of the agent's own (0700), and refuses one that others may look into.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return explain("make the directory "+dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return explain("use the directory "+dir, err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return leafward.Errorf(leafward.Denied, "chmod 700 "+dir, "%s has mode %04o: others than its owner have a right to it", dir, mode)
	}
	return nil
}

// save writes a private file whole or not at all: after a crash at any moment it holds what it held before, or the new
// content.
func save(path string, content []byte) error {
	temporary := path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(filepath.Dir(path))
}

// load reads a private file of at most limit bytes. One that others than its owner have a right to is refused; Windows
// has no such mode, there the directory's access list is what guards.
func load(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, leafward.Errorf(leafward.Denied, "chmod 600 "+path+", and see who could read it", "%s has mode %04o: others than its owner have a right to it", path, mode)
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return content, err
}

// explain makes an error of the file system one for people.
func explain(doing string, err error) error {
	if err == nil || leafward.KindOf(err) != leafward.Internal {
		return err
	}
	kind, fix := leafward.Precondition, "mend the cause on this host, then try again"
	if errors.Is(err, fs.ErrPermission) {
		kind, fix = leafward.Denied, "run the agent as a user that may, or name another directory with --data-dir"
	}
	return &leafward.Error{Kind: kind, Message: "could not " + doing, Fix: fix, Cause: err}
}
