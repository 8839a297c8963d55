package rest

import (
	"context"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/lifecycle"
)

func (s *server) certificates(r *router) {
	bind(r, api.ListCertificates, func(ctx context.Context, in api.ListCertificatesInput) (api.Page[api.Certificate], error) {
		page, err := s.Certificates.List(ctx, in.Query(in.Filters()))
		return api.PageOf(page, certificateOf), err
	})
	bind(r, api.CreateCertificate, s.createCertificate)
	bind(r, api.ImportCertificates, s.importCertificates)
	bind(r, api.GetCertificate, func(ctx context.Context, in api.ByID) (api.Certificate, error) {
		shown, err := s.Certificates.Get(ctx, in.ID)
		return certificateOf(&shown), err
	})
	bind(r, api.UpdateCertificate, func(ctx context.Context, in api.Update[api.CertificateWrite]) (api.Certificate, error) {
		asked := lifecycle.Asked{}
		if in.Body.TargetIDs.Set {
			asked.Targets = &in.Body.TargetIDs.Value
		}
		shown, err := s.Certificates.Update(ctx, in.ID, in.IfMatch, writeCertificate(in.Body), asked)
		return certificateOf(&shown), err
	})
	bind(r, api.ArchiveCertificate, func(ctx context.Context, in api.ByID) (api.None, error) {
		return api.None{}, s.Certificates.Archive(ctx, in.ID, in.IfMatch)
	})
	bind(r, api.ListCertificateVersions, func(ctx context.Context, in api.ListVersionsInput) (api.Page[api.CertificateVersion], error) {
		page, err := s.Certificates.Versions(ctx, in.ID, in.Query(nil))
		return api.PageOf(page, func(v *lifecycle.Shown) api.CertificateVersion { return *signedOf(v) }), err
	})
	bind(r, api.GetCertificateDeployments, s.deployments)
	s.certificateVerbs(r)
	s.exportPEM(r)
}

