package target_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/targettest"
)

// service stands for a program with a certificate, a key and a chain: its test is a script that fails on demand, and its
// reload a script that copies what it finds to loaded.
type service struct {
	ground
	t        testing.TB
	rules    target.Rules
	validate target.Command
	reload   target.Command
	journals string
}

func newService(t testing.TB) *service {
	t.Helper()
	s := &service{ground: newGround(t), t: t}
	s.journals = filepath.Join(s.own, "swaps")
	live := filepath.Join(s.allowed, "tls", "shop")
	put(t, s.file("validate"), []byte("[ ! -e bad ] || { echo configuration is bad; exit 1; }"))
	put(t, s.file("reload"), fmt.Appendf(nil, "[ ! -e jam ] || { echo cannot reload; exit 1; }; cp %s/* loaded/ 2>/dev/null || true", live))
	if err := os.Mkdir(s.file("loaded"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.validate = target.Command{"sh", "-c", "cd " + s.dir + " && . ./validate"}
	s.reload = target.Command{"sh", "-c", "cd " + s.dir + " && . ./reload"}
	s.rules = s.ground.rules(t, s.validate.String(), s.reload.String())
	return s
}

func (s *service) file(name string) string { return filepath.Join(s.dir, name) }
func (s *service) live(name string) string {
	return filepath.Join(s.allowed, "tls", "shop", name)
}

// files opens the journals as a process that has just started.
func (s *service) files(at func(string) error) *target.Files {
	s.t.Helper()
	files, err := target.NewFiles(s.journals, s.rules, at)
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

func (s *service) change(b target.Bundle) target.Change {
	return target.Change{Validate: s.validate, Reload: s.reload, Files: []target.File{
		{Path: s.live("cert.pem"), Kind: target.Certificate, Content: b.FullChain()},
		{Path: s.live("key.pem"), Kind: target.Key, Content: b.Key()},
		{Path: s.live("chain.pem"), Kind: target.Chain, Content: b.Chain()},
	}}
}

func (s *service) swap(b target.Bundle) {
	s.t.Helper()
	if err := s.files(nil).Swap(s.t.Context(), s.change(b)); err != nil {
		s.t.Fatal(err)
	}
}

// state is what the files hold: the fingerprint of the bundle that all of them are from, "" when there are none.
// Anything else fails the test, and so does litter.
func (s *service) state(where func(string) string, bundles ...target.Bundle) string {
	s.t.Helper()
	text := func(name string) string {
		content, err := os.ReadFile(where(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
		return string(content)
	}
	got := [3]string{text("cert.pem"), text("key.pem"), text("chain.pem")}
	for _, b := range bundles {
		if got == [3]string{string(b.FullChain()), string(b.Key()), string(b.Chain())} {
			return b.Fingerprint()
		}
	}
	if got != [3]string{} {
		s.t.Fatalf("the files do not belong together: %.60q", got)
	}
	return ""
}

func (s *service) tidy() {
	s.t.Helper()
	err := filepath.WalkDir(s.allowed, func(path string, _ fs.DirEntry, err error) error {
		if name := filepath.Base(path); strings.HasPrefix(name, ".leafward-") || strings.Contains(name, ".swap") {
			s.t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) loaded(name string) string { return filepath.Join(s.dir, "loaded", name) }

// crash runs do until the nth step is reached and ends it there, as a kill would. It tells whether it came so far.
func crash(s *service, n int, do func(*target.Files) error) (crashed bool) {
	type killed struct{}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			crashed = true
		}
	}()
	_ = do(s.files(func(string) error {
		if n--; n < 0 {
			panic(killed{})
		}
		return nil
	}))
	return false
}

func TestAfterACrashAtAnyStepTheFilesAreAllOldOrAllNew(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	old, kin, stranger := a.Bundle(t, "shop.example"), a.Bundle(t, "shop.example"), targettest.NewAuthority(t).Bundle(t, "shop.example")
	for name, c := range map[string]struct {
		fresh target.Bundle
		set   func(*service)
	}{
		"a change that would succeed":          {stranger, func(*service) {}},
		"a change that keeps the chain":        {kin, func(*service) {}},
		"a change whose test fails":            {stranger, func(s *service) { put(s.t, s.file("bad"), nil) }},
		"a change whose reload fails":          {stranger, func(s *service) { put(s.t, s.file("jam"), nil) }},
		"a change of a key others may read":    {stranger, func(s *service) { _ = os.Chmod(s.live("key.pem"), 0o644) }},
		"a change of nothing but a key's mode": {old, func(s *service) { _ = os.Chmod(s.live("key.pem"), 0o644) }},
	} {
		for _, first := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, first %t", name, first), func(t *testing.T) {
				t.Parallel()
				for n, crashed := 0, true; crashed; n++ {
					s := newService(t)
					if !first {
						s.swap(old)
					}
					c.set(s)
					crashed = crash(s, n, func(f *target.Files) error { return f.Swap(t.Context(), s.change(c.fresh)) })
					_ = os.Remove(s.file("bad"))
					_ = os.Remove(s.file("jam"))
					if err := s.files(nil).Recover(t.Context(), nil); err != nil {
						t.Fatalf("step %d: %v", n, err)
					}
					state := s.state(s.live, old, c.fresh)
					if state == "" && !first {
						t.Fatalf("step %d: the files are gone", n)
					}
					if state == c.fresh.Fingerprint() && s.state(s.loaded, old, c.fresh) != state {
						t.Fatalf("step %d: the new files are not loaded", n)
					}
					s.tidy()
				}
			})
		}
	}
}

func TestARecoveryThatCrashesIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	old, fresh := a.Bundle(t, "shop.example"), targettest.NewAuthority(t).Bundle(t, "shop.example")
	for _, bad := range []bool{false, true} {
		t.Run(fmt.Sprintf("with a test that fails %t", bad), func(t *testing.T) {
			t.Parallel()
			for n, crashed := 0, true; crashed; n++ {
				for m, again := n%4, true; again; m += 4 { // neighbouring n see the steps between
					s := newService(t)
					s.swap(old)
					crashed = crash(s, n, func(f *target.Files) error { return f.Swap(t.Context(), s.change(fresh)) })
					if bad {
						put(t, s.file("bad"), nil)
					}
					again = crash(s, m, func(f *target.Files) error { return f.Recover(t.Context(), nil) })
					_ = os.Remove(s.file("bad"))
					if err := s.files(nil).Recover(t.Context(), nil); err != nil {
						t.Fatalf("steps %d and %d: %v", n, m, err)
					}
					if s.state(s.live, old, fresh) == "" {
						t.Fatalf("steps %d and %d: the files are gone", n, m)
					}
					s.tidy()
				}
			}
		})
	}
}

func TestAStepThatFailsLeavesEverythingAsItWas(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	old, fresh := a.Bundle(t, "shop.example"), targettest.NewAuthority(t).Bundle(t, "shop.example")
	for n := 0; ; n++ {
		s := newService(t)
		s.swap(old)
		step, left := "", n
		err := s.files(func(name string) error {
			if left--; left == -1 {
				step = name
				return syscall.ENOSPC
			}
			return nil
		}).Swap(t.Context(), s.change(fresh))
		if step == "" {
			return
		}
		want := old
		switch step {
		case "prove", "record done", "clear", "close": // the change stands: these come after it
			want = fresh
		default:
			if err == nil {
				t.Errorf("step %d (%s) failed and the change is reported as done", n, step)
			}
		}
		if got := s.state(s.live, old, fresh); got != want.Fingerprint() {
			t.Errorf("after step %d (%s) the files are not what they must be: %v", n, step, err)
		}
		if strings.HasPrefix(step, "write") && leafward.KindOf(err) != leafward.StorageFull {
			t.Errorf("a full disk at %s is reported as %v", step, err)
		}
		if err := s.files(nil).Recover(t.Context(), nil); err != nil {
			t.Errorf("after step %d (%s): %v", n, step, err)
		}
		if got := s.state(s.live, old, fresh); got != want.Fingerprint() {
			t.Errorf("recovery after step %d (%s) changed the files", n, step)
		}
		s.tidy()
	}
}

func TestOnlyTheWrongCertificatePutsBackWhatIsServed(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	old, fresh := a.Bundle(t, "shop.example"), targettest.NewAuthority(t).Bundle(t, "shop.example")
	s := newService(t)
	s.swap(old)
	change := s.change(fresh)
	change.Prove = func(context.Context) error {
		return &target.WrongCertificate{Address: "127.0.0.1:443", Served: []string{"ab"}}
	}
	err := s.files(nil).Swap(t.Context(), change)
	if leafward.KindOf(err) != leafward.Precondition || !strings.Contains(err.Error(), "neither the old nor the new") || !strings.Contains(err.Error(), "put back") {
		t.Errorf("got %v", err)
	}
	if s.state(s.live, old, fresh) != old.Fingerprint() || s.state(s.loaded, old, fresh) != old.Fingerprint() {
		t.Error("the old version is not back")
	}
	unreachable := errors.New("unreachable")
	change.Prove = func(context.Context) error { return unreachable }
	if err := s.files(nil).Swap(t.Context(), change); !errors.Is(err, unreachable) {
		t.Errorf("got %v", err)
	}
	if s.state(s.live, old, fresh) != fresh.Fingerprint() {
		t.Error("a proof that could not be had put the files back")
	}
	s.tidy()
}

func TestAReloadWithNothingToReloadIsNoFailure(t *testing.T) {
	t.Parallel()
	s := newService(t)
	fresh := targettest.NewAuthority(t).Bundle(t, "shop.example")
	put(t, s.file("jam"), nil)
	change := s.change(fresh)
	change.Stopped = []string{"cannot reload"}
	var told []string
	change.Tell = func(step target.Step) { told = append(told, fmt.Sprint(step.OK, " ", step.Message)) }
	if err := s.files(nil).Swap(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"true wrote " + s.live("cert.pem"), "true wrote " + s.live("key.pem"), "true wrote " + s.live("chain.pem"),
		"true " + s.validate.String() + " passed", "true nothing runs that could be reloaded: the new files count from the next start on",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
}
