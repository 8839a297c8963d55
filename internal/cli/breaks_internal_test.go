package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/api"
)

func TestWorkThatWaitsForLongIsToldWithWhatItWaitsFor(t *testing.T) {
	now := time.Now()
	job := func(age time.Duration, waits, last string) api.Job {
		return api.Job{ID: "job-1", Type: "Renewal", CreatedAt: now.Add(-age), WaitingFor: waits, LastError: last}
	}
	for name, c := range map[string]struct {
		job  api.Job
		want string // "" is no trouble
	}{
		"just begun":           {job(time.Second, "the agent web1", ""), ""},
		"under way":            {job(time.Hour, "", ""), ""},
		"waits":                {job(time.Hour, "the new certificate to be seen", ""), "waits for the new certificate to be seen"},
		"failed before":        {job(time.Second, "", "nginx -t failed"), "nginx -t failed"},
		"failed before, waits": {job(time.Hour, "the agent web1", "nginx -t failed"), "nginx -t failed"},
	} {
		if why, trouble := troubleOf(&c.job, now); why != c.want || trouble != (c.want != "") {
			t.Errorf("%s: %q %v", name, why, trouble)
		}
	}
	if b := breakOf(&api.Job{ID: "job-1", Type: "Renewal"}, "shop.example.com", "waits for rain", ""); !strings.Contains(b.What, "its renewal does not get on") || b.Bad || !strings.Contains(b.Fix, "leafward job get job-1") {
		t.Errorf("%+v", b)
	}
}

func TestACertificateThatLostItsVersionIsToldOfOnceAlsoWhileItWaits(t *testing.T) {
	at := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		cert       api.Certificate
		late       bool
		fix, waits string // the last "" is nothing that is waited for
	}{
		"due and waits":           {api.Certificate{WaitingFor: "its turn"}, true, "", ""},
		"due":                     {api.Certificate{}, false, "", ""},
		"lost its version":        {api.Certificate{VersionRevokedAt: &at}, false, "leafward cert renew shop.example.com --data-dir d", ""},
		"lost its version, waits": {api.Certificate{VersionRevokedAt: &at, WaitingFor: "its turn"}, false, "leafward cert renew shop.example.com --data-dir d", "waits for its turn"},
	} {
		c.cert.Name, c.cert.ExpiresAt = "shop.example.com", &at
		if b, late := lateBreak(&c.cert, ""); late != c.late || late && b.Why != "waits for its turn" {
			t.Errorf("%s: late is %t, %+v", name, late, b)
		}
		if c.fix == "" {
			continue
		}
		b := struckBreak(&c.cert, " --data-dir d")
		if !b.Bad || !strings.HasPrefix(b.Fix, c.fix) || strings.Contains(b.Fix, "waits") != (c.waits != "") || !strings.Contains(b.Fix, c.waits) {
			t.Errorf("%s: %+v", name, b)
		}
	}
}
