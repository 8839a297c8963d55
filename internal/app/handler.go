package app

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/door/revocation"
	"github.com/leafward/leafward/internal/hook"
)

// doors are the handlers of the listeners.
type doors struct {
	all    http.Handler // for everybody, over HTTPS
	public http.Handler // what needs no key, over plain HTTP
	local  http.Handler // for the owner, on the local socket
}

// doors puts identity, limits, the access log and the metrics in front of the doors.
func (a *App) doors() (doors, error) {
	deps, err := a.deps()
	if err != nil {
		return doors{}, err
	}
	world := revocation.New(a.authorities, a.log)
	limits := newLimits()
	everything := a.dispatch(world, rest.New(deps), a.metrics)
	all := a.watch(limits.anonymous(everything))
	d := doors{
		all:    secure(a.verbs.auth.Identify(all)),
		public: secure(withoutKey(a.verbs.auth.Identify(a.watch(limits.anonymous(a.dispatch(world, world, world)))))),
		local:  a.verbs.auth.Identify(all),
	}
	if hooks := hook.Handler(a.clock, a.points); hooks != nil {
		d.local = a.hooked(hooks, d.local)
	}
	return d, nil
}

// dispatch leads to a door by the escaped path, before anything cleans it: the base64 of an OCSP request may hold two
// slashes in a row.
func (a *App) dispatch(world, api, metrics http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		switch {
		case strings.HasPrefix(path, revocation.Prefix):
			kind, _, _ := strings.Cut(strings.TrimPrefix(path, revocation.Prefix), "/")
			if kind == "crl" || kind == "ocsp" || kind == "ca" {
				r.Pattern = revocation.Prefix + kind
			}
			world.ServeHTTP(w, r)
		case path == metricsPath:
			r.Pattern = metricsPath
			metrics.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	})
}

// hooked leads what is for tests to the hooks, and makes everything look at the clock after it.
func (a *App) hooked(hooks, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/testhooks/") {
			next.ServeHTTP(w, r)
			return
		}
		hooks.ServeHTTP(w, r)
		a.nudge()
	})
}

// secure tells browsers to make nothing of what they get here.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// withoutKey drops a key that somebody sent in the clear.
func withoutKey(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization")
		next.ServeHTTP(w, r)
	})
}

// watch writes the access log and measures. What a request carried, query and body, is not told.
func (a *App) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		out := &recorder{ResponseWriter: w}
		next.ServeHTTP(out, r)
		took, status := time.Since(begun), out.status()
		if status >= http.StatusInternalServerError && r.Context().Err() != nil {
			status = statusLeft
		}
		route := r.Pattern
		if route == "" {
			route = "unmatched"
		}
		a.metrics.request(route, status, took)
		actor, known := leafward.ActorFrom(r.Context())
		if !known {
			actor.ID = "anonymous"
			if r.Header.Get("Authorization") != "" {
				actor.Name = auth.Refusal(r.Context()).Message
			}
		}
		a.log.LogAttrs(r.Context(), slog.LevelInfo, "request",
			slog.String("method", shortened(r.Method)), slog.String("route", route), slog.Int("status", status), slog.Int64("bytes", out.bytes),
			slog.Duration("took", took.Round(time.Microsecond)), slog.String("request_id", leafward.RequestID(r.Context())),
			slog.String("actor", actor.ID), slog.String("name", actor.Name), slog.String("from", origin(r)))
	})
}

// statusLeft is what is noted of a request whose client left before it was answered: no failure of ours.
const statusLeft = 499

func shortened(method string) string { return method[:min(len(method), 16)] }

// origin is where a request came from, for the log.
func origin(r *http.Request) string {
	if addr := addressOf(r); addr.IsValid() {
		return addr.String()
	}
	return "local"
}

// addressOf is the address of the client, or the zero address on the local socket.
func addressOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// recorder notes what was answered, and gives a stream more time with each part that arrives.
type recorder struct {
	http.ResponseWriter
	code  int
	bytes int64
	told  int64 // bytes at the last time that the deadline was moved
}

const (
	streamPart = 64 << 10         // bytes
	streamTime = 30 * time.Second // for a part to arrive
)

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader notes the status.
func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.bytes-r.told > streamPart {
		r.told = r.bytes
		_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(streamTime)) // where it can be moved
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}
