package agent

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

const (
	dialTime  = 10 * time.Second
	maxRoot   = 64 << 10 // bytes of a root certificate
	maxAnswer = 16 << 20 // bytes of any answer of the server
)

// serverURL is the canonical base of a server's address: https, a host, a port where there is one, and nothing else.
func serverURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", leafward.Errorf(leafward.Invalid, "write it as `leafward agent invite` does, such as https://leafward.example.com:8443",
			"%.200q is not the address of a server", text)
	}
	return "https://" + strings.ToLower(u.Host), nil
}

// parsePin reads the SHA-256 of a root certificate in hex, with or without colons.
func parsePin(text string) ([]byte, error) {
	pin, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
	if err != nil || len(pin) != sha256.Size {
		return nil, leafward.Errorf(leafward.Invalid, "copy the 64 hex digits that `leafward serve` and `leafward agent invite` print",
			"--root %.100q is not the SHA-256 of a certificate", text)
	}
	return pin, nil
}

// fetchRoot gets the root certificate of a server that is not trusted yet, and refuses any but the pinned one.
func fetchRoot(ctx context.Context, server string, pin []byte) (*x509.Certificate, error) {
	//nolint:gosec // nothing is believed of this connection but a certificate whose SHA-256 is known
	client := httpClient(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/.well-known/pki/ca/root", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, unreachable(server, err)
	}
	defer response.Body.Close()
	der, err := io.ReadAll(io.LimitReader(response.Body, maxRoot))
	if err != nil {
		return nil, unreachable(server, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, leafward.Errorf(leafward.Precondition, "check that the address is that of a leafward server",
			"%s has no root certificate to show: it answered %s", server, response.Status)
	}
	sum := sha256.Sum256(der)
	if subtle.ConstantTimeCompare(sum[:], pin) != 1 {
		return nil, leafward.Errorf(leafward.Denied,
			"check --root against what `leafward status` shows on the server; if it is right, somebody stands between this host and the server: do not go on",
			"%s shows a root with the SHA-256 %x, not the one that --root names", server, sum)
	}
	root, err := pki.ParseCertificate(der)
	if err != nil {
		return nil, leafward.Errorf(leafward.Precondition, "check --root", "the root of %s cannot be used: %v", server, err)
	}
	return root, nil
}

// pinned is a client that believes in one root only and speaks TLS 1.3.
func pinned(server string, root *x509.Certificate, key leafward.Secret, version string) *api.Client {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &api.Client{
		Base: server, Key: string(key.Reveal()), Name: "leafward-agent/" + version,
		HTTP: httpClient(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}),
	}
}

// httpClient is a client with bounds that follows no redirects, which would carry the key elsewhere.
func httpClient(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: bounded{&http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig: config, TLSHandshakeTimeout: dialTime, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 2 * time.Minute, MaxResponseHeaderBytes: 64 << 10,
			HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: dialTime},
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded is a transport whose answers have an end.
type bounded struct{ *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.Transport.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	}
	return response, err
}

// unreachable says why a server cannot be spoken to.
func unreachable(server string, err error) error {
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		fix := "see whether another program answers there; after a move of the server join again with --force"
		if _, name := errors.AsType[x509.HostnameError](certificate.Err); name {
			fix = "start the server with --hostname and the name that this agent uses, or join by a name that the server has"
		}
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](certificate.Err); ok && invalid.Reason == x509.Expired {
			return &leafward.Error{
				Kind: leafward.Later, Message: "by the clock of this host, " + time.Now().UTC().Format(time.RFC3339) + ", the certificate of " + server + " does not count",
				Fix: "set the clock of this host; if it is right, see why the server does not renew its own certificate", Cause: certificate.Err,
			}
		}
		return &leafward.Error{Kind: leafward.Denied, Message: server + " is not the server that this agent trusts", Fix: fix, Cause: certificate.Err}
	}
	return &leafward.Error{
		Kind: leafward.Later, Message: "the server at " + server + " cannot be reached", Fix: "check that it runs, and that this host may connect to it", Cause: err,
	}
}

// call is an operation of the API with an end, and with errors of kind leafward.Error.
func call[In, Out any](ctx context.Context, client *api.Client, op api.Operation[In, Out], in In, limit time.Duration) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := op.Call(ctx, client, in)
	if err == nil {
		return out, nil
	}
	if refused, ok := errors.AsType[*api.Error](err); ok {
		message := refused.Message
		if len(refused.Fields) > 0 {
			message = strings.TrimSuffix(message, ": "+refused.Fields[0].Field+" "+refused.Fields[0].Problem)
		}
		return out, &leafward.Error{
			Kind: refused.KindOf(), Message: message, Fix: refused.Fix, Docs: refused.Docs, Fields: refused.Fields, Counts: refused.Counts, After: refused.RetryAfter(),
		}
	}
	if later, ok := errors.AsType[*leafward.Error](err); ok && later.Kind == leafward.Later {
		return out, unreachable(client.Base, errors.Unwrap(err))
	}
	return out, fmt.Errorf("%s: %w", op.ID, err)
}
