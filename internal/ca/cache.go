package ca

import (
	"container/list"
	"sync"
)

// Bounds of what is kept in memory, in octets.
const (
	answerBytes      = 32 << 20
	listBytes        = 64 << 20
	certificateBytes = 1 << 20
)

// cache keeps the values that were used last, as many as fit into a number of octets.
type cache[T any] struct {
	most int

	mu     sync.Mutex
	size   int
	items  map[string]*list.Element // of recent
	recent list.List                // of cached[T], the last used first
}

type cached[T any] struct {
	key   string
	value T
	size  int
}

func newCache[T any](most int) *cache[T] {
	return &cache[T]{most: most, items: map[string]*list.Element{}}
}

func (c *cache[T]) get(key string) (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	item := c.items[key]
	if item == nil {
		return value, false
	}
	c.recent.MoveToFront(item)
	return item.Value.(cached[T]).value, true
}

// put keeps a value that takes some octets besides its key; what does not fit at all is not kept.
func (c *cache[T]) put(key string, value T, octets int) {
	const overhead = 256 // of one entry
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.items[key])
	size := len(key) + octets + overhead
	if size > c.most {
		return
	}
	c.items[key] = c.recent.PushFront(cached[T]{key, value, size})
	for c.size += size; c.size > c.most; {
		c.drop(c.recent.Back())
	}
}

func (c *cache[T]) drop(item *list.Element) {
	if item == nil {
		return
	}
	gone := c.recent.Remove(item).(cached[T])
	delete(c.items, gone.key)
	c.size -= gone.size
}
