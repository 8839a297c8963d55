package cli

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// maxBreaks is how many things of one kind are told one by one.
const maxBreaks = 10

// more tells of what is not told one by one, and whether that is broken.
func (now *standing) more(shown int, total int64, noun, list string, bad bool) {
	if rest := total - int64(shown); rest > 0 {
		now.Breaks = append(now.Breaks, breaking{What: "and " + count(rest, noun) + " more", Why: "likewise", Fix: list, Bad: bad})
	}
}

// brokenCertificates finds the certificates that are expired, of which a version in use is revoked, or whose issuance or
// renewal failed. Each is told of once, with the work on it.
func (r *run) brokenCertificates(ctx context.Context, now *standing) error {
	now.told = make(map[string]bool)
	for _, kind := range []struct {
		in   api.ListCertificatesInput
		list string // flags
	}{
		{api.ListCertificatesInput{Status: string(leafward.StatusExpired), Listing: api.Listing{Sort: "expires_at"}}, "--status Expired"},
		{api.ListCertificatesInput{VersionRevoked: "true", Listing: api.Listing{Sort: "created_at"}}, "--version-revoked"},
		{api.ListCertificatesInput{Status: string(leafward.StatusFailed), Listing: api.Listing{Sort: "expires_at"}}, "--status Failed"},
	} {
		kind.in.PerPage = maxBreaks
		page, err := api.ListCertificates.Call(ctx, r.Client, kind.in)
		if err != nil {
			return err
		}
		for i := range page.Data {
			if err := r.brokenCertificate(ctx, now, &page.Data[i]); err != nil {
				return err
			}
		}
		now.more(len(page.Data), page.Total, "certificate", "leafward cert list "+kind.list+r.where.flags(), true)
	}
	return nil
}

// brokenCertificate tells of one unless it was told of.
func (r *run) brokenCertificate(ctx context.Context, now *standing, c *api.Certificate) error {
	if now.told[c.ID] {
		return nil
	}
	now.told[c.ID] = true
	var work *api.Job
	if c.JobID != "" {
		j, err := api.GetJob.Call(ctx, r.Client, api.JobID{ID: c.JobID})
		if err != nil {
			return err
		}
		work = &j.Job
	}
	b := brokenBreak(c, work, r.renewLine(ctx, c), r.where.flags())
	b.Why = r.names().text(ctx, b.Why)
	now.Breaks = append(now.Breaks, b)
	return nil
}

// brokenBreak tells of a certificate that is broken and of the work on it, nil where none is open. Next is the command that
// gets its next version.
func brokenBreak(c *api.Certificate, work *api.Job, next, flags string) breaking {
	what, why := c.Status, []string(nil)
	switch now := time.Now(); {
	case c.Status == string(leafward.StatusExpired):
		why = append(why, "it ended "+when(c.ExpiresAt, now))
	case c.VersionRevokedAt != nil:
		what, why = "its version is revoked "+when(c.VersionRevokedAt, now), append(why, "clients that ask whether it is revoked refuse it")
	}
	b := breaking{What: "certificate " + c.Name + ": " + what, Fix: next, Bad: true}
	if work != nil {
		why = append(why, "its "+strings.ToLower(work.Type)+" "+stand(work))
		b.Fix = workFix(c, work, next, flags)
	} else if c.LastError != "" {
		why = append(why, c.LastError)
		b.Fix = "leafward job get " + quoted(c.Name) + flags + " shows what failed; " + next + " tries again"
	}
	if c.WaitingFor != "" {
		why = append(why, "by itself it waits for "+c.WaitingFor)
	}
	b.Why = strings.Join(why, "; ")
	return b
}

// stand is how open work stands.
func stand(j *api.Job) string {
	switch note := jobNote(j); {
	case note == "":
		return "is under way"
	case j.LastError != "":
		return "does not get on: " + note
	default:
		return note
	}
}

// workFix is what helps open work on a certificate.
func workFix(c *api.Certificate, j *api.Job, next, flags string) string {
	switch {
	case j.Status != string(leafward.JobAwaitingCSR):
		return "leafward job get " + j.ID + flags + " shows each step"
	case heldByCaller(c):
		return next
	default:
		return "see that the agent runs on its host"
	}
}

// awaited finds the issuances and renewals that wait for somebody's CSR.
func (r *run) awaited(ctx context.Context, now *standing) error {
	page, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{Status: string(leafward.JobAwaitingCSR), Paging: api.Paging{PerPage: maxBreaks, Sort: "created_at"}})
	if err != nil {
		return err
	}
	n := r.names()
	for i := range page.Data {
		j := &page.Data[i]
		if now.told[j.CertificateID] {
			continue
		}
		c, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: j.CertificateID})
		if err != nil {
			return err
		}
		now.Breaks = append(now.Breaks, breaking{
			What: fmt.Sprintf("certificate %s: its %s waits since %s", c.Name, strings.ToLower(j.Type), when(&j.CreatedAt, time.Now())),
			Why:  "waits for " + n.text(ctx, j.WaitingFor), Fix: workFix(&c, j, r.renewLine(ctx, &c), r.where.flags()),
		})
	}
	now.more(len(page.Data), page.Total, "job", "leafward job list --status AwaitingCSR"+r.where.flags(), false)
	return nil
}

