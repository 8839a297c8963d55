//go:build !linux && !darwin

package app

import (
	"errors"
	"net"
)

func peer(*net.UnixConn) (uid uint32, err error) { return 0, errors.ErrUnsupported }

func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }

func mayWrite(string) error { return errors.ErrUnsupported }
