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
