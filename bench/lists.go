//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/leafward/leafward/api"
)

// looking is one way to look at the certificates.
type looking struct {
	what  string
	query func(n int) url.Values // of the request number n
	page  bool                   // any page by its number, which may take longer when there are a million
}

// lookings are the ways, for a list that is that long and whose last cursor is known.
func lookings(many int, cursor string) []looking {
	one := func(key, value string) func(int) url.Values {
		return func(int) url.Values { return url.Values{key: {value}} }
	}
	sorts := []string{"name", "-expires_at", "common_name", "-updated_at", "id"}
	return []looking{
		{"first page", func(int) url.Values { return url.Values{} }, false},
		{"behind a cursor", one("cursor", cursor), false},
		{"any page", func(n int) url.Values { return url.Values{"page": {strconv.Itoa(1 + n*7919%(many/50))}} }, true},
		{"the last page", one("page", strconv.Itoa(many/50)), true},
		{"filtered, many", func(n int) url.Values {
			return [...]url.Values{{"environment": {"production"}}, {"status": {"Active"}}, {"status": {"Failed"}}, {"issuer_id": {"iss-local"}}, {"team_id": {"t-default"}, "status": {"Revoked"}}}[n%5]
		}, false},
		{"filtered, few", func(n int) url.Values { return url.Values{"name": {nameOf(n * 7919 % many)}} }, false},
		{"sorted", func(n int) url.Values { return url.Values{"sort": {sorts[n%len(sorts)]}} }, false},
		{"filtered and sorted", func(n int) url.Values {
			return url.Values{"environment": {"staging"}, "status": {[...]string{"Active", "Expiring"}[n%2]}, "sort": {sorts[n%len(sorts)]}}
		}, false},
		{"searched, few", func(n int) url.Values { return url.Values{"q": {nameOf(n * 7919 % many)}} }, false},
		{"searched, many", func(n int) url.Values {
			return url.Values{"q": {[...]string{"web-", "oslo", "example.com", "db-1"}[n%4]}}
		}, false},
	}
}

// lists asks for pages of fifty of very many certificates, by one client. The limit is a bare server that sends such a page.
func (b *bench) lists(ctx context.Context, s *server) (rows []row, err error) {
	halfway, err := api.ListCertificates.Call(ctx, s.Client, api.ListCertificatesInput{Listing: api.Listing{Page: b.certificates / 100, PerPage: 50}})
	if err != nil {
		return nil, err
	}
	alone := *b
	alone.clients, alone.time = 1, b.time/2
	for _, k := range lookings(b.certificates, halfway.NextCursor) {
		l, err := alone.put(ctx, s, "list-"+k.what, func(ctx context.Context, n int) error {
			_, err := page(ctx, s.HTTP, s.base, s.Key, k.query(n))
			return err
		})
		if err != nil {
			return rows, fmt.Errorf("%s: %w", k.what, err)
		}
		one, err := page(ctx, s.HTTP, s.base, s.Key, k.query(0))
		if err != nil {
			return rows, fmt.Errorf("%s: %w", k.what, err)
		}
		bare, err := alone.bareLoad(ctx, one, "list-"+k.what, func(ctx context.Context, sender *bareServer) error {
			_, err := page(ctx, sender.client, sender.url, s.Key, k.query(0))
			return err
		})
		if err != nil {
			return rows, fmt.Errorf("%s: %w", k.what, err)
		}
		rows = append(rows, k.row(l, bare, b.certificates))
	}
	return rows, nil
}

// row judges by what a list of so many should take.
func (k looking) row(l, bare load, many int) row {
	r := row{
		what: fmt.Sprintf("50 of %d, %s", many, k.what), cpu: l.cpu / time.Duration(len(l.waits)),
		figure: fmt.Sprintf("p50 %s, p99 %s", short(l.at(0.5)), short(l.at(0.99))),
		bare:   short(bare.at(0.5)), ratio: float64(bare.at(0.5)) / float64(l.at(0.5)),
	}
	usual, most := 3*time.Millisecond, 15*time.Millisecond
	r.goal = "p50 ≤ 3 ms, p99 ≤ 15 ms"
	switch {
	case many > 100_000 && k.page:
		usual, most, r.goal = 100*time.Millisecond, 100*time.Millisecond, "≤ 100 ms"
	case many > 100_000:
		usual, most, r.goal = 30*time.Millisecond, 30*time.Millisecond, "p99 ≤ 30 ms"
	}
	r.missed = l.at(0.5) > usual || l.at(0.99) > most
	return r
}

// page reads a page of certificates without looking into it, so that what is measured is the server's part.
func page(ctx context.Context, client *http.Client, base, key string, query url.Values) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/certificates?"+query.Encode(), nil)
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	return exchange(client, request)
}
