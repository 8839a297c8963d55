package app_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// saidTo is the first line that a server answers at a socket to a user.
func saidTo(uid uintptr, socket string) (line string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread is another user's from here on, and ends with the goroutine
		if _, _, failed := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); failed != 0 {
			err = failed
			return
		}
		var conn net.Conn
		if conn, err = net.Dial("unix", socket); err != nil {
			return
		}
		defer conn.Close()
		if _, err = io.WriteString(conn, "GET /api/v1/auth/check HTTP/1.1\r\nHost: leafward\r\n\r\n"); err == nil {
			line, err = bufio.NewReader(conn).ReadString('\n')
		}
	}()
	<-done
	return strings.TrimSpace(line), err
}

// The modes of the files keep others away already; here they are as open as they can be, and the kernel's word remains.
func TestTheLocalSocketIsClosedToEveryOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	base, err := os.MkdirTemp("", "lw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	settings := fresh(t)
	settings.DataDir = filepath.Join(base, "data")
	s := start(t, settings)
	if err := errors.Join(os.Chmod(base, 0o755), os.Chmod(s.dir, 0o755), os.Chmod(s.Socket, 0o666)); err != nil {
		t.Fatal(err)
	}
	if line, err := saidTo(0, s.Socket); err != nil || line != "HTTP/1.1 200 OK" {
		t.Errorf("root hears %q %v", line, err)
	}
	if line, err := saidTo(65534, s.Socket); line != "" || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("another user hears %q %v", line, err)
	}
}

func TestTheSocketLiesInTheDataDirectoryUpToAHundredOctets(t *testing.T) {
	base, err := os.MkdirTemp("", "lw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	for _, octets := range []int{100, 101} {
		settings := fresh(t)
		settings.DataDir = filepath.Join(base, strings.Repeat("x", octets-len(base)-len("//leafward.sock")))
		s := start(t, settings)
		_, err := os.Stat(filepath.Join(s.dir, "socket.path"))
		if beside := errors.Is(err, os.ErrNotExist); beside != (octets == 100) || beside != (s.Socket == filepath.Join(s.dir, "leafward.sock")) {
			t.Errorf("with %d octets the socket is %s", octets, s.Socket)
		}
	}
}
