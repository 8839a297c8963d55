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

func TestACertificateThatIsBrokenIsToldOfWithWhatHelps(t *testing.T) {
	past, soon := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	const next, flags = "leafward cert renew shop.example.com --data-dir d", " --data-dir d"
	job := func(status, waits, last string) *api.Job {
		return &api.Job{ID: "job-1", Type: "Renewal", Status: status, WaitingFor: waits, LastError: last}
	}
	for name, c := range map[string]struct {
		cert           api.Certificate
		work           *api.Job
		what, why, fix string
	}{
		"ended":              {api.Certificate{Status: "Expired", ExpiresAt: &past}, nil, "Expired", "it ended ", next},
		"ended, failed":      {api.Certificate{Status: "Expired", ExpiresAt: &past, LastError: "no route"}, nil, "Expired", "; no route", "leafward job get shop.example.com --data-dir d shows what failed; " + next + " tries again"},
		"ended, waits":       {api.Certificate{Status: "Expired", ExpiresAt: &past, KeySource: "client"}, job("AwaitingCSR", "a CSR", ""), "Expired", "; its renewal waits for a CSR", next},
		"ended, agent away":  {api.Certificate{Status: "Expired", ExpiresAt: &past, KeySource: "agent", TargetIDs: []string{"shop"}}, job("AwaitingCSR", "the agent web1", ""), "Expired", "; its renewal waits for the agent web1", "see that the agent runs on its host"},
		"ended, under way":   {api.Certificate{Status: "Expired", ExpiresAt: &past, KeySource: "server"}, job("Running", "", ""), "Expired", "; its renewal is under way", "leafward job get job-1 --data-dir d shows each step"},
		"ended and revoked":  {api.Certificate{Status: "Expired", ExpiresAt: &past, VersionRevokedAt: &past}, nil, "Expired", "it ended ", next},
		"failed":             {api.Certificate{Status: "Failed", ExpiresAt: &soon, LastError: "no route"}, nil, "Failed", "no route", "leafward job get shop.example.com --data-dir d shows what failed; " + next + " tries again"},
		"revoked":            {api.Certificate{Status: "Expiring", VersionRevokedAt: &past}, nil, "its version is revoked", "refuse it", next},
		"ended, its turn":    {api.Certificate{Status: "Expired", ExpiresAt: &past, WaitingFor: "its turn"}, nil, "Expired", "; by itself it waits for its turn", next},
		"failed, its turn":   {api.Certificate{Status: "Failed", VersionRevokedAt: &past, LastError: "no route", WaitingFor: "its turn"}, nil, "its version is revoked", "; no route; by itself it waits for its turn", "leafward job get shop.example.com --data-dir d shows what failed; " + next + " tries again"},
		"revoked, failed":    {api.Certificate{Status: "Failed", VersionRevokedAt: &past, LastError: "no route"}, nil, "its version is revoked", "refuse it; no route", "leafward job get shop.example.com --data-dir d shows what failed; " + next + " tries again"},
		"revoked, in vain":   {api.Certificate{Status: "RenewalInProgress", VersionRevokedAt: &past, KeySource: "server"}, job("Running", "", "nginx -t failed"), "its version is revoked", "; its renewal does not get on: nginx -t failed", "leafward job get job-1 --data-dir d shows each step"},
		"revoked, to be had": {api.Certificate{Status: "RenewalInProgress", VersionRevokedAt: &past, KeySource: "client"}, job("AwaitingCSR", "a CSR", ""), "its version is revoked", "; its renewal waits for a CSR", next},
	} {
		c.cert.Name = "shop.example.com"
		b := brokenBreak(&c.cert, c.work, next, flags)
		if !b.Bad || !strings.HasPrefix(b.What, "certificate shop.example.com: "+c.what) || !strings.Contains(b.Why, c.why) || b.Fix != c.fix {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

func TestACertificateThatIsDueAndWaitsIsToldOfUnlessItLostItsVersion(t *testing.T) {
	at := time.Now()
	for name, c := range map[string]struct {
		cert api.Certificate
		late bool
	}{
		"due and waits":           {api.Certificate{WaitingFor: "its turn"}, true},
		"due":                     {api.Certificate{}, false},
		"lost its version, waits": {api.Certificate{VersionRevokedAt: &at, WaitingFor: "its turn"}, false},
	} {
		c.cert.Name, c.cert.ExpiresAt = "shop.example.com", &at
		if b, late := lateBreak(&c.cert, ""); late != c.late || late && b.Why != "waits for its turn" {
			t.Errorf("%s: late is %t, %+v", name, late, b)
		}
	}
}
