package cli

import (
	"context"
	"slices"
	"strconv"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

type certBind struct {
	asking
	Name   string   `arg:"" help:"Name or id of the certificate."`
	Target []string `arg:"" name:"target" help:"Names or ids of the targets."`
	waiting
}

func (c *certBind) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	cert, targets, err := r.bound(ctx, c.Name, c.Target)
	if err != nil {
		return err
	}
	for _, id := range cert.TargetIDs {
		if !slices.Contains(targets, id) {
			targets = append(targets, id)
		}
	}
	after, err := r.place(ctx, cert, targets)
	if err != nil {
		return err
	}
	r.say(good, "", "%s belongs at %s", after.Name, r.names().targets(ctx, after.TargetIDs))
	begun, err := r.begun(ctx, &after)
	if err != nil {
		return err
	}
	if len(begun) == 0 || after.JobID != "" {
		return r.conclude(ctx, after.ID, after.JobID, "deployment", c.waiting)
	}
	_, wrong := r.deployments(ctx, begun, c.waiting)
	if after, err = api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: after.ID}); err != nil {
		return err
	}
	if err := r.answer(after, func() {}); err != nil {
		return err
	}
	if wrong == nil {
		r.delivered(after.Name, c.waiting)
	}
	return wrong
}

// begun are the deployments that binding has begun, and those that are under way besides: of what was signed already.
func (r *run) begun(ctx context.Context, after *api.Certificate) (jobs []string, err error) {
	for _, id := range after.TargetIDs {
		page, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{
			Type: string(leafward.Deployment), CertificateID: after.ID, TargetID: id, Paging: api.Paging{PerPage: 1, Sort: "-created_at"},
		})
		if err != nil {
			return nil, err
		}
		if len(page.Data) > 0 && (leafward.JobStatus(page.Data[0].Status).Open() || !page.Data[0].CreatedAt.Before(after.UpdatedAt)) {
			jobs = append(jobs, page.Data[0].ID)
		}
	}
	return jobs, nil
}

// bound reads a certificate and finds targets.
func (r *run) bound(ctx context.Context, name string, given []string) (*api.Certificate, []string, error) {
	id, err := r.certificate(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	targets, err := all(given, func(name string) (string, error) { return r.target(ctx, name) })
	if err != nil {
		return nil, nil, err
	}
	cert, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: id})
	return &cert, targets, err
}

// place binds a certificate to exactly these targets, if it is still as it was read.
func (r *run) place(ctx context.Context, c *api.Certificate, targets []string) (api.Certificate, error) {
	return api.UpdateCertificate.Call(ctx, r.Client, api.Update[api.CertificateWrite]{
		ID: c.ID, IfMatch: strconv.Quote(strconv.FormatInt(c.ETag(), 10)), Body: api.CertificateWrite{TargetIDs: api.Some(targets)},
	})
}

type certUnbind struct {
	asking
	Name   string   `arg:"" help:"Name or id of the certificate."`
	Target []string `arg:"" name:"target" help:"Names or ids of the targets."`
}

func (c *certUnbind) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	cert, targets, err := r.bound(ctx, c.Name, c.Target)
	if err != nil {
		return err
	}
	for i, id := range targets {
		if !slices.Contains(cert.TargetIDs, id) {
			return failed(string(leafward.Conflict), "`leafward cert get "+quoted(c.Name)+r.where.flags()+"` shows where it is", "%s does not belong at %s", c.Name, c.Target[i])
		}
	}
	left := slices.DeleteFunc(slices.Clone(cert.TargetIDs), func(id string) bool { return slices.Contains(targets, id) })
	after, err := r.place(ctx, cert, left)
	if err != nil {
		return err
	}
	return r.answer(after, func() {
		r.say(good, "the files there stay as they are, and are not renewed any more", "%s does not belong at %s any more", after.Name, r.names().targets(ctx, targets))
	})
}
