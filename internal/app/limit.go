package app

import (
	"container/list"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/door/revocation"
	"golang.org/x/time/rate"
)

// How many requests a second one address may make without a key, and how many at once. What relying parties fetch is
// cheap and asked for by many behind one address.
const (
	anonymousRate, anonymousBurst = 20, 40
	worldRate, worldBurst         = 2000, 2000
	maxAddresses                  = 10_000 // that are remembered; the one seen longest ago is forgotten
)

// limits bound what an address may ask without a key.
type limits struct{ api, world *addresses }

func newLimits() *limits {
	return &limits{api: newAddresses(anonymousRate, anonymousBurst, maxAddresses), world: newAddresses(worldRate, worldBurst, maxAddresses)}
}

// anonymous lets through whoever is known, and others as often as their address may ask. It stands behind auth.Identify.
func (l *limits) anonymous(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, known := leafward.ActorFrom(r.Context())
		if known || auth.Refusal(r.Context()).Kind == leafward.Later { // a key that nobody could look up may well be one
			next.ServeHTTP(w, r)
			return
		}
		table := l.api
		if strings.HasPrefix(r.URL.EscapedPath(), revocation.Prefix) {
			table = l.world
		}
		if after := table.take(addressOf(r), time.Now()); after > 0 {
			rest.WriteError(w, r, &leafward.Error{
				Kind: leafward.RateLimited, Message: "this address asks too often without a key", Fix: "wait as long as Retry-After says, or send an API key", After: after,
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// addresses count the requests of each address. Its methods may be called from several goroutines.
type addresses struct {
	rate  rate.Limit
	burst int
	most  int

	mu    sync.Mutex
	known map[netip.Addr]*list.Element
	order *list.List // of *bucket, the one seen last in front
}

type bucket struct {
	addr  netip.Addr
	limit *rate.Limiter
}

func newAddresses(perSecond rate.Limit, burst, most int) *addresses {
	return &addresses{rate: perSecond, burst: burst, most: most, known: make(map[netip.Addr]*list.Element), order: list.New()}
}

// take counts a request, or says how long to wait before the next.
func (a *addresses) take(addr netip.Addr, now time.Time) (after time.Duration) {
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil { // what one customer gets
			addr = network.Addr()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.known[addr]
	if !ok {
		if a.order.Len() >= a.most {
			last := a.order.Back()
			delete(a.known, last.Value.(*bucket).addr)
			a.order.Remove(last)
		}
		e = a.order.PushFront(&bucket{addr, rate.NewLimiter(a.rate, a.burst)})
		a.known[addr] = e
	}
	a.order.MoveToFront(e)
	if e.Value.(*bucket).limit.AllowN(now, 1) {
		return 0
	}
	return max(time.Second, time.Duration(float64(time.Second)/float64(a.rate)))
}
