//go:build linux

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

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
	rows, err := b.listed(ctx, s)
	if err != nil {
		return rows, err
	}
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
	return append(rows, row{
		what: "issuance while that CRL is published", figure: fmt.Sprintf("p99 %s, alone %s", short(beside.at(0.99)), short(alone.at(0.99))), bare: perSecond(alone.rate()),
		ratio: beside.rate() / alone.rate(), goal: "p99 ≤ +20 %", missed: more > 0.2,
	}), nil
}

// listed revokes certificates one after the other and waits for each until the CRL names it.
func (b *bench) listed(ctx context.Context, s *server) ([]row, error) {
	var waits []time.Duration
	var entries int
	spent := s.cpu()
	const lists = 5
	for n := range lists {
		b.tell("revoke → on the CRL, %d of %d", n+1, lists)
		wait, length, err := s.untilListed(ctx, fmt.Sprintf("listed-%d", n))
		if err != nil {
			return nil, err
		}
		waits, entries = append(waits, wait), length
	}
	each := (s.cpu() - spent) / lists
	bare, err := bareCRL(ctx, s)
	if err != nil {
		return nil, err
	}
	usual, most := middle(waits, itself), slices.Max(waits)
	return []row{
		{
			what: fmt.Sprintf("CRL of %d: build and publish", entries), figure: short(each) + " of processor", cpu: each, bare: short(bare), ratio: float64(bare) / float64(each),
			goal: "≤ 1 s", missed: each > time.Second,
		},
		{what: fmt.Sprintf("revoke → on the CRL of %d", entries), figure: fmt.Sprintf("p50 %s, at most %s", short(usual), short(most)), goal: "≤ 2 s", missed: most > 2*time.Second},
	}, nil
}

// bareCRL is how long it takes to encode the entries of the server's CRL and sign them.
func bareCRL(ctx context.Context, s *server) (time.Duration, error) {
	got, err := fetch(ctx, fromMany(), http.MethodGet, s.plain+crlPath, "", nil)
	if err != nil {
		return 0, err
	}
	parsed, err := x509.ParseRevocationList(got.Body)
	if err != nil {
		return 0, err
	}
	list := pki.RevocationList{Number: parsed.Number, ThisUpdate: parsed.ThisUpdate, NextUpdate: parsed.NextUpdate}
	for _, e := range parsed.RevokedCertificateEntries {
		list.Entries = append(list.Entries, pki.Revoked{Serial: e.SerialNumber, At: e.RevocationTime, Reason: pki.Reason(e.ReasonCode)})
	}
	signer, err := newBareSigner()
	if err != nil {
		return 0, err
	}
	var took []time.Duration
	for range 5 {
		begun := time.Now()
		if _, err := pki.BuildCRL(list, signer.cert, signer.key); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begun))
	}
	return middle(took, itself), nil
}

const crlPath = "/.well-known/pki/crl/iss-local"

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
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.plain+crlPath, nil)
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

// fetchNew is the content and its tag; nil when the client has it already.
func fetchNew(client *http.Client, request *http.Request) (text []byte, tag string, err error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(response.Body)
	switch {
	case err == nil && response.StatusCode == http.StatusNotModified:
		return nil, "", nil
	case err == nil && response.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s answers %s: %.200s", request.URL, response.Status, text)
	}
	return text, response.Header.Get("ETag"), err
}
