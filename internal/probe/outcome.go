package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/leafward/leafward/internal/outbound"
)

// Outcome is how a look ended.
type Outcome string

// The outcomes of a look.
const (
	OK            Outcome = "ok"
	Unresolved    Outcome = "unresolved"       // the name has no address
	Refused       Outcome = "refused"          // nothing listens
	Unreachable   Outcome = "unreachable"      // no way there
	NotAllowed    Outcome = "not-allowed"      // the guarded dialer does not connect there
	Timeout       Outcome = "timeout"          // no answer in time
	Reset         Outcome = "reset"            // closed while shaking hands
	NotTLS        Outcome = "not-tls"          // something else than TLS answers
	NoStartTLS    Outcome = "no-starttls"      // the server does not offer the upgrade
	NoCertificate Outcome = "no-certificate"   // TLS, but nothing is shown under this name
	Handshake     Outcome = "handshake-failed" // TLS, but no common ground or an unreadable certificate
	TooMuch       Outcome = "too-much"         // more bytes than a look reads
)

// Live tells whether something answered there, be it a certificate or not.
func (o Outcome) Live() bool {
	return !slices.Contains([]Outcome{Unresolved, Refused, Unreachable, NotAllowed, Timeout}, o)
}

// classify names the outcome of an error and puts it in words.
func classify(ctx context.Context, err error) (Outcome, string) {
	var record tls.RecordHeaderError
	var dns *net.DNSError
	var upgrade *upgradeError
	var dial dialError
	var op *net.OpError
	switch {
	case err == nil:
		return NoCertificate, "the server shook hands without showing a certificate"
	case errors.Is(err, outbound.ErrDenied):
		return NotAllowed, err.Error()
	case errors.Is(err, tooMuchError{}):
		return TooMuch, err.Error()
	case errors.As(err, &upgrade):
		return NoStartTLS, err.Error()
	case errors.As(err, &dns) && !dns.IsTimeout:
		return Unresolved, err.Error()
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) || ctx.Err() != nil || timeout(err):
		return Timeout, "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused, "nothing listens there"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return Reset, "the server closed the connection before it showed a certificate"
	case errors.As(err, &record):
		return NotTLS, "what answers there does not speak TLS"
	case errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "unrecognized name"):
		return NoCertificate, "the server has no certificate for this name"
	case errors.As(err, &dial):
		return Unreachable, err.Error()
	case errors.As(err, &op) && op.Op == "remote error":
		return Handshake, "the server ended the handshake: " + op.Err.Error()
	}
	return Handshake, err.Error()
}

func timeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
