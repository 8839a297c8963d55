package rest

import (
	"context"
	"io"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
)

func (s *server) audit(r *router) {
	bind(r, api.ListAuditEvents, func(ctx context.Context, in api.ListAuditEventsInput) (out api.Page[api.AuditEvent], err error) {
		q := in.Query(map[string]string{"actor": in.Actor, "action": in.Action, "resource_type": in.ResourceType, "resource_id": in.ResourceID, "from": in.From, "to": in.To})
		err = s.DB.View(ctx, func(v *store.View) error {
			page, err := v.Events(q)
			out = api.PageOf(page, api.AuditEventOf)
			return err
		})
		return out, err
	})
	bind(r, api.GetAuditEvent, func(ctx context.Context, in api.EventID) (out api.AuditEvent, err error) {
		err = s.DB.View(ctx, func(v *store.View) error {
			event, err := v.Event(in.ID)
			out = api.AuditEventOf(&event)
			return err
		})
		return out, err
	})
	bind(r, api.GetCheckpoint, s.checkpoint)
	bind(r, api.ProveAuditEvent, func(ctx context.Context, in api.ProveEventInput) (out api.AuditProof, err error) {
		err = s.DB.View(ctx, func(v *store.View) error {
			p, err := v.Prove(in.ID, in.Size)
			out = api.AuditProof{Sequence: p.Seq, Event: p.Event, Path: []string{}, Checkpoint: p.Checkpoint}
			for _, h := range p.Path {
				out.Path = append(out.Path, h.String())
			}
			return err
		})
		return out, err
	})
	stream(r, api.ExportAudit, "application/jsonl", func(ctx context.Context, in api.ExportAuditInput, w io.Writer) error {
		return s.DB.ExportEvents(ctx, w, s.Name, in.First)
	})
}

func (s *server) checkpoint(ctx context.Context, _ api.Nothing) (out api.AuditCheckpoint, err error) {
	err = s.DB.View(ctx, func(v *store.View) error {
		last, _, err := v.LastCheckpoint()
		if err != nil {
			return err
		}
		out = api.AuditCheckpoint{Checkpoint: last.Note, Size: last.Size, CreatedAt: last.At}
		out.PublicKey, err = v.Setting(store.CheckpointPublicKey)
		return err
	})
	return out, err
}

func (s *server) plugins(r *router) {
	bind(r, api.ListPlugins, func(_ context.Context, in api.ListPluginsInput) (api.Plugins, error) {
		out := api.Plugins{Data: []api.Plugin{}}
		for _, p := range s.Plugins {
			if in.Kind == "" || in.Kind == p.Kind {
				out.Data = append(out.Data, p)
			}
		}
		out.Total = int64(len(out.Data))
		return out, nil
	})
}
