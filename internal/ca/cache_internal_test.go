package ca

import (
	"fmt"
	"testing"
)

func TestWhatIsKeptInMemoryIsBoundedAndTheLeastUsedGoesFirst(t *testing.T) {
	const most, each = 100_000, 1000
	c := newCache[int](most)
	for i := range 10_000 {
		c.put(fmt.Sprint(i), i, each)
		c.get("0")
	}
	if c.size > most || c.recent.Len() != len(c.items) || len(c.items) < most/(each+512) {
		t.Errorf("%d octets are kept in %d and %d places", c.size, c.recent.Len(), len(c.items))
	}
	if _, ok := c.get("0"); !ok {
		t.Error("what was used all the time is gone")
	}
	if _, ok := c.get("5000"); ok {
		t.Error("what nobody used is kept")
	}
	if value, ok := c.get("9999"); !ok || value != 9999 {
		t.Errorf("the newest is %d", value)
	}
	c.put("9999", 1, each)
	c.put("too large", 2, most)
	if _, ok := c.get("too large"); ok || c.size > most {
		t.Error("something larger than all is kept")
	}
}