// longWait is after how long work that waits is in trouble.
const longWait = time.Minute

// troubleOf is why an open job does not get on.
func troubleOf(j *api.Job, now time.Time) (why string, trouble bool) {
	switch {
	case j.LastError != "":
		return j.LastError, true
	case j.WaitingFor != "" && now.Sub(j.CreatedAt) > longWait:
		return "waits for " + j.WaitingFor, true
	}
	return "", false
}

// breakOf tells of an open job that does not get on.
func breakOf(j *api.Job, certificate, why, flags string) breaking {
	return breaking{
		What: fmt.Sprintf("certificate %s: its %s does not get on", certificate, strings.ToLower(j.Type)), Why: why,
		Fix: "mend that; it is tried again by itself, and leafward job get " + j.ID + flags + " shows each step",
	}
}

// troubled finds the work that has failed and will be tried again, and what waits for long.
func (r *run) troubled(ctx context.Context, now *standing) error {
	n, seen := r.names(), maps.Clone(now.told)
	for _, state := range []leafward.JobStatus{leafward.JobRunning, leafward.JobPending} {
		page, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{Status: string(state), Paging: api.Paging{PerPage: leafward.MaxPerPage}})
		if err != nil {
			return err
		}
		for i := range page.Data {
			j := &page.Data[i]
			why, trouble := troubleOf(j, time.Now())
			if !trouble || seen[j.CertificateID] {
				continue
			}
			seen[j.CertificateID] = true
			now.Breaks = append(now.Breaks, breakOf(j, n.certificate(ctx, j.CertificateID), n.text(ctx, why), r.where.flags()))
		}
	}
	return nil
}

// late finds the certificates whose moment of renewal has come and that are not renewed because of what they wait for.
func (r *run) late(ctx context.Context, now *standing) error {
	page, err := api.ListCertificates.Call(ctx, r.Client, api.ListCertificatesInput{Status: string(leafward.StatusExpiring), Listing: api.Listing{PerPage: maxBreaks, Sort: "expires_at"}})
	if err != nil {
		return err
	}
	for i := range page.Data {
		if b, waits := lateBreak(&page.Data[i], r.where.flags()); waits {
			now.Breaks = append(now.Breaks, b)
		}
	}
	return nil
}

// lateBreak tells of a certificate that is due and waits for something. One that lost its version is told of as such.
func lateBreak(c *api.Certificate, flags string) (b breaking, waits bool) {
	if c.WaitingFor == "" || c.VersionRevokedAt != nil {
		return b, false
	}
	return breaking{
		What: "certificate " + c.Name + ": it is due, and ends " + when(c.ExpiresAt, time.Now()), Why: "waits for " + c.WaitingFor,
		Fix: "start the servers with a greater --max-renewals-per-hour, or renew it now: leafward cert renew " + quoted(c.Name) + flags,
	}, true
}

// brokenAgents finds the agents that are silent or not well.
func (r *run) brokenAgents(ctx context.Context, now *standing) error {
	for _, state := range []string{"Offline", "Degraded"} {
		page, err := api.ListAgents.Call(ctx, r.Client, api.ListAgentsInput{Status: state, Listing: api.Listing{PerPage: maxBreaks}})
		if err != nil {
			return err
		}
		for i := range page.Data {
			a := &page.Data[i]
			b := breaking{What: "agent " + a.Name + ": " + a.Status, Why: agentNote(a), Fix: "leafward job list --status Failed --agent " + quoted(a.Name) + r.where.flags() + " shows what failed"}
			switch {
			case state == "Offline" && a.LastHeartbeatAt == nil:
				b.Why, b.Fix = "it has joined but never run", "on its host: leafward agent run"
			case state == "Offline":
				b.Why, b.Fix = "it was heard last "+when(a.LastHeartbeatAt, time.Now()), "on its host: leafward agent run; when the host is gone: leafward agent retire "+quoted(a.Name)+r.where.flags()
			case !a.DeployFailed:
				b.Fix = "set the clock of its host"
			}
			now.Breaks = append(now.Breaks, b)
		}
		now.more(len(page.Data), page.Total, "agent", "leafward agent list --status "+state+r.where.flags(), false)
	}
	return nil
}

// nextToEnd finds the certificate in use that ends first. One without a version has no end.
func (r *run) nextToEnd(ctx context.Context, now *standing) error {
	for _, state := range []leafward.CertificateStatus{leafward.StatusExpiring, leafward.StatusActive, leafward.StatusInProgress, leafward.StatusFailed} {
		page, err := api.ListCertificates.Call(ctx, r.Client, api.ListCertificatesInput{Status: string(state), Listing: api.Listing{PerPage: maxBreaks, Sort: "expires_at"}})
		if err != nil {
			return err
		}
		for _, c := range page.Data {
			if c.ExpiresAt != nil && (now.Next == nil || c.ExpiresAt.Before(*now.Next.ExpiresAt)) {
				now.Next = &nextEnd{c.Name, c.ExpiresAt, c.RenewsAt}
			}
		}
	}
	return nil
}
