//go:build linux

package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	neturl "net/url"
	"sync/atomic"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

const ocspMedia = "application/ocsp-request"

// measureOCSP asks about one certificate: the same question, whose answer is kept, and one with a fresh nonce each time,
// whose answer is signed. The limit is a bare server in a process of its own that sends the same bytes.
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
	url := s.plain + ocspPath
	var rows []row
	for _, k := range []asking{
		{"by POST, kept answer", http.MethodPost, "", plain},
		{"by GET, kept answer", http.MethodGet, "/" + neturl.QueryEscape(base64.StdEncoding.EncodeToString(plain)), nil},
	} {
		l, bare, err := b.asked(ctx, s, url, k)
		if err != nil {
			return rows, err
		}
		r := l.row("OCSP "+k.what, bare.rate())
		r.goal, r.missed = "≥ 0.7", r.ratio < 0.7
		rows = append(rows, r)
	}
	client := fromMany()
	signed, err := b.put(ctx, s, "ocsp-nonce", func(ctx context.Context, _ int) error {
		_, err := askAfresh(ctx, client, url, id)
		return err
	})
	if err != nil {
		return rows, err
	}
	one, err := askAfresh(ctx, client, url, id)
	if err != nil {
		return rows, err
	}
	bare, err := b.bareOCSP(ctx, one, asking{"by POST, with a nonce", http.MethodPost, "", plain})
	if err != nil {
		return rows, err
	}
	return append(rows, signed.row("OCSP by POST, with a nonce", bare.rate())), nil
}

const ocspPath = "/.well-known/pki/ocsp/iss-local"

// asking is one way to ask the same question again and again.
type asking struct {
	what, method, path string
	body               []byte
}

// asked asks our server and then a bare one that sends the same answer.
func (b *bench) asked(ctx context.Context, s *server, url string, k asking) (ours, bare load, err error) {
	client := fromMany()
	one, err := fetch(ctx, client, k.method, url+k.path, k.media(), k.body)
	if err != nil {
		return ours, bare, err
	}
	ours, err = b.put(ctx, s, "ocsp-"+k.method, func(ctx context.Context, _ int) error {
		_, err := fetch(ctx, client, k.method, url+k.path, k.media(), k.body)
		return err
	})
	if err != nil {
		return ours, bare, err
	}
	bare, err = b.bareOCSP(ctx, one, k)
	return ours, bare, err
}

func (b *bench) bareOCSP(ctx context.Context, one reply, k asking) (load, error) {
	client := fromMany()
	return b.bareLoad(ctx, one, "OCSP "+k.what, func(ctx context.Context, s *bareServer) error {
		_, err := fetch(ctx, client, k.method, s.url+ocspPath+k.path, k.media(), k.body)
		return err
	})
}

func (k asking) media() string {
	if k.method == http.MethodPost {
		return ocspMedia
	}
	return ""
}

// askAfresh asks with a nonce that was never sent before, so that the answer is signed for it.
func askAfresh(ctx context.Context, client *http.Client, url string, id ocsp.CertID) (reply, error) {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // it never fails
	request, err := ocsp.EncodeRequest([]ocsp.CertID{id}, nonce)
	if err != nil {
		return reply{}, err
	}
	return fetch(ctx, client, http.MethodPost, url, ocspMedia, request)
}

// fromMany is a client whose connections come from many addresses of this machine: each has its own limit.
func fromMany() *http.Client {
	var n atomic.Uint32
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+n.Add(1)%250))}
		return (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, address)
	}
	all := &inTurn{}
	for i := range all.transports {
		all.transports[i] = &http.Transport{MaxIdleConnsPerHost: 64, DialContext: dial}
	}
	return &http.Client{Transport: all}
}

// inTurn sends each request over the next of its transports, so that no connection has much more to do than another.
type inTurn struct {
	transports [8]*http.Transport
	n          atomic.Uint32
}

func (t *inTurn) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.transports[t.n.Add(1)%uint32(len(t.transports))].RoundTrip(r)
}

func (t *inTurn) CloseIdleConnections() {
	for _, one := range t.transports {
		one.CloseIdleConnections()
	}
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
