//go:build linux

package main

import (
	"context"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
)

// ocspOfMany asks about serial numbers picked at random, each time with a nonce, and how much memory that takes.
func (b *bench) ocspOfMany(ctx context.Context, s *server) ([]row, error) {
	id, err := s.subject(ctx, "subject.bench.example.com")
	if err != nil {
		return nil, err
	}
	serials, err := s.column(ctx, "SELECT serial FROM serials")
	if err != nil {
		return nil, err
	}
	client, url, held := fromMany(), s.plain+ocspPath, s.memory("VmRSS")
	l, err := b.put(ctx, s, "ocsp-many", func(ctx context.Context, _ int) error {
		asked := id
		asked.Serial, _ = new(big.Int).SetString(serials[mrand.IntN(len(serials))], 16)
		_, err := askAfresh(ctx, client, url, asked)
		return err
	})
	if err != nil {
		return nil, err
	}
	grown := s.memory("VmRSS") - held
	r := l.row(fmt.Sprintf("OCSP, nonce, any of %d serials, %d clients", len(serials), b.clients), 0)
	r.goal, r.missed = "≥ 3000/s", l.rate() < 3000
	return []row{r, {
		what: fmt.Sprintf("memory that %d of those took", len(l.waits)), figure: fmt.Sprintf("%.1f MB", float64(grown)/1e6),
		goal: "≤ 64 MB after 500000", missed: grown > 64e6,
	}}, nil
}
