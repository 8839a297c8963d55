package app

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

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
