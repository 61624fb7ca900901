package journal

import (
	"container/list"
	"context"
	"maps"
	"sync"

	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// key names a session.
type key struct{ project, id string }

// handle is a session in use. Its holder has the lock.
type handle struct {
	key   key
	lock  chan struct{} // holds a token while it is free
	users int           // guarded by the cache
	place *list.Element // in the list of those without users; guarded by the cache

	state *session.State // nil where it is not loaded
	index store.Index    // as it was last written; zero where that is not known
	size  int            // bytes of data in the log
	// parent is set while the session is made as a fork.
	parent *store.Parent
	// doubt is the sequence number of the first record of an append whose answer
	// was lost; 0 where there was none since the log was loaded.
	doubt int64
}

// isNew reports whether the session is about to be made.
func (h *handle) isNew() bool { return h.parent != nil || h.state.Seq == 0 }

func (h *handle) drop() { h.state, h.index, h.size = nil, store.Index{}, 0 }

// cacheBytes bounds the logs whose states are kept although nobody uses them.
const cacheBytes = 16 << 20

// handleBytes is what a small session counts beside its data.
const handleBytes = 4096

// cache keeps handles: all that have users, and the most recently used of the
// others up to cacheBytes.
type cache struct {
	mu      sync.Mutex
	handles map[key]*handle
	idle    *list.List // of *handle, the longest unused first
	bytes   int        // of the idle ones
}

func newCache() *cache {
	return &cache{handles: map[key]*handle{}, idle: list.New()}
}

// acquire returns the session's handle, locked.
func (c *cache) acquire(ctx context.Context, k key) (*handle, error) {
	c.mu.Lock()
	h := c.handles[k]
	if h == nil {
		h = &handle{key: k, lock: make(chan struct{}, 1)}
		h.lock <- struct{}{}
		c.handles[k] = h
	}
	if h.place != nil {
		c.idle.Remove(h.place)
		c.bytes -= h.size + handleBytes
		h.place = nil
	}
	h.users++
	c.mu.Unlock()

	select {
	case <-h.lock:
		return h, nil
	case <-ctx.Done():
		c.leave(h)
		return nil, ctx.Err()
	}
}

// release unlocks the handle.
func (c *cache) release(h *handle) {
	h.lock <- struct{}{}
	c.leave(h)
}

func (c *cache) leave(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	if h.users > 0 {
		return
	}
	if h.doubt != 0 {
		// It is kept until it is loaded: readers have yet to hear of it.
		return
	}
	if h.state == nil {
		delete(c.handles, h.key)
		return
	}
	h.place = c.idle.PushBack(h)
	c.bytes += h.size + handleBytes
	c.shrink(cacheBytes)
}

// shrink forgets the longest unused handles until the idle ones come to no more
// than limit bytes.
func (c *cache) shrink(limit int) {
	for c.bytes > limit {
		oldest := c.idle.Front().Value.(*handle)
		c.idle.Remove(oldest.place)
		c.bytes -= oldest.size + handleBytes
		delete(c.handles, oldest.key)
	}
}

// forget forgets all that nobody uses.
func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shrink(0)
	// A map keeps the room that it once needed.
	c.handles = maps.Clone(c.handles)
}
