package agent

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// DefaultDir is the agent's data directory when none is named.
func DefaultDir() string {
	base := os.Getenv("ProgramData")
	if base == "" {
		base = `C:\ProgramData`
	}
	return filepath.Join(base, "leafward-agent")
}

const sharingViolation syscall.Errno = 32 // ERROR_SHARING_VIOLATION

// lock opens a file that nobody else can open meanwhile; the system closes it when the process ends, however it ends.
func lock(path string) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, sharingViolation) {
		err = errLocked
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(handle), path), nil
}

// syncDir does nothing: a directory cannot be synced here.
func syncDir(string) error { return nil }
