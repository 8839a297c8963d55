//go:build unix

package store

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/leafward/leafward"
)

// lockFile takes the exclusive lock of a data directory; the kernel drops it when the process ends, however it ends.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		_ = f.Close()
		return nil, leafward.Errorf(leafward.Conflict, "stop the other process, or give this one another --data-dir",
			"another process uses this data directory (%s is locked)", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
