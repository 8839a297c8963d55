package leafward_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward"
)

const day = 24 * time.Hour

// birth is when the certificates of these tests begin.
func birth() time.Time { return time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC) }

// policy is the default one, changed as said.
func policy(change ...func(*leafward.RenewalPolicy)) *leafward.RenewalPolicy {
	p := &leafward.RenewalPolicy{WindowDays: 30, AutoRenew: true, MaxRetries: 3, RetryInterval: 3600, Thresholds: leafward.DefaultThresholds()}
	for _, c := range change {
		c(p)
	}
	return p
}

// living is a certificate with a version of a lifetime in use, planned by the policy.
func living(life time.Duration, p *leafward.RenewalPolicy) *leafward.Certificate {
	c := &leafward.Certificate{}
	v := leafward.Version{Row: leafward.Row{ID: "cv-1"}, NotBefore: birth(), NotAfter: birth().Add(life - time.Second)}
	c.Activate(&v, []leafward.Version{v}, p, birth())
	return c
}

func TestTheWindowIsAThirdOfTheLifetimeAtMost(t *testing.T) {
	literal := func(p *leafward.RenewalPolicy) { p.LiteralWindow = true }
	for _, c := range []struct {
		days    int
		policy  *leafward.RenewalPolicy
		renewed float64 // day of its life
	}{
		{90, policy(), 60},
		{47, policy(), 47 - 47.0/3}, // day 31, not 17
		{47, policy(literal), 17},
		{397, policy(), 367},
		{6, policy(), 4},
		{20, policy(literal), 0},
		{90, policy(func(p *leafward.RenewalPolicy) { p.WindowDays = 10 }), 80},
	} {
		got := living(time.Duration(c.days)*day, c.policy)
		want := birth().Add(time.Duration(c.renewed * float64(day)))
		if got.WindowAt.Sub(want).Abs() > time.Minute {
			t.Errorf("of %d days it is renewed on day %.2f, want %.2f", c.days, got.WindowAt.Sub(birth()).Hours()/24, c.renewed)
		}
	}
}

func TestRenewalsAreSpreadBeforeTheirWindow(t *testing.T) {
	moments := map[time.Time]bool{}
	for i := range 100 {
		v := leafward.Version{Row: leafward.Row{ID: fmt.Sprintf("cv-%d", i)}, NotBefore: birth(), NotAfter: birth().Add(90 * day)}
		var c, same leafward.Certificate
		c.Activate(&v, []leafward.Version{v}, policy(), birth())
		same.Activate(&v, []leafward.Version{v}, policy(), birth().Add(time.Hour))
		early := c.WindowAt.Sub(c.RenewAt)
		if early < 0 || early > day || !c.RenewAt.Equal(same.RenewAt) {
			t.Errorf("%s is renewed %v before its window, and %v at another look", v.ID, early, same.WindowAt.Sub(same.RenewAt))
		}
		moments[c.RenewAt] = true
	}
	if len(moments) < 90 {
		t.Errorf("100 certificates are renewed at %d moments", len(moments))
	}
}

func TestWithoutAutoRenewNothingIsPlanned(t *testing.T) {
	c := living(90*day, policy(func(p *leafward.RenewalPolicy) { p.AutoRenew = false }))
	if !c.RenewAt.IsZero() || c.WindowAt.IsZero() || c.Status(c.WindowAt) != leafward.StatusExpiring {
		t.Errorf("renewed at %v, expiring from %v", c.RenewAt, c.WindowAt)
	}
}

// warnings are the days that are noted over the life of a certificate that nobody renews.
func warnings(c *leafward.Certificate, p *leafward.RenewalPolicy) (days []int, expired int) {
	for now := birth(); now.Before(c.ExpiresAt.Add(30 * day)); now = now.Add(day / 2) {
		d, over := c.Note(p, now)
		if d >= 0 {
			days = append(days, d)
		}
		if over {
			expired++
		}
	}
	return days, expired
}

func TestEachThresholdIsNotedOnceForAVersion(t *testing.T) {
	off := func(p *leafward.RenewalPolicy) { p.AutoRenew = false }
	for name, c := range map[string]struct {
		life time.Duration
		p    *leafward.RenewalPolicy
		want []int
	}{
		"the default":                       {90 * day, policy(), []int{30, 14, 7}},
		"none before the planned renewal":   {47 * day, policy(), []int{14, 7}},
		"all of them without renewal":       {47 * day, policy(off), []int{30, 14, 7}},
		"none longer than the lifetime":     {10 * day, policy(off), []int{7}},
		"those of the policy, in any order": {90 * day, policy(func(p *leafward.RenewalPolicy) { p.Thresholds = []int{3, 20} }), []int{20, 3}},
	} {
		one := living(c.life, c.p)
		days, expired := warnings(one, c.p)
		days = slices.DeleteFunc(days, func(d int) bool { return d == 0 }) // with the end itself
		if !slices.Equal(days, c.want) || expired != 1 {
			t.Errorf("%s: noted %v, and %d ends; want %v", name, days, expired, c.want)
		}
		next := leafward.Version{Row: leafward.Row{ID: "cv-2"}, NotBefore: birth().Add(c.life), NotAfter: birth().Add(2*c.life - time.Second), Predecessor: "cv-1"}
		one.Activate(&next, []leafward.Version{next}, c.p, next.NotBefore)
		one.Use(next.NotAfter, c.p)
		days, expired = warnings(one, c.p)
		if days = slices.DeleteFunc(days, func(d int) bool { return d == 0 }); !slices.Equal(days, c.want) || expired != 1 {
			t.Errorf("%s: of the next version %v are noted, and %d ends", name, days, expired)
		}
	}
}

func TestAFailureWaitsAnEighthOfTheTimeLeft(t *testing.T) {
	for _, c := range []struct{ left, want time.Duration }{
		{30 * day, day}, {4 * day, 12 * time.Hour}, {8 * time.Hour, time.Hour}, {time.Hour, time.Hour}, {-day, time.Hour},
	} {
		one := living(90*day, policy())
		now := one.ExpiresAt.Add(-c.left)
		one.Begin("job-1")
		one.Fail("no", policy(), now)
		if got := one.RenewAt.Sub(now); got != c.want || one.OpenJob != "" || one.Tries != 1 || one.LastError != "no" {
			t.Errorf("with %v left it waits %v, want %v", c.left, got, c.want)
		}
		one.Succeed(policy())
		if one.Tries != 0 || one.LastError != "" || !one.FailedAt.IsZero() {
			t.Errorf("a success leaves %+v", one)
		}
	}
	slow := policy(func(p *leafward.RenewalPolicy) { p.RetryInterval = 7200 })
	if got := slow.Retry(birth(), birth().Add(time.Hour)); got != 2*time.Hour {
		t.Errorf("an interval of two hours waits %v", got)
	}
}
