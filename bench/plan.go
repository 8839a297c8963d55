//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// planPatience is how long planning may take before it is given up.
const planPatience = 5 * time.Minute

// mostDue is how many renewals are planned at most: a server begins 10,000 in an hour unless its settings say otherwise.
const mostDue = 10_000

// planMany makes a tenth of the certificates due, or as many as a server begins at once, while the server is away, and waits until it has begun to renew them all.
func (b *bench) planMany(ctx context.Context, s *server) ([]row, error) {
	due := min(b.certificates/10, mostDue)
	s.end()
	const late = "UPDATE certificates SET renew_at = created_at + 1, window_at = created_at + 2 WHERE number > 20 AND number <= %d AND renew_at > 0"
	if err := s.exec(ctx, fmt.Sprintf(late, 20+due)); err != nil {
		return nil, err
	}
	want, err := s.number(ctx, "SELECT count(*) FROM certificates WHERE renew_at = created_at + 1")
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx, b.program); err != nil {
		return nil, err
	}
	begun, spent := time.Now(), s.cpu()
	last := begun.Add(planPatience)
	for open := int64(0); open < want; {
		if open, err = s.number(ctx, "SELECT count(*) FROM jobs WHERE kind = 'root' AND type = 'Renewal'"); err != nil {
			return nil, err
		}
		if time.Now().After(last) {
			r := row{what: fmt.Sprintf("planning %d renewals of %d", want, b.certificates), figure: fmt.Sprintf("%d after %s", open, time.Since(begun).Round(time.Second)), goal: "≤ 5 s", missed: true}
			return []row{r}, s.caughtUp(ctx)
		}
		b.tell("%d of %d renewals are planned", open, want)
		if open == 0 { // it looks every ten seconds
			begun, spent = time.Now(), s.cpu()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	took, used := time.Since(begun), s.cpu()-spent
	if err := s.caughtUp(ctx); err != nil {
		return nil, err
	}
	b.tell("the bare limit of planning")
	bare, rows, err := s.planByHand(ctx, want)
	if err != nil {
		return nil, err
	}
	const most = 5 * time.Second
	return []row{{
		what: fmt.Sprintf("planning %d renewals of %d", want, b.certificates), figure: short(took) + fmt.Sprintf(" (%d rows bare)", rows),
		cpu: used / time.Duration(max(want, 1)), bare: short(bare), ratio: float64(bare) / float64(took), goal: "≤ 5 s", missed: took > most,
	}}, nil
}

// planByHand writes what planning has to write once more: of each renewal a job, a step of it, and what the log says of both.
func (s *server) planByHand(ctx context.Context, renewals int64) (took time.Duration, rows int, err error) {
	for table, where := range map[string]string{
		"jobs":   fmt.Sprintf("type = 'Renewal' ORDER BY created_at LIMIT %d", 2*renewals),
		"events": fmt.Sprintf("1 = 1 ORDER BY at DESC, id DESC LIMIT %d", 2*renewals),
	} {
		many, more, err := s.again(ctx, table, where)
		if err != nil {
			return 0, 0, err
		}
		took, rows = took+more, rows+many
	}
	return took, rows, nil
}
