//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrMissing says that PostgreSQL is not installed, or cannot be run on this machine.
var ErrMissing = errors.New("PostgreSQL is missing; on Debian: apt-get install postgresql")

// Durability says whether a cluster waits for the disk.
type Durability bool

// A Fast cluster forgets its last commits when the machine stops; a Durable one waits for the disk at every commit.
const (
	Fast    Durability = false
	Durable Durability = true
)

// Server is a running cluster.
type Server struct {
	url   string
	dir   string
	alive io.Closer     // the supervisor stops the cluster when this end of the pipe closes, also by our death
	up    chan struct{} // one is put in when it takes connections, and lies there until it is taken
	done  chan struct{} // closed when the supervisor is gone
	log   *tail
}

//go:embed supervise.sh
var supervise string

// Start runs a new cluster on a free port of the loopback address until Stop, or until this process ends in any way.
func Start(ctx context.Context, durability Durability) (*Server, error) {
	var err error
	for range 3 { // another process can take the port between its choice and its use
		var server *Server
		if server, err = start(ctx, durability); err == nil {
			return server, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, err
}

// URL is the superuser's.
func (s *Server) URL() string { return s.url }

// Stop ends the cluster and removes its files. It may be called again.
func (s *Server) Stop() error {
	if err := s.alive.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("PostgreSQL does not stop: %s", s.log)
	}
}

// Restart ends PostgreSQL and has it started again: with SIGINT it ends every session in an orderly way, with SIGQUIT it goes
// down as in a crash. It returns when connections are taken again.
func (s *Server) Restart(how syscall.Signal) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "again"), nil, 0o644); err != nil {
		return err
	}
	if err := syscall.Kill(pid, how); err != nil {
		return err
	}
	select {
	case <-s.up:
		return nil
	case <-s.done:
	case <-time.After(30 * time.Second):
	}
	return fmt.Errorf("PostgreSQL does not come back: %s", s.log)
}

func start(ctx context.Context, durability Durability) (_ *Server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	owner, err := account()
	if err != nil {
		return nil, err
	}
	password := rand.Text()
	dir, err := directory(owner, password)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", supervise, "supervise", bin, dir}, settings(dir, port, durability)...)...) //nolint:noctx // it outlives ctx: Stop ends it
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: owner}
	s := &Server{
		url:  (&url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Host: "127.0.0.1:" + port, Path: "/postgres", RawQuery: "sslmode=disable"}).String(),
		dir:  dir,
		up:   make(chan struct{}, 1),
		done: make(chan struct{}),
		log:  &tail{},
	}
	if err := s.run(ctx, cmd); err != nil {
		return nil, err
	}
	return s, nil
}

// run starts the supervisor and returns when the cluster takes connections.
func (s *Server) run(ctx context.Context, cmd *exec.Cmd) error {
	alive, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.alive = alive
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.log.add(lines.Text())
			if strings.Contains(lines.Text(), "database system is ready to accept connections") {
				select {
				case s.up <- struct{}{}:
				default:
				}
			}
		}
		if err := cmd.Wait(); err != nil {
			s.log.add(err.Error())
		}
	}()
	select {
	case <-s.up:
		return nil
	case <-s.done:
		if strings.Contains(s.log.String(), "Address already in use") {
			return errPortTaken
		}
		return fmt.Errorf("PostgreSQL did not start: %s", s.log)
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.Stop())
	}
}

var errPortTaken = errors.New("PostgreSQL: another process took the port")

func settings(dir, port string, durability Durability) []string {
	on := "off"
	if durability == Durable {
		on = "on"
	}
	var out []string
	for _, s := range []string{
		"listen_addresses=127.0.0.1", "port=" + port, "unix_socket_directories=" + dir, "max_connections=300",
		"shared_buffers=64MB", "log_min_messages=log", "log_checkpoints=off",
		"fsync=" + on, "synchronous_commit=" + on, "full_page_writes=" + on,
	} {
		out = append(out, "-c", s)
	}
	return out
}

// binaries is the folder of the newest PostgreSQL that Debian installed, else of the one on the path.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	newest, best := "", 0
	for _, initdb := range found {
		bin := filepath.Dir(initdb)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > best {
			newest, best = bin, version
		}
	}
	if newest != "" {
		return newest, nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrMissing
	}
	return filepath.Dir(initdb), nil
}

// account is whom PostgreSQL runs as: it refuses root, which becomes the account of Debian's package; nil is ourselves.
func account() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no other credential is wanted
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w: root needs an account to run it as: %w", ErrMissing, err)
	}
	uid, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(owner.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// directory makes the cluster's folder with the superuser's password in it.
func directory(owner *syscall.Credential, password string) (string, error) {
	parent := os.TempDir()
	if owner != nil {
		parent = "/tmp" // where another account may go
	}
	dir, err := os.MkdirTemp(parent, "pgtest-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "password")
	err = os.WriteFile(file, []byte(password+"\n"), 0o600)
	for _, name := range []string{file, dir} {
		if owner != nil && err == nil {
			err = os.Chown(name, int(owner.Uid), int(owner.Gid))
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

func freePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
