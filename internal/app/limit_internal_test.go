package app

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestWhoseKeyCannotBeCheckedIsNotTakenForAStranger(t *testing.T) {
	db := storetest.SQLite(t, nil)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	handler := auth.New(db, slog.New(slog.DiscardHandler)).Identify(newLimits().anonymous(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest.WriteError(w, r, auth.Refusal(r.Context()))
	})))
	for key, want := range map[string]int{"Bearer lwk_any": http.StatusServiceUnavailable, "": http.StatusTooManyRequests} {
		last := 0
		for range 2 * anonymousBurst {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/teams", nil)
			r.Header.Set("Authorization", key)
			handler.ServeHTTP(w, r)
			last = w.Code
		}
		if last != want {
			t.Errorf("with the key %q the last of many answers is %d, not %d", key, last, want)
		}
	}
}

func TestAnAddressGetsItsRateAndNoMore(t *testing.T) {
	a, now := newAddresses(2, 4, 100), time.Now()
	addr := netip.MustParseAddr("192.0.2.1")
	passed := func(n int) (got int) {
		for range n {
			if a.take(addr, now) == 0 {
				got++
			}
		}
		return got
	}
	if got := passed(10); got != 4 {
		t.Errorf("%d at once, want 4", got)
	}
	now = now.Add(time.Second)
	if got := passed(10); got != 2 {
		t.Errorf("%d after a second, want 2", got)
	}
	if after := a.take(netip.MustParseAddr("192.0.2.2"), now); after != 0 {
		t.Error("another address is held back")
	}
}

func TestAnAddressWithoutAKeyGetsTwentyASecondAndARelyingPartyTwoThousand(t *testing.T) {
	var now time.Time
	passed := func(table *addresses) (got int) {
		for range 10_000 {
			if table.take(netip.MustParseAddr("192.0.2.1"), now) == 0 {
				got++
			}
		}
		return got
	}
	l := newLimits()
	for table, rate := range map[*addresses]int{l.api: 20, l.world: 2000} {
		now = time.Now()
		passed(table) // what it may ask at once
		for range 3 {
			now = now.Add(time.Second)
			if got := passed(table); got != rate {
				t.Errorf("%d in a second, not %d", got, rate)
			}
		}
	}
	served := map[string]int{}
	handler := l.anonymous(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { served[r.URL.Path]++ }))
	for range 500 {
		for _, path := range []string{"/api/v1/auth/info", "/.well-known/pki/ocsp/iss-local/12", "/.well-known/pki/crl/iss-local"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr = "198.51.100.7:1234"
			handler.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	if served["/api/v1/auth/info"] > 100 || served["/.well-known/pki/ocsp/iss-local/12"] != 500 || served["/.well-known/pki/crl/iss-local"] != 500 {
		t.Errorf("served: %v", served)
	}
}

func TestANetworkOfIPv6CountsAsOne(t *testing.T) {
	a, now, passed := newAddresses(1, 1, 100), time.Now(), 0
	for i := range 10 {
		if a.take(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)), now) == 0 {
			passed++
		}
	}
	if passed != 1 {
		t.Errorf("%d passed", passed)
	}
}

func TestTheTableOfAddressesIsBounded(t *testing.T) {
	a, now := newAddresses(1, 1, 10), time.Now()
	for i := range 1000 {
		a.take(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now)
	}
	if len(a.known) != 10 || a.order.Len() != 10 {
		t.Errorf("%d and %d addresses are remembered", len(a.known), a.order.Len())
	}
}
