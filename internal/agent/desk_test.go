package agent

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leafward/leafward"
)

func TestAJobIsWorkedOnceAtATime(t *testing.T) {
	d := newDesk(DefaultPace())
	free, ok := d.take("job-1")
	if !ok {
		t.Fatal("it cannot be taken")
	}
	if _, ok := d.take("job-1"); ok {
		t.Error("it was taken twice")
	}
	free(nil)
	if _, ok := d.take("job-1"); !ok {
		t.Error("it cannot be taken again")
	}
}

func TestOnlySoManyJobsAreWorkedAtOnce(t *testing.T) {
	d := newDesk(DefaultPace())
	for i := range atOnce {
		if _, ok := d.take(fmt.Sprint("job-", i)); !ok {
			t.Fatalf("job %d of %d cannot be taken", i+1, atOnce)
		}
	}
	if _, ok := d.take("one-more"); ok || d.busy() != atOnce {
		t.Errorf("%d jobs are worked", d.busy())
	}
}

func TestAFailedJobIsLeftAloneForLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(DefaultPace())
		last := time.Duration(0)
		for range 12 {
			free, ok := d.take("job-1")
			if !ok {
				t.Fatal("it cannot be taken")
			}
			free(errors.New("no"))
			start := time.Now()
			for {
				if free, ok := d.take("job-1"); ok {
					free(errLeft)
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			waited := time.Since(start)
			if waited < 700*time.Millisecond || waited > DefaultPace().Longest*5/4+time.Second {
				t.Fatalf("after %v it waited %v", last, waited)
			}
			last = waited
			for d.waits["job-1"].until.After(time.Now()) {
				time.Sleep(time.Second)
			}
		}
		if last < DefaultPace().Longest/2 {
			t.Errorf("the last wait was %v", last)
		}
		free, _ := d.take("job-1")
		free(nil)
		if _, ok := d.take("job-1"); !ok {
			t.Error("after a success it is still left alone")
		}
	})
}

func TestTheWaitIsAtLeastWhatTheOtherSideAsksFor(t *testing.T) {
	p := DefaultPace()
	if d := p.backoff(0, &leafward.Error{Kind: leafward.Later, After: 20 * time.Second}); d < 20*time.Second {
		t.Errorf("waits %v", d)
	}
	if d := p.backoff(0, &leafward.Error{Kind: leafward.Later, After: time.Hour}); d > p.Longest {
		t.Errorf("waits %v", d)
	}
}

func TestAPauseEndsWhenAJobIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(DefaultPace())
		free, _ := d.take("job-1")
		go func() {
			time.Sleep(100 * time.Millisecond)
			free(nil)
		}()
		start := time.Now()
		d.pause(t.Context())
		if waited := time.Since(start); waited != 100*time.Millisecond {
			t.Errorf("paused %v", waited)
		}
		d.pause(t.Context())
		if waited := time.Since(start); waited < time.Second {
			t.Errorf("the second pause ended after %v", waited)
		}
	})
}

func TestAFleetThatLostItsServerComesBackSpread(t *testing.T) {
	p, early, late := DefaultPace(), 0, 0
	for range 2000 {
		switch d := p.comeback(0, nil); {
		case d < p.First/2 || d > 3*p.First:
			t.Fatalf("it comes back after %v", d)
		case d < p.First:
			early++
		case d > 2*p.First:
			late++
		}
	}
	if early < 200 || late < 200 {
		t.Errorf("of 2000 agents %d come back early and %d late", early, late)
	}
	if d := p.comeback(30, nil); d > p.Longest {
		t.Errorf("after many failures it waits %v", d)
	}
	if d := p.comeback(0, &leafward.Error{Kind: leafward.Later, After: 20 * time.Second}); d < 20*time.Second {
		t.Errorf("it waits %v, and was asked for 20s", d)
	}
}
