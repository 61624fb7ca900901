package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/stayd/stayd/internal/store"
)

const (
	// maxGroup and maxGroupBytes bound one transaction, and with it the
	// write-ahead log and the time that the first of a group waits for the last.
	maxGroup      = 1024
	maxGroupBytes = 8 << 20
	// checkpointBytes is how much is written before the write-ahead log is
	// brought into the file, so that it is used again from its start. A log that
	// does not grow is cheaper to sync: its length is on the disk already.
	checkpointBytes = 4 << 20
	// idleCheckpoint is how long nothing must have been written before a shorter
	// log is brought into the file.
	idleCheckpoint = 500 * time.Millisecond
	// truncateAfter is how long what was erased stays in the log of a store that is
	// never idle, and truncateMillis how long a truncation waits for readers.
	truncateAfter  = 2 * time.Second
	truncateMillis = 50
)

// A request is one change that waits for the writer.
type request struct {
	apply func(*tx) error
	size  int  // bytes, about
	quick bool // apply changes nothing where it fails
	state atomic.Int32
	err   error
	done  chan struct{}
}

// States of a request. It is withdrawn or taken, whichever is first.
const (
	waiting int32 = iota
	taken
	withdrawn
)

// writer owns the connection that writes and the goroutine that uses it.
type writer struct {
	ctx    context.Context // never ends
	path   string
	logger *slog.Logger
	conn   *conn // nil after a failure, until it is opened again
	cache  cache

	mu     sync.Mutex
	queue  []*request
	closed bool
	wake   chan struct{} // has room for one signal
	ended  chan struct{}
	err    error // of closing the connection; set before ended is closed

	dirty  int       // bytes written since the last checkpoint, about
	erased bool      // the write-ahead log holds what was erased, or may do
	tried  time.Time // when the log was last truncated, or the first erased in it
	held   bool      // a snapshot is held, which a truncation of the log would wait for
}

func startWriter(ctx context.Context, path string, logger *slog.Logger) (*writer, error) {
	c, err := connect(ctx, path)
	if err != nil {
		return nil, err
	}
	w := &writer{ctx: context.WithoutCancel(ctx), path: path, logger: logger, conn: c, wake: make(chan struct{}, 1), ended: make(chan struct{}), erased: true, tried: time.Now()}
	w.cache.clear()
	go w.run()
	return w, nil
}

// stop refuses what waits, waits for what is under way and closes the
// connection.
func (w *writer) stop() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	<-w.ended
	return w.err
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// do runs apply in a transaction and returns when it is durable.
func (w *writer) do(ctx context.Context, apply func(*tx) error) error {
	return w.submit(ctx, &request{apply: apply})
}

// submit hands the request to the writer and waits. A context that ends takes
// the request back if the writer has not begun with it; if it has, submit waits
// for the outcome, which is then known.
func (w *writer) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.done = make(chan struct{})
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, r)
	first := len(w.queue) == 1
	w.mu.Unlock()
	if first {
		w.signal()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		<-r.done
		return r.err
	}
}

func (w *writer) run() {
	defer close(w.ended)
	for {
		group, closed := w.take()
		if len(group) > 0 {
			w.commit(group)
			switch {
			case w.erased && !w.held && time.Since(w.tried) > truncateAfter:
				w.checkpoint(stmtTruncate)
			case w.dirty > checkpointBytes:
				w.checkpoint(stmtCheckpoint)
			}
		}
		if closed {
			break
		}
	}
	if w.conn != nil {
		w.err = w.conn.close()
	}
}

// take waits for requests and returns those that are there. After the store was
// closed it answers what waits and returns none.
func (w *writer) take() (group []*request, closed bool) {
	for {
		w.mu.Lock()
		if w.closed {
			rest := w.queue
			w.queue = nil
			w.mu.Unlock()
			for _, r := range rest {
				r.finish(errClosed)
			}
			return nil, true
		}
		if len(w.queue) > 0 {
			break
		}
		w.mu.Unlock()
		w.idle()
	}
	w.gather()
	n, size := 0, 0
	for ; n < len(w.queue) && n < maxGroup && (n == 0 || size < maxGroupBytes); n++ {
		if r := w.queue[n]; r.state.CompareAndSwap(waiting, taken) {
			size += r.size
			group = append(group, r)
		}
	}
	if n == len(w.queue) {
		w.queue = nil
	} else {
		w.queue = w.queue[n:]
	}
	w.mu.Unlock()
	return group, false
}

