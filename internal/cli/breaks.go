package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// maxBreaks is how many things of one kind are told one by one.
const maxBreaks = 10

// more tells of what is not told one by one.
func (now *standing) more(shown int, total int64, noun, list string) {
	if rest := total - int64(shown); rest > 0 {
		now.Breaks = append(now.Breaks, breaking{What: "and " + count(rest, noun) + " more", Why: "likewise", Fix: list})
	}
}

// brokenCertificates finds the certificates that are expired, or whose issuance or renewal failed.
func (r *run) brokenCertificates(ctx context.Context, now *standing) error {
	n := r.names()
	for _, state := range []leafward.CertificateStatus{leafward.StatusExpired, leafward.StatusFailed} {
		page, err := api.ListCertificates.Call(ctx, r.Client, api.ListCertificatesInput{Status: string(state), Listing: api.Listing{PerPage: maxBreaks, Sort: "expires_at"}})
		if err != nil {
			return err
		}
		for i := range page.Data {
			c := &page.Data[i]
			b := breaking{What: "certificate " + c.Name + ": " + c.Status, Why: n.text(ctx, c.LastError), Bad: true}
			b.Fix = "leafward job get " + quoted(c.Name) + r.where.flags() + " shows what failed; leafward cert renew " + quoted(c.Name) + r.where.flags() + " tries again"
			if b.Why == "" {
				b.Why = "it ended " + when(c.ExpiresAt, time.Now())
			}
			now.Breaks = append(now.Breaks, b)
		}
		now.more(len(page.Data), page.Total, "certificate", "leafward cert list --status "+string(state)+r.where.flags())
	}
	return nil
}

// struck finds the certificates of which a version in use is revoked, and that nothing replaces yet.
func (r *run) struck(ctx context.Context, now *standing) error {
	page, err := api.ListCertificates.Call(ctx, r.Client, api.ListCertificatesInput{
		Status: string(leafward.StatusExpiring), VersionRevoked: "true", Listing: api.Listing{PerPage: maxBreaks, Sort: "created_at"},
	})
	if err != nil {
		return err
	}
	for i := range page.Data {
		now.Breaks = append(now.Breaks, struckBreak(&page.Data[i], r.where.flags()))
	}
	now.more(len(page.Data), page.Total, "certificate", "leafward cert list --status "+string(leafward.StatusExpiring)+" --version-revoked"+r.where.flags())
	return nil
}

// struckBreak tells of a certificate of which a version in use is revoked.
func struckBreak(c *api.Certificate, flags string) breaking {
	b := breaking{
		What: "certificate " + c.Name + ": its version is revoked " + when(c.VersionRevokedAt, time.Now()), Why: "clients that ask whether it is revoked refuse it",
		Fix: "leafward cert renew " + quoted(c.Name) + flags, Bad: true,
	}
	if c.WaitingFor != "" {
		b.Fix += ", since by itself it waits for " + c.WaitingFor
	}
	return b
}

// awaited finds the issuances and renewals that wait for somebody's CSR.
func (r *run) awaited(ctx context.Context, now *standing) error {
	page, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{Status: string(leafward.JobAwaitingCSR), Paging: api.Paging{PerPage: maxBreaks, Sort: "created_at"}})
	if err != nil {
		return err
	}
	n := r.names()
	for _, j := range page.Data {
		c, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: j.CertificateID})
		if err != nil {
			return err
		}
		b := breaking{What: fmt.Sprintf("certificate %s: its %s waits since %s", c.Name, strings.ToLower(j.Type), when(&j.CreatedAt, time.Now())), Why: "waits for " + n.text(ctx, j.WaitingFor)}
		if len(c.TargetIDs) > 0 {
			b.Fix = "see that the agent runs on its host"
		} else {
			b.Fix = r.issueLine(&c)
		}
		now.Breaks = append(now.Breaks, b)
	}
	now.more(len(page.Data), page.Total, "job", "leafward job list --status AwaitingCSR"+r.where.flags())
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
	n, seen := r.names(), make(map[string]bool)
	for _, state := range []leafward.JobStatus{leafward.JobRunning, leafward.JobPending} {
		page, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{Status: string(state), Paging: api.Paging{PerPage: leafward.MaxPerPage}})
		if err != nil {
			return err
		}
		for i := range page.Data {
			j := &page.Data[i]
			name := n.certificate(ctx, j.CertificateID)
			why, trouble := troubleOf(j, time.Now())
			if !trouble || seen[name] {
				continue
			}
			seen[name] = true
			now.Breaks = append(now.Breaks, breakOf(j, name, n.text(ctx, why), r.where.flags()))
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
		now.more(len(page.Data), page.Total, "agent", "leafward agent list --status "+state+r.where.flags())
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
