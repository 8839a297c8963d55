//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measureMany measures a server that holds very many certificates: its lists, its start, OCSP about all of them, the
// planning of their renewal, and a CRL that names all.
func measureMany(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.filled(ctx, b.certificates)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, part := range []func(context.Context, *server) ([]row, error){b.lists, b.startFull, b.ocspOfMany, b.planMany, b.longCRL} {
		more, err := part(ctx, s)
		rows = append(rows, more...)
		if err != nil {
			return rows, errors.Join(err, s.stop())
		}
	}
	return rows, s.stop()
}

// startFull starts the server again and again: the median until it is ready.
func (b *bench) startFull(ctx context.Context, s *server) ([]row, error) {
	const starts = 5
	var took []time.Duration
	for range starts {
		s.end()
		if err := s.start(ctx, b.program); err != nil {
			return nil, err
		}
		took = append(took, s.ready)
	}
	middling := middle(took, itself)
	const most = 500 * time.Millisecond
	return []row{{what: fmt.Sprintf("start to ready, %d certificates", b.certificates), figure: short(middling), goal: "≤ 500 ms", missed: middling > most}}, s.caughtUp(ctx)
}
