package rest

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/lifecycle"
)

func (s *server) batches(r *router) {
	bind(r, api.BulkRevokeCertificates, func(ctx context.Context, in api.Create[api.BulkRevokeRequest]) (api.BulkRevokeResult, error) {
		b, err := s.bulk(ctx, api.BulkRevokeCertificates.Info, in.IdempotencyKey, in.Body, leafward.BatchRevoke, in.Body.Selector(), leafward.Change{Reason: in.Body.Reason})
		return api.BulkRevokeResult{Bulk: b.Bulk, TotalRevoked: b.TotalDone}, err
	})
	bind(r, api.BulkRenewCertificates, func(ctx context.Context, in api.Create[api.BulkRenewRequest]) (api.BulkRenewResult, error) {
		b, err := s.bulk(ctx, api.BulkRenewCertificates.Info, in.IdempotencyKey, in.Body, leafward.BatchRenew, in.Body.Selector(), leafward.Change{})
		return api.BulkRenewResult{Bulk: b.Bulk, TotalEnqueued: b.TotalDone, EnqueuedJobs: b.EnqueuedJobs}, err
	})
	bind(r, api.BulkReassignCertificates, func(ctx context.Context, in api.Create[api.BulkReassignRequest]) (api.BulkReassignResult, error) {
		sel := leafward.Selector{Certificates: in.Body.CertificateIDs}
		b, err := s.bulk(ctx, api.BulkReassignCertificates.Info, in.IdempotencyKey, in.Body, leafward.BatchReassign, sel, leafward.Change{Owner: in.Body.OwnerID, Team: in.Body.TeamID})
		return api.BulkReassignResult{Bulk: b.Bulk, TotalReassigned: b.TotalDone}, err
	})
	bind(r, api.GetBatch, func(ctx context.Context, in api.BatchID) (api.Batch, error) {
		b, err := s.Certificates.Batch(ctx, in.ID)
		return batchOf(&b), err
	})
}

// bulk runs a batch, or finds the one that the same request began before.
func (s *server) bulk(ctx context.Context, op api.Info, key string, body any, kind leafward.BatchKind, sel leafward.Selector, change leafward.Change) (out api.Batch, err error) {
	err = s.once(ctx, asking{op, key, "", body}, func(once lifecycle.Once) error {
		b, err := s.Certificates.Bulk(ctx, kind, sel, change, once)
		out = batchOf(&b)
		out.Replay = replay(once)
		return err
	})
	return out, err
}

func batchOf(b *lifecycle.Batch) api.Batch { return api.BatchOf(&b.Batch, b.Failures, b.Begun) }
