//go:build testhooks

package hook

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Points is a set of failpoints by name. Its methods may be called from several goroutines.
type Points struct {
	mu     sync.Mutex
	points map[string]*point
}

// point is a name with an action on it.
type point struct {
	action  string // as it was set
	do      func() error
	after   int // hits that pass before the first that acts
	times   int // hits that act, -1 without end
	hits    int
	waiting int
	cleared chan struct{}
}

// Point tells of a failpoint on which an action is set.
type Point struct {
	Name    string `json:"name"`
	Action  string `json:"action"`
	Hits    int    `json:"hits"`    // since it was set, those that passed included
	Waiting int    `json:"waiting"` // callers that `block` holds now
}

// NewPoints makes a set in which no action is set.
func NewPoints() *Points { return &Points{points: map[string]*point{}} }

// Hit is called where something may be made to fail. It does what is set on the name, and returns nil when that is
// nothing.
func (p *Points) Hit(name string) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	at := p.points[name]
	if at == nil {
		p.mu.Unlock()
		return nil
	}
	at.hits++
	acts := at.hits > at.after && (at.times < 0 || at.hits <= at.after+at.times)
	p.mu.Unlock()
	if !acts {
		return nil
	}
	if at.do == nil {
		p.wait(at)
		return nil
	}
	return at.do()
}

// wait holds the caller until the point is cleared or set anew.
func (p *Points) wait(at *point) {
	p.count(at, 1)
	<-at.cleared
	p.count(at, -1)
}

func (p *Points) count(at *point, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at.waiting += n
}

// Set puts an action on a name in place of what was there. Actions are
//
//	error[:TEXT]  Hit returns an error
//	kill          the process is killed as by SIGKILL
//	exit:CODE     the process exits
//	sleep:DUR     Hit waits, say 200ms
//	block         Hit waits until the point is cleared
//	panic         Hit panics
//
// and may be preceded by after:N, (the first N hits pass) and then N* (only N hits act): after:3,1*kill.
func (p *Points) Set(name, action string) error {
	if name == "" || len(name) > 128 {
		return errors.New("a failpoint has a name of 1 to 128 characters")
	}
	at, err := parse(name, action)
	if err != nil {
		return fmt.Errorf("failpoint %s: %w", name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear(name)
	p.points[name] = at
	return nil
}

// Clear takes the action off a name and lets go those it blocks. A name without an action is no mistake.
func (p *Points) Clear(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear(name)
}

func (p *Points) clear(name string) {
	if at := p.points[name]; at != nil {
		close(at.cleared)
		delete(p.points, name)
	}
}

// List tells of the points on which an action is set, by name.
func (p *Points) List() []Point {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Point, 0, len(p.points))
	for name, at := range p.points {
		list = append(list, Point{Name: name, Action: at.action, Hits: at.hits, Waiting: at.waiting})
	}
	slices.SortFunc(list, func(a, b Point) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// parse reads an action; do stays nil for block.
func parse(name, action string) (*point, error) {
	at := &point{action: action, times: -1, cleared: make(chan struct{})}
	var err error
	if rest, found := strings.CutPrefix(action, "after:"); found {
		n, tail, _ := strings.Cut(rest, ",")
		if at.after, err = count(n); err != nil {
			return nil, err
		}
		action = tail
	}
	verb, argument, hasArgument := strings.Cut(action, ":")
	if n, tail, found := strings.Cut(verb, "*"); found {
		if at.times, err = count(n); err != nil {
			return nil, err
		}
		verb = tail
	}
	if hasArgument != (verb == "exit" || verb == "sleep") && verb != "error" {
		verb = ""
	}
	if verb != "block" {
		at.do, err = deed(name, verb, argument)
	}
	return at, err
}

func count(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a number of hits", text)
	}
	return n, nil
}

// deed is what a verb other than block does.
func deed(name, verb, argument string) (func() error, error) {
	switch verb {
	case "error":
		text := argument
		if text == "" {
			text = "it is set to fail"
		}
		err := fmt.Errorf("failpoint %s: %s", name, text)
		return func() error { return err }, nil
	case "panic":
		return func() error { panic("failpoint " + name) }, nil
	case "kill":
		return kill, nil
	case "exit":
		code, err := strconv.Atoi(argument)
		if err != nil || code < 0 || code > 125 {
			return nil, fmt.Errorf("%q is not an exit code from 0 to 125", argument)
		}
		return func() error { os.Exit(code); return nil }, nil
	case "sleep":
		d, err := time.ParseDuration(argument)
		if err != nil || d < 0 {
			return nil, fmt.Errorf("%q is not a duration such as 200ms", argument)
		}
		return func() error { time.Sleep(d); return nil }, nil
	}
	return nil, errors.New("an action is [after:N,][N*] and then error[:TEXT], kill, exit:CODE, sleep:DURATION, block or panic")
}

// kill ends the process without any of its deferred work. It returns only if the system refuses.
func kill() error {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	if err := self.Kill(); err != nil {
		return err
	}
	select {} // the signal is on its way
}
