//go:build linux

package main

import (
	"context"
	"errors"
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
