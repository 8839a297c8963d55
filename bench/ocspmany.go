//go:build linux

package main

import (
	"context"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/leafward/leafward/internal/pki/ocsp"
)

// ocspOfMany asks about serial numbers picked at random, each time with a nonce, and how much memory that takes: as many
// questions as are wanted, or as go into a minute.
func (b *bench) ocspOfMany(ctx context.Context, s *server) ([]row, error) {
	id, err := s.subject(ctx, "subject.bench.example.com")
	if err != nil {
		return nil, err
	}
	serials, err := s.column(ctx, "SELECT serial FROM serials")
	if err != nil {
		return nil, err
	}
	client, url, begun, held := fromMany(), s.plain+ocspPath, time.Now(), s.memory("VmRSS")
	var asked atomic.Int64
	ask := func(ctx context.Context, _ int) error {
		of := id
		of.Serial, _ = new(big.Int).SetString(serials[mrand.IntN(len(serials))], 16)
		asked.Add(1)
		_, err := askAfresh(ctx, client, url, of)
		return err
	}
	l, err := b.put(ctx, s, "ocsp-many", ask)
	if err != nil {
		return nil, err
	}
	wanted, brief := int64(questions), b.questions == 0
	if !brief {
		wanted = int64(b.questions)
	}
	for asked.Load() < wanted && (!brief || time.Since(begun) < questionTime) {
		b.tell("%d of %d questions of OCSP", asked.Load(), wanted)
		if _, err := put(ctx, s.cpu, b.clients, min(b.time, time.Second), ask); err != nil {
			return nil, err
		}
	}
	grown := s.memory("VmRSS") - held
	one, err := askAfresh(ctx, client, url, id)
	if err != nil {
		return nil, err
	}
	same, err := ocsp.EncodeRequest([]ocsp.CertID{id}, make([]byte, 32))
	if err != nil {
		return nil, err
	}
	bare, err := b.bareOCSP(ctx, one, asking{"about any serial", http.MethodPost, "", same})
	if err != nil {
		return nil, err
	}
	r := l.row(fmt.Sprintf("OCSP, nonce, any of %d serials", len(serials)), bare.rate())
	r.goal, r.missed = "≥ 3000/s", l.rate() < 3000
	return []row{r, {
		what: fmt.Sprintf("memory that %d such questions took", asked.Load()), figure: fmt.Sprintf("%.1f MB", float64(grown)/1e6),
		goal: fmt.Sprintf("≤ 64 MB after %d", questions), missed: grown > 64e6,
	}}, nil
}

// How many questions are asked, and for how long where nobody says that it must be all of them.
const (
	questions    = 500_000
	questionTime = time.Minute
)
