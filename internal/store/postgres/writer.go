package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

const (
	// laneWriters is the number of commits that are under way at once where each
	// shard commits alone. Where a commit spans shards there is one: two make
	// groups of half the size, which cost more of the processor for each record
	// than the overlap gains.
	laneWriters = 16
	// yields is how often a writer lets others run after a commit. The callers
	// that it answered then hand in their next appends in time for the next
	// group, which at 64 sessions has 46 of them, and 32 without.
	yields = 3
	// maxGroup and maxGroupBytes bound one commit.
	maxGroup      = 512
	maxGroupBytes = 8 << 20
	// commitTimeout is how long the server may take over one commit before it
	// counts as gone.
	commitTimeout = 30 * time.Second
	// maxAttempts bounds how often one group is tried again because of others.
	maxAttempts = 5
)

var errClosed = fmt.Errorf("the store is closed: %w", store.ErrUnavailable)

// pending is an append that waits for its commit.
type pending struct {
	*store.Append
	ctx   context.Context // the caller's; an append is dropped if it ends before the commit starts
	shard int16
	size  int           // bytes that it sends
	names []*event.Hash // by record: the blob that holds its data, or nil
	blobs []packedBlob  // to be written in the same commit
	// forgotten is the sequence number up to which a new fork's parent has
	// forgotten its log.
	forgotten int64
	// metadata is the index row's, as JSON.
	metadata string
	done     chan error // of capacity 1
	// settled is called when the commit is over, whoever still waits for it.
	settled func()
}

// head is the last record that the session's own log is expected to have.
func (p *pending) head() int64 {
	if p.Parent != nil {
		return 0
	}
	return p.Records[0].Seq - 1
}

// rare reports whether the append changes more than records, blobs and the index
// row.
func (p *pending) rare() bool { return p.Parent != nil || p.Erase || len(p.Trees) > 0 }

func (p *pending) answer(err error) {
	p.settled()
	p.done <- err
}

// verdict is what the checks in a commit say of one append.
type verdict = int16

const (
	written  verdict = 0
	conflict verdict = 1
	fenced   verdict = 2
)

// committer writes a group of appends, of which no two are of one session, in
// one commit. The verdicts are in the order of the group; with an error nothing
// was written, or nobody knows.
type committer interface {
	commit(ctx context.Context, group []*pending) ([]verdict, error)
	// joins reports whether the append may share a commit with the first.
	joins(first, p *pending) bool
}

// writer gathers waiting appends by lanes. A lane has one commit under way at
// most, and a session always waits in the same lane, so its appends are
// written in the order in which they came.
type writer struct {
	target committer
	wg     sync.WaitGroup

	mu     sync.Mutex
	wake   *sync.Cond // ready is not empty, or closed
	lanes  []lane
	ready  []int // lanes with appends waiting and no commit under way
	closed bool
}

type lane struct {
	waiting []*pending
	busy    bool // in ready, or its commit is under way
}

func newWriter(lanes int, target committer) *writer {
	w := &writer{target: target, lanes: make([]lane, lanes)}
	w.wake = sync.NewCond(&w.mu)
	return w
}

// start runs the workers until stop.
func (w *writer) start(ctx context.Context, workers int) {
	for range workers {
		w.wg.Go(func() { w.work(ctx) })
	}
}

// stop waits until all that is waiting is written.
func (w *writer) stop() {
	w.mu.Lock()
	w.closed = true
	w.wake.Broadcast()
	w.mu.Unlock()
	w.wg.Wait()
}

// append hands the append to its lane and waits for its commit.
func (w *writer) append(ctx context.Context, p *pending) error {
	p.ctx, p.done = ctx, make(chan error, 1)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		p.settled()
		return errClosed
	}
	n := int(p.shard) % len(w.lanes)
	l := &w.lanes[n]
	l.waiting = append(l.waiting, p)
	if !l.busy {
		l.busy = true
		w.ready = append(w.ready, n)
		w.wake.Signal()
	}
	w.mu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
}

func (w *writer) work(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.ready) == 0 && !w.closed {
			w.wake.Wait()
		}
		if len(w.ready) == 0 {
			return
		}
		n := w.ready[0]
		w.ready = append(w.ready[:0], w.ready[1:]...)
		group := w.take(&w.lanes[n])
		w.mu.Unlock()
		if len(group) > 0 {
			w.write(ctx, group)
			for range yields {
				runtime.Gosched()
			}
		}
		w.mu.Lock()
		if len(w.lanes[n].waiting) == 0 {
			w.lanes[n].busy = false
			continue
		}
		w.ready = append(w.ready, n)
		w.wake.Signal()
	}
}

// take removes the next group from the lane: at most one append of a session,
// and none that came after one of its session that stays.
func (w *writer) take(l *lane) []*pending {
	type key struct{ project, session string }
	var group, rest []*pending
	seen := make(map[key]bool, len(l.waiting))
	size := 0
	for i, p := range l.waiting {
		if err := p.ctx.Err(); err != nil {
			p.answer(fmt.Errorf("not written: %w: %w", store.ErrUnavailable, err))
			continue
		}
		if len(group) == maxGroup || len(group) > 0 && size+p.size > maxGroupBytes {
			rest = append(rest, l.waiting[i:]...)
			break
		}
		k := key{p.Project, p.Session}
		if seen[k] || len(group) > 0 && !w.target.joins(group[0], p) {
			seen[k] = true
			rest = append(rest, p)
			continue
		}
		seen[k] = true
		size += p.size
		group = append(group, p)
	}
	l.waiting = rest
	return group
}

// write commits the group and answers its appends.
func (w *writer) write(ctx context.Context, group []*pending) {
	verdicts, err := w.attempt(ctx, group)
	if err != nil && refused(err) && len(group) > 1 {
		for _, p := range group {
			w.write(ctx, []*pending{p})
		}
		return
	}
	for i, p := range group {
		switch {
		case err != nil:
			p.answer(err)
		case verdicts[i] == conflict:
			p.answer(store.ErrConflict)
		case verdicts[i] == fenced:
			p.answer(store.ErrFenced)
		default:
			p.answer(nil)
		}
	}
}

// attempt commits the group, again where another transaction was in the way: a
// unique violation then shows as a conflict of the append that lost.
func (w *writer) attempt(ctx context.Context, group []*pending) ([]verdict, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commitTimeout, errors.New("the commit took too long"))
	defer cancel()
	for n := 1; ; n++ {
		verdicts, err := w.target.commit(ctx, group)
		if err == nil || n == maxAttempts || !contended(err) && !unsent(err) {
			return verdicts, err
		}
	}
}
