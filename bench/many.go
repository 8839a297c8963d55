//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki/ocsp"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
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
	slices.Sort(took)
	const most = 500 * time.Millisecond
	return []row{{what: fmt.Sprintf("start to ready, %d certificates", b.certificates), figure: short(took[starts/2]), goal: "≤ 500 ms", missed: took[starts/2] > most}}, s.caughtUp(ctx)
}

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
	client, url, held := fromMany(), s.plain+"/.well-known/pki/ocsp/iss-local", s.memory("VmRSS")
	l, err := b.put(ctx, s, "ocsp-many", func(ctx context.Context, _ int) error {
		nonce := make([]byte, 32)
		_, _ = rand.Read(nonce) // it never fails
		asked := id
		asked.Serial, _ = new(big.Int).SetString(serials[mrand.IntN(len(serials))], 16)
		request, err := ocsp.EncodeRequest([]ocsp.CertID{asked}, nonce)
		if err == nil {
			_, err = fetch(ctx, client, http.MethodPost, url, ocspMedia, request)
		}
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

// planMany makes a tenth of the certificates due while the server is away, and waits until it has begun to renew them all.
func (b *bench) planMany(ctx context.Context, s *server) ([]row, error) {
	due := b.certificates / 10
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
	for open := int64(0); open < want; {
		if open, err = s.number(ctx, "SELECT count(*) FROM jobs WHERE kind = 'root' AND type = 'Renewal'"); err != nil {
			return nil, err
		}
		switch {
		case time.Since(begun) > 2*time.Minute:
			return nil, fmt.Errorf("of %d renewals that are due %d are planned after two minutes", want, open)
		case open == 0: // it looks every ten seconds
			begun = time.Now()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	took := time.Since(begun)
	const most = 5 * time.Second
	r := row{
		what: fmt.Sprintf("planning %d renewals of %d", want, b.certificates), figure: short(took),
		cpu: (s.cpu() - spent) / time.Duration(max(want, 1)), goal: "≤ 5 s", missed: took > most,
	}
	return []row{r}, s.caughtUp(ctx)
}

// longCRL revokes everything while the server is away, which makes the CRL as long as it can be, and then one certificate
// after the other: how long until each is on the CRL, and what that does to who wants a certificate meanwhile.
func (b *bench) longCRL(ctx context.Context, s *server) ([]row, error) {
	s.end()
	if err := s.exec(ctx, "UPDATE serials SET revoked_at = created_at, reason = 'superseded' WHERE state = 'issued' AND no_revocation = FALSE AND authority = (SELECT authority FROM issuers WHERE id = 'iss-local')"); err != nil {
		return nil, err
	}
	if err := s.start(ctx, b.program); err != nil {
		return nil, err
	}
	if _, _, err := s.untilListed(ctx, "first"); err != nil {
		return nil, err
	}
	if err := s.caughtUp(ctx); err != nil {
		return nil, err
	}
	alone, err := b.issues(ctx, s, "alone")
	if err != nil {
		return nil, err
	}
	var waits []time.Duration
	var entries int
	spent := s.cpu()
	const lists = 5
	for n := range lists {
		wait, length, err := s.untilListed(ctx, fmt.Sprintf("listed-%d", n))
		if err != nil {
			return nil, err
		}
		waits, entries = append(waits, wait), length
	}
	each := (s.cpu() - spent) / lists
	slices.Sort(waits)
	busy, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			if _, _, err := s.untilListed(busy, fmt.Sprintf("busy-%d", n)); err != nil {
				failed <- err
				return
			}
		}
	}()
	beside, err := b.issues(ctx, s, "beside")
	stop()
	if wrong := <-failed; err == nil && !errors.Is(wrong, context.Canceled) {
		err = wrong
	}
	if err != nil {
		return nil, err
	}
	more := float64(beside.at(0.99))/float64(alone.at(0.99)) - 1
	return []row{
		{what: fmt.Sprintf("CRL of %d: build and publish", entries), figure: short(each) + " of processor", cpu: each, goal: "≤ 1 s", missed: each > time.Second},
		{what: fmt.Sprintf("revoke → on the CRL of %d", entries), figure: fmt.Sprintf("median %s, most %s", short(waits[lists/2]), short(waits[lists-1])), goal: "≤ 2 s", missed: waits[lists-1] > 2*time.Second},
		{
			what: "issuance while that CRL is published", figure: fmt.Sprintf("p99 %s, alone %s", short(beside.at(0.99)), short(alone.at(0.99))), bare: perSecond(alone.rate()),
			ratio: beside.rate() / alone.rate(), goal: "p99 ≤ +20 %", missed: more > 0.2,
		},
	}, nil
}

// untilListed issues a certificate, revokes it, and waits until the CRL names it.
func (s *server) untilListed(ctx context.Context, host string) (took time.Duration, entries int, err error) {
	id, err := s.subject(ctx, host+".bench.example.com")
	if err != nil {
		return 0, 0, err
	}
	found, err := api.ListCertificates.Call(ctx, s.Client, api.ListCertificatesInput{Name: host + ".bench.example.com", Listing: api.Listing{Page: 1, PerPage: 1}})
	if err != nil || len(found.Data) == 0 {
		return 0, 0, errors.Join(err, errors.New("the certificate is not listed"))
	}
	if _, err = api.RevokeCertificate.Call(ctx, s.Client, api.AskWith[api.RevokeRequest]{ID: found.Data[0].ID, Body: &api.RevokeRequest{Reason: "superseded"}}); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	client, tag := fromMany(), ""
	for time.Since(begun) < 30*time.Second {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.plain+"/.well-known/pki/crl/iss-local", nil)
		if err != nil {
			return 0, 0, err
		}
		request.Header.Set("If-None-Match", tag)
		der, fresh, err := fetchNew(client, request)
		if err != nil {
			return 0, 0, err
		}
		took := time.Since(begun)
		if der != nil {
			list, err := x509.ParseRevocationList(der)
			if err != nil {
				return 0, 0, err
			}
			tag = fresh
			if slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(id.Serial) == 0 }) {
				return took, len(list.RevokedCertificateEntries), nil
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	return 0, 0, fmt.Errorf("%s is not on the CRL after %s", host, time.Since(begun))
}

// open opens the server's database beside it.
func (s *server) open() (*sql.DB, error) {
	if s.dsn != "" {
		return sql.Open("pgx", s.dsn)
	}
	return sql.Open("sqlite", "file:"+s.database()+"?_pragma=busy_timeout(5000)")
}

func (s *server) exec(ctx context.Context, statement string) error {
	db, err := s.open()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

func (s *server) number(ctx context.Context, query string) (n int64, err error) {
	db, err := s.open()
	if err != nil {
		return 0, err
	}
	err = db.QueryRowContext(ctx, query).Scan(&n)
	return n, errors.Join(err, db.Close())
}

// column reads all values of a query's one column.
func (s *server) column(ctx context.Context, query string) (all []string, err error) {
	db, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, rows.Err()
}
