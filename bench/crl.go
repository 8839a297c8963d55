//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
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
	reader := &crlReader{client: fromMany()}
	if _, err := reader.untilListed(ctx, s, "first"); err != nil {
		return nil, err
	}
	if err := s.caughtUp(ctx); err != nil {
		return nil, err
	}
	alone, err := b.issues(ctx, s, "alone")
	if err != nil {
		return nil, err
	}
	rows, err := b.listed(ctx, s, reader)
	if err != nil {
		return rows, err
	}
	busy, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			if _, err := reader.untilListed(busy, s, fmt.Sprintf("busy-%d", n)); err != nil {
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
func (b *bench) listed(ctx context.Context, s *server, reader *crlReader) ([]row, error) {
	var waits []time.Duration
	spent := s.cpu()
	const lists = 5
	for n := range lists {
		b.tell("revoke → on the CRL, %d of %d", n+1, lists)
		wait, err := reader.untilListed(ctx, s, fmt.Sprintf("listed-%d", n))
		if err != nil {
			return nil, err
		}
		waits = append(waits, wait)
	}
	each := (s.cpu() - spent) / lists
	bare, entries, err := bareCRL(ctx, s)
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

// bareCRL is how long it takes to encode the entries of the server's CRL and sign them, and how many there are.
func bareCRL(ctx context.Context, s *server) (each time.Duration, entries int, err error) {
	got, err := fetch(ctx, fromMany(), http.MethodGet, s.plain+crlPath, "", nil)
	if err != nil {
		return 0, 0, err
	}
	parsed, err := x509.ParseRevocationList(got.Body)
	if err != nil {
		return 0, 0, err
	}
	list := pki.RevocationList{Number: parsed.Number, ThisUpdate: parsed.ThisUpdate, NextUpdate: parsed.NextUpdate}
	for _, e := range parsed.RevokedCertificateEntries {
		list.Entries = append(list.Entries, pki.Revoked{Serial: e.SerialNumber, At: e.RevocationTime, Reason: pki.Reason(e.ReasonCode)})
	}
	signer, err := newBareSigner()
	if err != nil {
		return 0, 0, err
	}
	var took []time.Duration
	for range 5 {
		begun := time.Now()
		if _, err := pki.BuildCRL(list, signer.cert, signer.key); err != nil {
			return 0, 0, err
		}
		took = append(took, time.Since(begun))
	}
	return middle(took, itself), len(list.Entries), nil
}

const crlPath = "/.well-known/pki/crl/iss-local"

// crlReader fetches CRLs as a careful client does, which takes none again that it has. It costs little beside the server
// that is measured: a serial is looked for in the list as it is encoded, without reading the others.
type crlReader struct {
	client *http.Client
	tag    string // of the last list
}

// untilListed issues a certificate, revokes it, and waits until the CRL names it.
func (c *crlReader) untilListed(ctx context.Context, s *server, host string) (took time.Duration, err error) {
	id, err := s.subject(ctx, host+".bench.example.com")
	if err != nil {
		return 0, err
	}
	serial, err := asn1.Marshal(id.Serial)
	if err != nil {
		return 0, err
	}
	found, err := api.ListCertificates.Call(ctx, s.Client, api.ListCertificatesInput{Name: host + ".bench.example.com", Listing: api.Listing{Page: 1, PerPage: 1}})
	if err != nil || len(found.Data) == 0 {
		return 0, errors.Join(err, errors.New("the certificate is not listed"))
	}
	if _, err = api.RevokeCertificate.Call(ctx, s.Client, api.AskWith[api.RevokeRequest]{ID: found.Data[0].ID, Body: &api.RevokeRequest{Reason: "superseded"}}); err != nil {
		return 0, err
	}
	begun := time.Now()
	for time.Since(begun) < 30*time.Second {
		der, err := c.fetchNew(ctx, s.plain+crlPath)
		if err != nil {
			return 0, err
		}
		if bytes.Contains(der, serial) {
			return time.Since(begun), nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 0, fmt.Errorf("%s is not on the CRL after %s", host, time.Since(begun))
}

// fetchNew is the list when it is another than the last; nil otherwise.
func (c *crlReader) fetchNew(ctx context.Context, from string) (der []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("If-None-Match", c.tag)
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	der, err = io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusNotModified:
		return nil, nil
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers %s: %.200s", from, response.Status, der)
	}
	c.tag = response.Header.Get("ETag")
	return der, nil
}
