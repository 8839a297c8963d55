//go:build linux

package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

const ocspMedia = "application/ocsp-request"

// measureOCSP asks about one certificate: the same question, whose answer is kept, and one with a fresh nonce each time,
// whose answer is signed. The limit is a bare server that sends the same bytes.
func measureOCSP(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := b.ocsp(ctx, s)
	return rows, errors.Join(err, s.stop())
}

func (b *bench) ocsp(ctx context.Context, s *server) ([]row, error) {
	id, err := s.subject(ctx, "subject.bench.example.com")
	if err != nil {
		return nil, err
	}
	plain, err := ocsp.EncodeRequest([]ocsp.CertID{id}, nil)
	if err != nil {
		return nil, err
	}
	client := fromMany()
	url := s.plain + "/.well-known/pki/ocsp/iss-local"
	answer, err := fetch(ctx, client, http.MethodPost, url, ocspMedia, plain)
	if err != nil {
		return nil, err
	}
	kept, err := b.put(ctx, s, "ocsp-kept", func(ctx context.Context, _ int) error {
		_, err := fetch(ctx, client, http.MethodPost, url, ocspMedia, plain)
		return err
	})
	if err != nil {
		return nil, err
	}
	bare, err := b.bareAnswers(ctx, s, client, answer, plain)
	if err != nil {
		return nil, err
	}
	signed, err := b.put(ctx, s, "ocsp-nonce", func(ctx context.Context, _ int) error {
		nonce := make([]byte, 32)
		_, _ = rand.Read(nonce) // it never fails
		request, err := ocsp.EncodeRequest([]ocsp.CertID{id}, nonce)
		if err != nil {
			return err
		}
		_, err = fetch(ctx, client, http.MethodPost, url, ocspMedia, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return []row{kept.row(fmt.Sprintf("OCSP by POST, kept answer, %d clients", b.clients), bare), signed.row("OCSP by POST, with a nonce", bare)}, nil
}

// fromMany is a client whose connections come from many addresses of this machine: each has its own limit.
func fromMany() *http.Client {
	var n atomic.Uint32
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+n.Add(1)%250))}
		return (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, address)
	}}}
}

// subject issues one certificate and is how OCSP asks about it.
func (s *server) subject(ctx context.Context, host string) (id ocsp.CertID, err error) {
	name, csr, err := newRequests().named(host, 0)
	if err != nil {
		return id, err
	}
	made, err := api.CreateCertificate.Call(ctx, s.Client, api.CreateCertificateInput{Wait: 30, Body: api.NewCertificate{
		CertificateWrite: api.CertificateWrite{CommonName: api.Some(name)}, CSRPEM: string(pki.EncodeCSR(csr)),
	}})
	if err != nil || made.Version == nil {
		return id, errors.Join(err, errors.New("there is no certificate to ask about"))
	}
	chain, err := pki.ParseChainPEM([]byte(made.Version.PEMChain))
	if err != nil || len(chain) < 2 {
		return id, errors.Join(err, errors.New("the certificate comes without its issuer"))
	}
	return ocsp.NewCertID(crypto.SHA256, chain[1], chain[0].SerialNumber)
}

// fetchNew is fetch for what has a tag; nil when the client has it already.
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

// bareAnswers is how many answers a second a server sends that does nothing else.
func (b *bench) bareAnswers(ctx context.Context, s *server, client *http.Client, answer, request []byte) (float64, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	bare := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(answer)
	})}
	go func() { _ = bare.Serve(l) }()
	defer bare.Close()
	got, err := put(ctx, s, b.clients, b.time, func(ctx context.Context, _ int) error {
		_, err := fetch(ctx, client, http.MethodPost, "http://"+l.Addr().String(), ocspMedia, request)
		return err
	})
	if err != nil {
		return 0, err
	}
	return got.rate(), nil
}
