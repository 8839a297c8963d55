package target_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/targettest"
)

func TestOwnerAndModeOfAFileAreKept(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	a := targettest.NewAuthority(t)
	s := newService(t)
	s.swap(a.Bundle(t, "shop.example"))
	for _, path := range []string{s.live("cert.pem"), s.live("key.pem")} {
		if err := errors.Join(os.Chown(path, 12345, 54321), os.Chmod(path, 0o440)); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(when string) {
		t.Helper()
		for _, name := range []string{"cert.pem", "key.pem"} {
			out, err := exec.CommandContext(t.Context(), "stat", "-c", "%u %g %a", s.live(name)).Output()
			if err != nil || strings.TrimSpace(string(out)) != "12345 54321 440" {
				t.Errorf("%s: %s is %s %v", when, name, out, err)
			}
		}
	}
	s.swap(a.Bundle(t, "shop.example"))
	kept("after a change")
	put(t, s.file("bad"), nil)
	if err := s.files(nil).Swap(t.Context(), s.change(a.Bundle(t, "shop.example"))); err == nil {
		t.Fatal("the change must fail")
	}
	kept("after one that was put back")
}

func TestWhatSomebodyElseWroteAfterACrashIsLeftAlone(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	old, fresh, hand := a.Bundle(t, "shop.example"), targettest.NewAuthority(t).Bundle(t, "shop.example"), targettest.NewAuthority(t).Bundle(t, "shop.example")
	s := newService(t)
	s.swap(old)
	renames := 0
	func() {
		defer func() { _ = recover() }()
		_ = s.files(func(step string) error {
			if step == "validate" {
				panic("killed")
			}
			if step == "rename" {
				renames++
			}
			return nil
		}).Swap(t.Context(), s.change(fresh))
	}()
	if renames != 3 {
		t.Fatalf("%d renames", renames)
	}
	for name, content := range map[string][]byte{"cert.pem": hand.FullChain(), "key.pem": hand.Key(), "chain.pem": hand.Chain()} {
		put(t, s.live(name), content)
	}
	var told strings.Builder
	if err := s.files(nil).Recover(t.Context(), func(step target.Step) { fmt.Fprintln(&told, step.Message) }); err != nil {
		t.Fatal(err)
	}
	if s.state(s.live, old, fresh, hand) != hand.Fingerprint() || !strings.Contains(told.String(), "somebody else") {
		t.Errorf("the other hand's files were changed: %s", &told)
	}
	s.tidy()
}

func TestADamagedJournalIsPutAsideAndNamed(t *testing.T) {
	t.Parallel()
	s := newService(t)
	files := s.files(nil)
	put(t, filepath.Join(s.journals, "00000001-X.swap"), []byte("torn"))
	put(t, filepath.Join(s.journals, "00000002-Y.swap.tmp"), []byte("to"))
	err := files.Recover(t.Context(), nil)
	if leafward.KindOf(err) != leafward.Precondition || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	if err := files.Recover(t.Context(), nil); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.journals, "*")); len(left) != 1 || !strings.HasSuffix(left[0], ".damaged") {
		t.Errorf("left: %v", left)
	}
}

func TestAChangeThatIsNotAllowedWritesNothing(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	fresh := a.Bundle(t, "shop.example")
	s := newService(t)
	put(t, filepath.Join(s.allowed, "real.pem"), fresh.FullChain())
	link(t, filepath.Join(s.allowed, "real.pem"), filepath.Join(s.allowed, "link.pem"))
	for name, spoil := range map[string]func(*target.Change){
		"a path outside": func(c *target.Change) { c.Files[1].Path = filepath.Join(s.outside, "key.pem") },
		"another test":   func(c *target.Change) { c.Validate = target.Command{"true"} },
		"another reload": func(c *target.Change) { c.Reload = target.Command{"true"} },
		"a key as chain": func(c *target.Change) { c.Files[2].Content = fresh.Key() },
		"one file twice": func(c *target.Change) { c.Files[2].Path = c.Files[0].Path },
		"one file by a link": func(c *target.Change) {
			c.Files[0].Path, c.Files[2].Path = filepath.Join(s.allowed, "real.pem"), filepath.Join(s.allowed, "link.pem")
		},
	} {
		change := s.change(fresh)
		spoil(&change)
		if err := s.files(nil).Swap(t.Context(), change); err == nil {
			t.Errorf("%s: the change was made", name)
		}
		if s.state(s.live, fresh) != "" {
			t.Errorf("%s: something was written", name)
		}
		s.tidy()
	}
}

func TestASecondChangeWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	s := newService(t)
	inside, finish := make(chan struct{}), make(chan struct{})
	files := s.files(nil)
	first := s.change(a.Bundle(t, "shop.example"))
	first.Prove = func(context.Context) error {
		close(inside)
		<-finish
		return nil
	}
	ended := make(chan error)
	go func() { ended <- files.Swap(context.Background(), first) }()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := files.Swap(ctx, s.change(a.Bundle(t, "shop.example"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSwapInAnotherProcess is not a test: it is the process that TestKillsAtRandomMoments kills.
func TestSwapInAnotherProcess(t *testing.T) {
	dir := os.Getenv("LEAFWARD_TEST_SWAP")
	if dir == "" {
		t.Skip("runs only as a child of TestKillsAtRandomMoments")
	}
	g := ground{dir: dir, allowed: filepath.Join(dir, "allowed"), own: filepath.Join(dir, "allowed", "own")}
	s := &service{ground: g, t: t, journals: filepath.Join(g.own, "swaps"), rules: g.rules(t, "true")}
	s.validate, s.reload = target.Command{"true"}, target.Command{"true"}
	files := s.files(func(step string) error {
		_, err := fmt.Println(step)
		return err
	})
	for i := 0; ; i++ {
		cert, err := os.ReadFile(s.file(fmt.Sprintf("cert%d", i%2)))
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(s.file(fmt.Sprintf("key%d", i%2)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := target.NewBundle(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := files.Swap(t.Context(), s.change(b)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKillsAtRandomMoments(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	g := newGround(t)
	s := &service{ground: g, t: t, journals: filepath.Join(g.own, "swaps"), rules: g.rules(t, "true")}
	bundles := []target.Bundle{a.Bundle(t, "shop.example"), a.Bundle(t, "shop.example")}
	for i, b := range bundles {
		put(t, s.file(fmt.Sprintf("cert%d", i)), b.FullChain())
		put(t, s.file(fmt.Sprintf("key%d", i)), b.Key())
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 25 {
		steps := 1 + random.IntN(80)
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSwapInAnotherProcess$")
		child.Env = append(os.Environ(), "LEAFWARD_TEST_SWAP="+s.dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		seen := bufio.NewScanner(out)
		for steps > 0 && seen.Scan() {
			steps--
		}
		_ = child.Process.Kill()
		_ = child.Wait()
		if steps > 0 {
			t.Fatalf("the child ended by itself: %s", seen.Text())
		}
		if err := s.files(nil).Recover(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if s.state(s.live, bundles...) != "" {
			if _, err := tls.LoadX509KeyPair(s.live("cert.pem"), s.live("key.pem")); err != nil {
				t.Fatal(err)
			}
		}
		s.tidy()
	}
}