// gather lets the sessions that the last commit set free come with their next
// append, as long as more of them come at each turn. Without it they would
// arrive during a commit of the first of them, and every second commit would be
// a small one. It holds w.mu at its start and at its end.
func (w *writer) gather() {
	for n := 0; n < len(w.queue) && n < maxGroup; {
		n = len(w.queue)
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
}

// idle waits for a signal, and brings the write-ahead log into the file when
// none comes for a while.
func (w *writer) idle() {
	if w.dirty == 0 && !w.erased || w.conn == nil {
		<-w.wake
		return
	}
	timer := time.NewTimer(idleCheckpoint)
	defer timer.Stop()
	select {
	case <-w.wake:
	case <-timer.C:
		if w.erased && !w.held {
			w.checkpoint(stmtTruncate)
		} else {
			w.checkpoint(stmtCheckpoint)
		}
	}
}

// checkpoint brings the write-ahead log into the file. What is in the log is
// durable there too, so that a failure is told and tried again after as much
// was written.
func (w *writer) checkpoint(how int) {
	if w.conn == nil {
		return
	}
	w.dirty = 0
	if how == stmtTruncate {
		w.tried = time.Now()
		w.busyFor(truncateMillis)
		defer w.busyFor(busyMillis)
	}
	busy, _, err := w.conn.one(how)
	switch {
	case err != nil:
		w.logger.Warn("checkpoint of the store failed", "path", w.path, "error", classify(err))
	case how == stmtTruncate && busy == 0:
		w.erased = false
	}
}

// busyFor sets how long the connection waits for others. Whoever has a lease must
// not wait for somebody's long read.
func (w *writer) busyFor(millis int) {
	if err := w.conn.run(fmt.Sprintf("PRAGMA busy_timeout = %d", millis)); err != nil {
		w.logger.Warn("the store waits longer or shorter than it should", "path", w.path, "error", err)
	}
}

func (r *request) finish(err error) {
	r.err = err
	close(r.done)
}

// commit makes a group durable and answers it. Where the group could not be
// written, each of its requests is tried alone, so that one that is at fault
// takes no other with it.
func (w *writer) commit(group []*request) {
	again, err := w.transact(group)
	if again && len(group) > 1 {
		for _, r := range group {
			if _, err := w.transact([]*request{r}); err != nil {
				r.err = err
			}
			close(r.done)
		}
		return
	}
	for _, r := range group {
		if err != nil {
			r.err = err
		}
		close(r.done)
	}
}

// transact runs the group in one transaction. It sets r.err of each request
// that failed by itself. An error is of the whole; again says that nothing was
// written and that a part of the group may fare better.
func (w *writer) transact(group []*request) (again bool, err error) {
	if w.conn == nil {
		if w.conn, err = connect(w.ctx, w.path); err != nil {
			return false, fmt.Errorf("open the store again: %w", classify(err))
		}
	}
	if _, err := w.conn.exec(stmtBegin); err != nil {
		return false, fmt.Errorf("begin: %w", classify(err))
	}
	t := &tx{conn: w.conn, cache: &w.cache}
	if err := t.applyAll(group); err != nil {
		w.rollback()
		return true, classify(err)
	}
	if _, err := w.conn.exec(stmtCommit); err != nil {
		w.rollback()
		err = fmt.Errorf("commit: %w", classify(err))
		// A full disk is found while frames are written, before the last one
		// that makes them count. After any other failure the last one may be on
		// the disk, and a crash could bring the transaction back.
		return errors.Is(err, store.ErrFull), err
	}
	w.dirty += t.written
	if t.erased && !w.erased {
		w.erased, w.tried = true, time.Now()
	}
	return false, nil
}

// rollback ends a transaction that failed. SQLite has ended it already after
// some errors, and says SQLITE_ERROR then. What the cache says of it is wrong.
func (w *writer) rollback() {
	w.cache.clear()
	_, err := w.conn.exec(stmtRollback)
	if err == nil || isCode(err, lib.SQLITE_ERROR) {
		return
	}
	w.logger.Error("rollback failed, the store is opened again", "path", w.path, "error", err)
	if err := w.conn.close(); err != nil {
		w.logger.Error("close after a failed rollback", "path", w.path, "error", err)
	}
	w.conn = nil
}
