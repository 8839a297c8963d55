package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/leafward/leafward"
)

// The local socket, and the file that says where it is when the data directory's own path is too long for one.
const (
	socketName  = "leafward.sock"
	pointerName = "socket.path"

	maxSocketPath = 100 // octets; systems end at 104 to 108
)

// listenLocal opens the local socket, which admits the owner of this process and root only. The data directory is ours
// alone, so a socket that lies there is of a process that has ended.
func listenLocal(ctx context.Context, dir string) (net.Listener, string, error) {
	path, pointer := filepath.Join(dir, socketName), filepath.Join(dir, pointerName)
	if err := forget(pointer, path); err != nil {
		return nil, "", err
	}
	if len(path) > maxSocketPath {
		private, err := os.MkdirTemp("", "leafward-") // mode 0700
		if err != nil {
			return nil, "", fmt.Errorf("making a directory for the local socket: %w", err)
		}
		path = filepath.Join(private, socketName)
		if len(path) > maxSocketPath {
			return nil, "", leafward.Errorf(leafward.Invalid, "give a shorter --data-dir or TMPDIR", "the path of the local socket, %s, is longer than %d octets", path, maxSocketPath)
		}
		if err := replaceFile(pointer, []byte(path+"\n"), 0o600); err != nil {
			return nil, "", err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, "", fmt.Errorf("listening on the local socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	return &ownersOnly{listener}, path, nil
}

// forget removes what an earlier process left: the socket in the data directory, or the one that the pointer names.
func forget(pointer, path string) error {
	if text, err := os.ReadFile(pointer); err == nil {
		old := filepath.Clean(string(trimLine(text)))
		if filepath.Base(old) == socketName && filepath.IsAbs(old) {
			_ = os.Remove(old) // as far as it is still there
			_ = os.Remove(filepath.Dir(old))
		}
	}
	for _, file := range []string{pointer, path} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what an earlier process left: %w", err)
		}
	}
	return nil
}

func trimLine(text []byte) []byte {
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return text
}

// ownersOnly accepts connections of this process's user and of root.
type ownersOnly struct{ net.Listener }

// owned is a connection whose other side the kernel has named.
type owned struct {
	net.Conn
	uid uint32
}

func (o *ownersOnly) Accept() (net.Conn, error) {
	for {
		conn, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peer(conn.(*net.UnixConn))
		if err == nil && (uid == 0 || uid == uint32(os.Geteuid())) {
			return &owned{conn, uid}, nil
		}
		_ = conn.Close()
	}
}

// localActor is the context of a connection on the local socket: its user is the administrator of this server.
func localActor(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*owned); ok {
		return leafward.WithActor(ctx, leafward.System(fmt.Sprintf("local user %d", c.uid)))
	}
	return ctx
}
