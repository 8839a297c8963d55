//go:build unix

package agent

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// DefaultDir is the agent's data directory when none is named.
func DefaultDir() string { return "/var/lib/leafward-agent" }

// lock takes the exclusive lock of a file; the kernel drops it when the process ends, however it ends.
func lock(path string) (io.Closer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
