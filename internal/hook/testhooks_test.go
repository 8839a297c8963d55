//go:build testhooks

package hook

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheClockMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Date(2040, 2, 29, 12, 0, 0, 0, time.UTC)
		clock := NewClock(start)
		if now := clock.Now(); !now.Equal(start) {
			t.Fatalf("it shows %v", now)
		}
		clock.Advance(24 * time.Hour)
		time.Sleep(time.Second)
		if now := clock.Now(); !now.Equal(start.Add(24*time.Hour + time.Second)) {
			t.Errorf("it shows %v", now)
		}
		clock.Advance(-clock.Offset())
		if !clock.Now().Equal(time.Now()) {
			t.Error("it does not go back")
		}
	})
}

// hits tells which of n hits of a point with an action failed, as a word of . and x.
func hits(t *testing.T, action string, n int) string {
	t.Helper()
	points := NewPoints()
	if err := points.Set("p", action); err != nil {
		t.Fatal(err)
	}
	word := ""
	for range n {
		if points.Hit("p") != nil {
			word += "x"
		} else {
			word += "."
		}
	}
	if list := points.List(); len(list) != 1 || list[0].Hits != n || list[0].Action != action {
		t.Errorf("%s: %+v", action, list)
	}
	return word
}

func TestAPointFailsAsOftenAsItIsTold(t *testing.T) {
	for action, want := range map[string]string{
		"error": "xxxxxx", "2*error:disk full": "xx....", "after:3,error": "...xxx", "after:1,2*error:a:b*c,d": ".xx...", "0*kill": "......",
	} {
		if got := hits(t, action, 6); got != want {
			t.Errorf("%s: %s, want %s", action, got, want)
		}
	}
	points := NewPoints()
	if err := points.Set("p", "error:disk: full, 2*"); err != nil {
		t.Fatal(err)
	}
	if err := points.Hit("p"); err == nil || err.Error() != "failpoint p: disk: full, 2*" {
		t.Errorf("the error says %v", err)
	}
	if err := points.Hit("q"); err != nil {
		t.Error("another point fails")
	}
	points.Clear("p")
	if err := points.Hit("p"); err != nil || len(points.List()) != 0 {
		t.Error("a cleared point fails")
	}
}

func TestAnActionThatIsNoneIsRefused(t *testing.T) {
	points := NewPoints()
	for _, action := range []string{
		"", "explode", "kill:9", "exit", "exit:", "exit:x", "exit:300", "sleep", "sleep:-1s", "sleep:1", "x*error",
		"-1*error", "after:,error", "after:1", "block:1", "2*", "panic:no",
	} {
		if err := points.Set("p", action); err == nil {
			t.Errorf("%q was taken", action)
		}
	}
	if points.Set("", "error") == nil {
		t.Error("a point without a name was taken")
	}
	if len(points.List()) != 0 {
		t.Error("something was set")
	}
}

func TestABlockedCallerGoesOnWhenThePointIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		points := NewPoints()
		for _, release := range []func(){
			func() { points.Clear("p") },
			func() { _ = points.Set("p", "error") },
		} {
			if err := points.Set("p", "block"); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if err := points.Hit("p"); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			if list := points.List(); list[0].Waiting != 3 {
				t.Errorf("%+v", list)
			}
			release()
			wg.Wait()
		}
	})
}

func TestSleepAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		points := NewPoints()
		_ = points.Set("p", "sleep:1h")
		before := time.Now()
		if err := points.Hit("p"); err != nil || time.Since(before) != time.Hour {
			t.Errorf("it slept %v, %v", time.Since(before), err)
		}
		_ = points.Set("p", "panic")
		defer func() {
			if recover() == nil {
				t.Error("it did not panic")
			}
		}()
		_ = points.Hit("p")
	})
}

// The test runs itself as the process that dies.
func TestKillAndExitEndTheProcess(t *testing.T) {
	const action = "LEAFWARD_TEST_ACTION"
	if a := os.Getenv(action); a != "" {
		points := NewPoints()
		_ = points.Set("p", a)
		_ = points.Hit("p")
		t.Fatal("it lives")
	}
	run := func(a string) *exec.ExitError {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillAndExitEndTheProcess$")
		cmd.Env = append(os.Environ(), action+"="+a)
		exit, ok := errors.AsType[*exec.ExitError](cmd.Run())
		if !ok {
			t.Fatalf("%s: no failure", a)
		}
		return exit
	}
	if code := run("exit:7").ExitCode(); code != 7 {
		t.Errorf("exit code %d", code)
	}
	if status, ok := run("kill").Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("status %v", status)
	}
}

func TestTheHandlerMovesTheClockAndSetsPoints(t *testing.T) {
	clock, points := NewClock(time.Time{}), NewPoints()
	server := httptest.NewServer(Handler(clock, points))
	defer server.Close()
	post := func(path, body string, want int) string {
		t.Helper()
		answer, err := http.Post(server.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != want {
			t.Errorf("%s %s: %d %s", path, body, answer.StatusCode, text)
		}
		return string(text)
	}
	post("/testhooks/clock", `{"advance":"24h"}`, 200)
	if clock.Offset() != 24*time.Hour {
		t.Errorf("the offset is %v", clock.Offset())
	}
	if now := post("/testhooks/clock", `{"set":"2031-05-06T07:08:09Z"}`, 200); !strings.Contains(now, `"2031-05-06T07:08:`) {
		t.Error(now)
	}
	for _, bad := range []string{``, `{}`, `{"advance":"x"}`, `{"advance":"1h","set":"2031-05-06T07:08:09Z"}`, `{"ahead":"1h"}`} {
		post("/testhooks/clock", bad, 400)
	}
	if list := post("/testhooks/failpoint", `{"name":"ca.signed","action":"1*error"}`, 200); !strings.Contains(list, `"ca.signed"`) {
		t.Error(list)
	}
	if points.Hit("ca.signed") == nil {
		t.Error("the point is not set")
	}
	post("/testhooks/failpoint", `{"name":"ca.signed","action":"nonsense"}`, 400)
	post("/testhooks/failpoint", `{"name":"ca.signed","action":""}`, 200)
	if len(points.List()) != 0 {
		t.Error("the point is not cleared")
	}
}
