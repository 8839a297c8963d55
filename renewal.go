package leafward

import (
	"fmt"
	"slices"
	"time"
)

// RenewalPolicy says when certificates are renewed, how often that is tried, and when to warn.
type RenewalPolicy struct {
	Row
	Team          string `db:"team"`
	Name          string `db:"name"`
	WindowDays    int    `db:"window_days"`
	AutoRenew     bool   `db:"auto_renew"`
	MaxRetries    int    `db:"max_retries"`
	RetryInterval int64  `db:"retry_interval"` // seconds
	Thresholds    []int  `db:"thresholds,json"`
	LiteralWindow bool   `db:"literal_window"` // the window is not capped at a third of the lifetime
}

// Scope is the team, "" for a policy that all teams share.
func (p *RenewalPolicy) Scope() string { return p.Team }

// Terms are the words the policy is found by.
func (p *RenewalPolicy) Terms() []string { return []string{p.ID, p.Name} }

// What a renewal policy is when nobody says otherwise.
const (
	DefaultWindowDays    = 30
	DefaultMaxRetries    = 3
	DefaultRetryInterval = 3600
)

// DefaultThresholds are the days before expiry at which a warning is recorded.
func DefaultThresholds() []int { return []int{30, 14, 7, 0} }

// Validate names everything a client wrote wrong.
func (p *RenewalPolicy) Validate() error {
	var w Problems
	CheckID(&w, p.ID)
	CheckName(&w, "name", p.Name)
	w.Check(p.WindowDays >= 1 && p.WindowDays <= 365, "renewal_window_days", "is out of range", "use 1 to 365 days")
	w.Check(p.MaxRetries >= 0 && p.MaxRetries <= 10, "max_retries", "is out of range", "use 0 to 10")
	w.Check(p.RetryInterval >= 60 && p.RetryInterval <= 86400, "retry_interval_seconds", "is out of range", "use 60 to 86400 seconds")
	w.Check(len(p.Thresholds) <= 20, "alert_thresholds_days", "has more than 20 thresholds", "use fewer")
	for i, d := range p.Thresholds {
		w.Check(d >= 0 && d <= 365, fmt.Sprintf("alert_thresholds_days[%d]", i), "is out of range", "use 0 to 365 days")
		w.Check(slices.Index(p.Thresholds, d) == i, fmt.Sprintf("alert_thresholds_days[%d]", i), "is repeated", "name each threshold once")
	}
	return w.Err()
}

// Window is how long before its end a certificate of the lifetime is renewed: the policy's window, but at most a third
// of the lifetime unless the policy takes its window literally.
func (p *RenewalPolicy) Window(lifetime time.Duration) time.Duration {
	window := time.Duration(p.WindowDays) * 24 * time.Hour
	if p.LiteralWindow {
		return min(window, lifetime)
	}
	return min(window, lifetime/3)
}

// Retry is how long after a failed renewal the next one starts: the larger of the policy's interval and an eighth of the
// time left, at most a day.
func (p *RenewalPolicy) Retry(now, notAfter time.Time) time.Duration {
	wait := max(time.Duration(p.RetryInterval)*time.Second, notAfter.Sub(now)/8)
	return min(wait, 24*time.Hour)
}
