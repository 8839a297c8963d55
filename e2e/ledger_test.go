//go:build linux

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// event is what the ledger says of one.
type event struct {
	Seq   int64
	Event struct {
		Action   string `json:"action"`
		Resource string `json:"resource_id"`
		Details  object `json:"details"`
	}
}

// follower reads the ledger of a server while it grows: the server writes each event there, so that a test that waits
// for something waits for its event.
type follower struct {
	dir    string
	file   string // the one being read
	offset int64
	watch  *os.File
	events []event // read, and not yet waited for
}

// follow begins with the first event of the ledger.
func follow(t testing.TB, dir string) *follower {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{dir: dir, watch: os.NewFile(uintptr(fd), "inotify")}
	t.Cleanup(func() { _ = f.watch.Close() })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		t.Fatalf("watching %s: %v", dir, err)
	}
	return f
}

// next waits for an event that matches, and skips the ones before it.
func (f *follower) next(t testing.TB, what string, match func(event) bool) event {
	t.Helper()
	if err := f.watch.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var told []string
	for {
		if err := f.read(); err != nil {
			t.Fatalf("reading the ledger: %v", err)
		}
		for i, e := range f.events {
			if match(e) {
				f.events = slices.Clone(f.events[i+1:])
				return e
			}
			told = append(told, e.Event.Action+" "+e.Event.Resource)
		}
		f.events = nil
		if _, err := f.watch.Read(make([]byte, 4096)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("waited %s for %s; since then there was %q", patience, what, told)
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// await waits for an action on a resource, "" for any.
func (f *follower) await(t testing.TB, action, resource string) event {
	t.Helper()
	return f.next(t, action+" "+resource, func(e event) bool {
		return e.Event.Action == action && (resource == "" || e.Event.Resource == resource)
	})
}

// read takes what is new in the ledger's files.
func (f *follower) read() error {
	files, err := filepath.Glob(filepath.Join(f.dir, "*.jsonl"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, file := range files {
		if file < f.file {
			continue
		}
		if file > f.file {
			f.file, f.offset = file, 0
		}
		if err := f.take(); err != nil {
			return err
		}
	}
	return nil
}

// take reads the whole lines behind the offset.
func (f *follower) take() error {
	file, err := os.Open(f.file)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := io.ReadAll(io.NewSectionReader(file, f.offset, 1<<40))
	if err != nil {
		return err
	}
	for {
		line, rest, whole := bytes.Cut(content, []byte("\n"))
		if !whole {
			return nil
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		f.events = append(f.events, e)
		f.offset += int64(len(line)) + 1
		content = rest
	}
}
