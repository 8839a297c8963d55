// Package outbound is the one way out for connections whose destination somebody else may have chosen: web hooks,
// upstream directories, scans, probes. It looks at the address that is really dialled, after names were resolved and
// redirects followed, so that neither a rebound name nor a redirect leads to loopback, to private networks or to the
// metadata service of a cloud.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

const (
	dialTimeout  = 10 * time.Second
	maxRedirects = 5
	maxHeader    = 64 << 10 // bytes of a response's header
)

// ErrDenied is why a connection is not made to an address that is not public and not allowed.
var ErrDenied = errors.New("address not allowed")

// ErrTooLarge is why a body is not read that is longer than its reader's limit.
var ErrTooLarge = errors.New("the answer is too large")

// Config says what may be reached besides the public Internet.
type Config struct {
	Allow []netip.Prefix // private networks, loopback and other special ranges that may be dialled
}

// Dialer makes guarded TCP connections. Its methods may be called from several goroutines.
type Dialer struct {
	guard  *ssrf.Guardian
	dialer net.Dialer
}

// New makes a dialer that denies every special-purpose range of IANA's registries (RFC 6890) that is not allowed.
func New(config Config) *Dialer {
	var v4, v6 []netip.Prefix
	for _, prefix := range config.Allow {
		switch {
		case prefix.Addr().Is4():
			v4 = append(v4, prefix)
		case prefix.Addr().Is4In6() && prefix.Bits() >= 96:
			v4 = append(v4, netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96))
		default:
			v6 = append(v6, prefix)
		}
	}
	d := &Dialer{guard: ssrf.New(
		ssrf.WithAnyPort(),
		ssrf.WithAllowedV4Prefixes(v4...),
		ssrf.WithAllowedV6Prefixes(v6...),
		ssrf.WithDeniedV4Prefixes(netip.PrefixFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 32)), // Azure's metadata, on a public address
	)}
	d.dialer = net.Dialer{Timeout: dialTimeout, Control: d.control}
	return d
}

// control is called with each address before it is connected to.
func (d *Dialer) control(network, address string, conn syscall.RawConn) error {
	if err := d.guard.Safe(network, address, conn); err != nil {
		return fmt.Errorf("%w: leafward does not connect to %s unless its network is allowed: %w", ErrDenied, address, err)
	}
	return nil
}

// DialContext connects over "tcp", "tcp4" or "tcp6" to a host and port, within ten seconds or what ctx leaves. An error
// for which errors.Is(err, ErrDenied) holds says that the guard, not the network, prevented it.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dialer.DialContext(ctx, network, address)
}

// HTTPClient makes a client that dials through the guard and whose requests take at most timeout, the reading of the
// body included. It uses no proxy, takes TLS 1.2 or later, follows at most five redirects and none from https to http,
// and keeps no cookies. It has a pool of connections of its own: keep it for as long as it is of use.
func (d *Dialer) HTTPClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			DialContext:            d.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTimeout,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns:           32,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
		},
	}
}

func checkRedirect(next *http.Request, done []*http.Request) error {
	if len(done) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if next.URL.Scheme != "https" && done[len(done)-1].URL.Scheme == "https" {
		return fmt.Errorf("the redirect to %s leaves https", next.URL.Redacted())
	}
	return nil
}

// ReadBody reads a response's body to its end and closes it. One of more than limit bytes is ErrTooLarge, with the
// bytes up to the limit.
func ReadBody(response *http.Response, limit int64) ([]byte, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if int64(len(body)) > limit {
		return body[:limit], fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return body, err
}