// certificateVerbs are the operations that make something happen to a certificate.
func (s *server) certificateVerbs(r *router) {
	bind(r, api.TriggerRenewal, func(ctx context.Context, in api.Ask) (out api.Renewal, err error) {
		err = s.once(ctx, asking{api.TriggerRenewal.Info, in.IdempotencyKey, in.ID, nil}, func(once lifecycle.Once) error {
			job, err := s.Certificates.Renew(ctx, in.ID, once)
			out = api.Renewal{Replay: replay(once), Status: "renewal_triggered", JobID: job}
			return err
		})
		return out, err
	})
	bind(r, api.TriggerDeployment, s.deployCertificate)
	bind(r, api.RevokeCertificate, s.revokeCertificate)
	bind(r, api.ReleaseCertificate, func(ctx context.Context, in api.Ask) (out api.Revocation, err error) {
		err = s.once(ctx, asking{api.ReleaseCertificate.Info, in.IdempotencyKey, in.ID, nil}, func(once lifecycle.Once) error {
			shown, err := s.Certificates.Release(ctx, in.ID, once)
			out = api.Revocation{Replay: replay(once), Status: "released", Certificate: certificateOf(&shown)}
			return err
		})
		return out, err
	})
	bind(r, api.SubmitCertificateCSR, func(ctx context.Context, in api.SubmitCSRInput) (out api.Certificate, err error) {
		err = s.once(ctx, asking{api.SubmitCertificateCSR.Info, in.IdempotencyKey, in.ID, in.Body}, func(once lifecycle.Once) error {
			shown, err := s.Certificates.SubmitCSR(ctx, in.ID, "", in.Body.CSRPEM, once)
			if err == nil {
				shown, err = s.Certificates.Wait(ctx, shown, seconds(in.Wait))
			}
			out = certificateOf(&shown)
			out.Replay = replay(once)
			return err
		})
		return out, err
	})
	bind(r, api.TakeCertificateKey, func(ctx context.Context, in api.Ask) (out api.PrivateKey, err error) {
		err = s.once(ctx, asking{api.TakeCertificateKey.Info, in.IdempotencyKey, in.ID, nil}, func(once lifecycle.Once) error {
			version, key, err := s.Certificates.TakeKey(ctx, in.ID, once)
			out = api.PrivateKey{Replay: replay(once), VersionID: version, PrivateKeyPEM: string(key.Reveal())}
			return err
		})
		return out, err
	})
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func (s *server) createCertificate(ctx context.Context, in api.CreateCertificateInput) (out api.Certificate, err error) {
	asked := lifecycle.Asked{CSR: in.Body.CSRPEM, Waits: in.Wait > 0}
	if in.Body.TargetIDs.Set {
		asked.Targets = &in.Body.TargetIDs.Value
	}
	err = s.once(ctx, asking{api.CreateCertificate.Info, in.IdempotencyKey, "", in.Body}, func(once lifecycle.Once) error {
		shown, err := s.Certificates.Create(ctx, writeCertificate(in.Body.CertificateWrite), asked, once)
		if err != nil {
			return err
		}
		if shown, err = s.Certificates.Wait(ctx, shown, seconds(in.Wait)); err != nil {
			return err
		}
		if shown.Key, err = s.Certificates.FirstKey(ctx, &shown, *once.Replayed); err != nil {
			return err
		}
		out = certificateOf(&shown)
		out.Replay, out.IgnoredProperties = replay(once), in.Body.Ignored
		return nil
	})
	return out, err
}

func (s *server) deployCertificate(ctx context.Context, in api.AskWith[api.DeployRequest]) (out api.Deployments, err error) {
	body := api.DeployRequest{}
	if in.Body != nil {
		body = *in.Body
	}
	err = s.once(ctx, asking{api.TriggerDeployment.Info, in.IdempotencyKey, in.ID, body}, func(once lifecycle.Once) error {
		jobs, err := s.Certificates.Deploy(ctx, in.ID, body.TargetID, body.VersionID, once)
		out = api.Deployments{Replay: replay(once), Status: "deployment_triggered", JobIDs: append([]string{}, jobs...)}
		return err
	})
	return out, err
}

func (s *server) revokeCertificate(ctx context.Context, in api.AskWith[api.RevokeRequest]) (out api.Revocation, err error) {
	body := api.RevokeRequest{}
	if in.Body != nil {
		body = *in.Body
	}
	err = s.once(ctx, asking{api.RevokeCertificate.Info, in.IdempotencyKey, in.ID, body}, func(once lifecycle.Once) error {
		shown, err := s.Certificates.Revoke(ctx, in.ID, lifecycle.Revocation{Reason: body.Reason, Version: body.VersionID, Replace: body.Replace}, once)
		out = api.Revocation{Replay: replay(once), Status: "revoked", JobID: shown.Job, AlsoRevoked: append([]string{}, shown.Also...), Certificate: certificateOf(&shown)}
		if body.Replace && body.Reason != leafward.KeyCompromise {
			out.Status = "replacing"
		}
		return err
	})
	return out, err
}

// certificateOf is a shown certificate on the wire.
func certificateOf(s *lifecycle.Shown) api.Certificate {
	out := api.CertificateOf(&s.Certificate)
	out.TargetIDs, out.Status, out.PrivateKeyPEM = append([]string{}, s.Targets...), string(s.Status), string(s.Key.Reveal())
	out.WaitingFor = s.Waits
	if s.Version != nil {
		out.Version = signedOf(s)
	}
	return out
}

func signedOf(s *lifecycle.Shown) *api.CertificateVersion {
	out := api.CertificateVersionOf(s.Version)
	out.PEMChain, out.CSRPEM = string(s.Chain), string(s.CSR)
	return &out
}

// writeCertificate applies what a client sent to a new or a stored certificate.
func writeCertificate(in api.CertificateWrite) func(lifecycle.Shown, *leafward.Certificate) error {
	return func(before lifecycle.Shown, c *leafward.Certificate) error {
		var p leafward.Problems
		in.Check(&p, &c.Row, c.Number)
		unwritten(&p, in, certificateOf(&before))
		in.Name.Apply(&c.Name)
		in.CommonName.Apply(&c.CommonName)
		applyList(in.SANs, &c.SANs)
		in.Environment.Apply(&c.Environment)
		in.OwnerID.Apply(&c.Owner)
		in.TeamID.Apply(&c.Team)
		in.IssuerID.Apply(&c.Issuer)
		in.RenewalPolicyID.Apply(&c.Policy)
		in.CertificateProfileID.Apply(&c.Profile)
		in.Tags.Apply(&c.Tags)
		source := string(c.KeySource)
		in.KeySource.Apply(&source)
		c.KeySource = leafward.KeyCustody(source)
		if in.KeyAlgorithm.Set {
			c.Size = 0
		}
		in.KeyAlgorithm.Apply(&c.Algorithm)
		in.KeySize.Apply(&c.Size)
		in.ReuseKey.Apply(&c.ReuseKey)
		in.TTLSeconds.Apply(&c.TTL)
		return p.Err()
	}
}

// unwritten refuses what follows from what happens when it was sent with another value than the present one.
func unwritten(p *leafward.Problems, in api.CertificateWrite, have api.Certificate) {
	api.Same(p, "status", in.Status, have.Status)
	for _, t := range []struct {
		field string
		sent  api.Opt[time.Time]
		have  *time.Time
	}{
		{"expires_at", in.ExpiresAt, have.ExpiresAt},
		{"renews_at", in.RenewsAt, have.RenewsAt},
		{"last_renewal_at", in.LastRenewalAt, have.LastRenewalAt},
		{"last_deployment_at", in.LastDeploymentAt, have.LastDeploymentAt},
		{"revoked_at", in.RevokedAt, have.RevokedAt},
		{"version_revoked_at", in.VersionRevokedAt, have.VersionRevokedAt},
	} {
		var stored time.Time
		if t.have != nil {
			stored = *t.have
		}
		api.SameTime(p, t.field, t.sent, stored)
	}
	api.Same(p, "revocation_reason", in.RevocationReason, have.RevocationReason)
	api.Same(p, "waiting_for", in.WaitingFor, have.WaitingFor)
	api.Same(p, "pending_change", in.PendingChange, have.PendingChange)
	api.Same(p, "job_id", in.JobID, have.JobID)
	api.Same(p, "last_error", in.LastError, have.LastError)
	if in.Version.Set && !in.Version.Null {
		sent := api.Some(in.Version.Value.ID + " " + in.Version.Value.FingerprintSHA256)
		var stored string
		if have.Version != nil {
			stored = have.Version.ID + " " + have.Version.FingerprintSHA256
		}
		api.Same(p, "version", sent, stored)
	}
	p.Check(len(in.IgnoredProperties.Value) == 0, "ignored_properties", "is set by the server", "leave it out")
}
