package app

import "testing"

func TestTheCollectorWaitsOnlyWhileMuchIsAllocatedAndLittleKept(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		allocated, kept uint64
		want            int
	}{{0, 0, 100}, {mb, 8 * mb, 100}, {200 * mb, 0, 800}, {200 * mb, 8 * mb, 400}, {200 * mb, 20 * mb, 160}, {200 * mb, 33 * mb, 100}, {200 * mb, 1 << 40, 100}} {
		if got := gcPercent(c.allocated, c.kept); got != c.want {
			t.Errorf("%d octets allocated and %d kept: %d %%, not %d", c.allocated, c.kept, got, c.want)
		}
	}
}
