package store

import "sync"

// DueJobs is the topic of jobs that may be claimed now, or that made room for others.
const DueJobs = "jobs"

// Changed returns a channel that is closed by the next commit of this process that wrote something.
func (db *DB) Changed() <-chan struct{} { return db.changes.next("") }

// Watch waits for commits of this process that wrote what a topic names: the id of a row, or [DueJobs].
// What other processes commit is not seen.
type Watch struct {
	changes *changes
	topic   string
}

// Watch begins to watch a topic. The caller closes it.
func (db *DB) Watch(topic string) *Watch {
	db.changes.hold(topic)
	return &Watch{&db.changes, topic}
}

// Next returns a channel that is closed by the next such commit: take it before looking at what is watched.
func (w *Watch) Next() <-chan struct{} { return w.changes.next(w.topic) }

// Close ends the watch.
func (w *Watch) Close() { w.changes.release(w.topic) }

// changes wakes those who wait for a commit: of anything, under the topic "", or of what they watch.
type changes struct {
	mu     sync.Mutex
	topics map[string]*topic
}

type topic struct {
	watches int
	ch      chan struct{} // nil while nobody waits
}

func (c *changes) hold(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(name).watches++
}

func (c *changes) release(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.at(name); t.watches > 1 {
		t.watches--
		return
	}
	delete(c.topics, name)
}

// at is the topic of a name; the lock is held.
func (c *changes) at(name string) *topic {
	if c.topics == nil {
		c.topics = make(map[string]*topic)
	}
	if c.topics[name] == nil {
		c.topics[name] = &topic{}
	}
	return c.topics[name]
}

func (c *changes) next(name string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.at(name)
	if t.ch == nil {
		t.ch = make(chan struct{})
	}
	return t.ch
}

// tell wakes who waits for any commit, and who watches one of the topics.
func (c *changes) tell(topics map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake("")
	for name := range topics {
		c.wake(name)
	}
}

func (c *changes) wake(name string) {
	if t := c.topics[name]; t != nil && t.ch != nil {
		close(t.ch)
		t.ch = nil
	}
}
