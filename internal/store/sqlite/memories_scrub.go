package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// What is forgotten is deleted, and secure_delete overwrites the cell of a row
// that is deleted and the whole of a page that becomes free. It does not overwrite
// the copies that SQLite leaves when it moves a cell to another page: these lie
// between the pointers to the cells and the cells of the page that it came from,
// and nothing points at them. The scrubber finds and overwrites them. Its argument
// that nothing is left:
//
//  1. Once records are deleted, no new copy of their content is made. Copies are in
//     gaps of the pages of the trees of the memory tables: free pages and the unused
//     ends of overflow pages are zero, and free blocks in a page are.
//  2. A sweep reads every page of these trees in one snapshot that began after that,
//     and overwrites the gaps that it found.
//  3. In the meantime a page may have gone to another place, gap and all, when the
//     writer balanced a tree. Then it was written there after the snapshot began. As
//     long as a snapshot is held, the write-ahead log has every page that was written
//     after it: the log begins anew only when all of it is in the file and no reader
//     is at a place in it, and what is written after the snapshot gets into the file
//     only when the snapshot has ended or is from within the log.
//  4. So the sweep ends with a transaction of the writer that looks at all pages that
//     the log names. When that is durable, no gap holds what was forgotten before the
//     snapshot, and the log is truncated after it.
//
// Only bytes that SQLite does not use are changed, in a transaction like any other.

const (
	// scrubAfter is how long the scrubber waits for more to be forgotten.
	scrubAfter = 200 * time.Millisecond
	// scrubShare says how much longer than a scrub took it waits before the next:
	// each reads all memories, at about 500 MB a second.
	scrubShare = 4
	// scrubAgain is how long it waits after a failure.
	scrubAgain = 10 * time.Second
	// scrubAtClose is how long Close waits for it. What is left to do is done when
	// the file is opened again.
	scrubAtClose = 2 * time.Second
	// scrubBatch is how many pages one transaction overwrites.
	scrubBatch = 128
	// scrubMost is how many pages are overwritten while a snapshot is held.
	scrubMost = 1024
)

// scrubber is the goroutine that overwrites what is left in gaps of pages.
type scrubber struct {
	store  *Store
	wake   chan struct{} // has room for one signal
	stop   chan struct{}
	cancel context.CancelFunc
	ended  chan struct{}
}

func startScrubber(ctx context.Context, s *Store) *scrubber {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &scrubber{store: s, wake: make(chan struct{}, 1), stop: make(chan struct{}), cancel: cancel, ended: make(chan struct{})}
	c.signal() // for what an earlier process left to do
	go c.run(ctx)
	return c
}

func (c *scrubber) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close waits for what there is to do, but not for long.
func (c *scrubber) close() {
	close(c.stop)
	timer := time.AfterFunc(scrubAtClose, c.cancel)
	defer timer.Stop()
	<-c.ended
	c.cancel()
}

func (c *scrubber) run(ctx context.Context) {
	defer close(c.ended)
	pause := time.Duration(0)
	for c.wait(pause) {
		start := time.Now()
		err := c.scrub(ctx)
		pause = max(scrubAfter, scrubShare*time.Since(start))
		if err != nil && ctx.Err() == nil {
			c.store.writer.logger.Warn("what was forgotten is still in gaps of the store's file", "path", c.store.path, "error", err)
			pause = scrubAgain
			c.signal()
		}
	}
}

// wait waits for a signal and then for the pause to pass. After the store began to
// close it reports whether there was a signal, without waiting.
func (c *scrubber) wait(pause time.Duration) bool {
	select {
	case <-c.wake:
	case <-c.stop:
		select {
		case <-c.wake:
			return true
		default:
			return false
		}
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.stop:
	}
	return true
}

// scrub sweeps until all is done that is noted in the file.
func (c *scrubber) scrub(ctx context.Context) error {
	from := 0
	for {
		next, done, err := c.sweep(ctx, from)
		if err != nil || done {
			return err
		}
		from = next
	}
}

// sweep looks at the pages beginning with one, overwrites the gaps of up to
// scrubMost, and returns the place where it stopped: 0 at the end. It is done where
// it looked at all of them, or where there is nothing to do.
func (c *scrubber) sweep(ctx context.Context, from int) (next int, done bool, err error) {
	w := c.store.writer
	// A log that must not be truncated is not waited for.
	if err := w.do(ctx, func(*tx) error { w.held = true; return nil }); err != nil {
		return 0, false, err
	}
	defer func() {
		release := w.do(context.WithoutCancel(ctx), func(*tx) error { w.held = false; return nil })
		err = errors.Join(err, release)
	}()
	snapshot, err := openSnapshot(ctx, c.store.path)
	if err != nil {
		return 0, false, err
	}
	open := true
	end := func() error {
		if !open {
			return nil
		}
		open = false
		return snapshot.close()
	}
	defer func() { err = errors.Join(err, classify(end())) }()

	noted, left, err := snapshot.one(stmtForgotten)
	if err != nil || !left {
		return 0, true, classify(err)
	}
	found, next, err := snapshot.gaps(ctx, from)
	if err != nil {
		return 0, false, classify(err)
	}
	whole := from == 0 && next == 0
	if !whole {
		if err := end(); err != nil {
			return 0, false, classify(err)
		}
	}
	for len(found) > 0 {
		n := min(len(found), scrubBatch)
		if err := c.blank(ctx, found[:n]); err != nil {
			return 0, false, err
		}
		found = found[n:]
	}
	for whole && !done {
		done, err = c.finish(ctx, noted)
		if err != nil {
			return 0, false, err
		}
	}
	return next, done, nil
}

func (c *scrubber) blank(ctx context.Context, pages []uint32) error {
	return c.store.writer.do(ctx, func(t *tx) error {
		_, err := t.blank(pages)
		return err
	})
}

// finish overwrites the gaps of pages in the write-ahead log, and notes that
// nothing is left of what was forgotten up to the number. It is to be called again
// where there are too many for one transaction.
func (c *scrubber) finish(ctx context.Context, noted int64) (done bool, err error) {
	err = c.store.writer.do(ctx, func(t *tx) error {
		pages, err := logged(c.store.path + "-wal")
		if err != nil {
			return err
		}
		if done, err = t.blank(pages); err != nil || !done {
			return err
		}
		t.erased = true
		_, err = t.exec(stmtScrubbed, noted)
		return err
	})
	return done, err
}

// noteForgotten has the scrubber look for what the transaction deletes.
func (t *tx) noteForgotten() error {
	t.written += pageSize
	_, err := t.exec(stmtNoteForgotten)
	return err
}

// blank overwrites the gaps of those of the pages that belong to the memory
// tables. It reports whether it came to their end.
func (t *tx) blank(pages []uint32) (done bool, err error) {
	look := make(map[uint32]bool, len(pages))
	for _, p := range pages {
		look[p] = true
	}
	all, err := t.memoryPages()
	if err != nil {
		return false, err
	}
	left := scrubBatch
	for _, p := range all {
		if !look[p] {
			continue
		}
		data, err := t.page(p)
		if err != nil {
			return false, err
		}
		gaps, err := clearGaps(data)
		if err != nil {
			return false, fmt.Errorf("page %d: %w", p, err)
		}
		if !gaps {
			continue
		}
		if left == 0 {
			return false, nil
		}
		left--
		if _, err := t.exec(stmtSetPage, data, int64(p)); err != nil {
			return false, fmt.Errorf("overwrite the gap of page %d: %w", p, err)
		}
		t.written += pageSize
	}
	return true, nil
}

// logged lists the pages that the write-ahead log has, and may list others that
// an earlier log in the same file had.
func logged(path string) (pages []uint32, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// The log has a head of 32 bytes, in which the size of pages is. A frame is a head
	// of 24 bytes, which begins with the number of its page, and the page.
	var number [4]byte
	_, err = f.ReadAt(number[:], 8)
	size := int64(binary.BigEndian.Uint32(number[:]))
	for at := int64(32); err == nil; at += 24 + size {
		if _, err = f.ReadAt(number[:], at); err == nil {
			pages = append(pages, binary.BigEndian.Uint32(number[:]))
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return pages, nil
}

// openSnapshot opens a connection whose reads are all of one state of the file.
func openSnapshot(ctx context.Context, path string) (*conn, error) {
	c, err := dial(ctx, dsn(path, "ro", fmt.Sprintf("busy_timeout(%d)", busyMillis), fmt.Sprintf("cache_size(-%d)", readerCache)),
		stmtBeginRead, stmtForgotten, stmtMemoryTrees, stmtPage)
	if err != nil {
		return nil, err
	}
	if _, err := c.exec(stmtBeginRead); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// gaps returns pages that hold something in their gaps, of those of the memory
// tables, beginning with one, and the place where it stopped: 0 at the end.
func (c *conn) gaps(ctx context.Context, from int) (found []uint32, next int, err error) {
	all, err := c.memoryPages()
	if err != nil {
		return nil, 0, err
	}
	for i := min(from, len(all)); i < len(all); i++ {
		if len(found) == scrubMost {
			return found, i, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		data, err := c.page(all[i])
		if err != nil {
			return nil, 0, err
		}
		gaps, err := clearGaps(data)
		if err != nil {
			return nil, 0, fmt.Errorf("page %d: %w", all[i], err)
		}
		if gaps {
			found = append(found, all[i])
		}
	}
	return found, 0, nil
}

// page returns a page as it is.
func (c *conn) page(number uint32) (data []byte, err error) {
	err = c.each(stmtPage, func(row []driver.Value) {
		b, _ := row[0].([]byte)
		data = append([]byte{}, b...)
	}, int64(number))
	if err != nil {
		return nil, fmt.Errorf("read page %d: %w", number, err)
	}
	return data, nil
}

// memoryPages lists the pages of the trees of all memory tables, but for overflow
// pages. All leaves of a tree are equally deep: they are not read but for the first
// of them.
func (c *conn) memoryPages() (pages []uint32, err error) {
	var roots []uint32
	err = c.each(stmtMemoryTrees, func(row []driver.Value) {
		n, _ := row[0].(int64)
		roots = append(roots, uint32(n))
	})
	if err != nil {
		return nil, fmt.Errorf("list the trees: %w", err)
	}
	seen := make(map[uint32]bool)
	for _, root := range roots {
		for level := []uint32{root}; len(level) > 0; {
			pages = append(pages, level...)
			if level, err = c.below(level, seen); err != nil {
				return nil, err
			}
		}
	}
	return pages, nil
}

// below lists the pages that those of one level of a tree point at.
func (c *conn) below(level []uint32, seen map[uint32]bool) (next []uint32, err error) {
	for _, p := range level {
		if seen[p] {
			return nil, fmt.Errorf("page %d is in two places: %w", p, store.ErrCorrupt)
		}
		seen[p] = true
		data, err := c.page(p)
		if err != nil {
			return nil, err
		}
		h, err := readPageHead(data)
		if err == nil {
			next, err = h.children(data, next)
		}
		if err != nil {
			return nil, fmt.Errorf("page %d: %w", p, err)
		}
		if h.leaf {
			return nil, nil
		}
	}
	return next, nil
}

// pageHead is the head of a page of a tree, as the file format of SQLite has it.
type pageHead struct {
	leaf  bool
	size  int // of the head
	cells int // whose places follow the head, with two bytes each
	start int // of the content of the cells
	free  int // the place of the first free block, or 0
}

var errPage = fmt.Errorf("it is no page of a tree: %w", store.ErrCorrupt)

func readPageHead(page []byte) (h pageHead, err error) {
	if len(page) < 512 {
		return h, errPage
	}
	switch page[0] {
	case 2, 5: // within the tree of an index, of a table
		h.size = 12
	case 10, 13: // leaves
		h.leaf, h.size = true, 8
	default:
		return h, errPage
	}
	h.free = int(binary.BigEndian.Uint16(page[1:]))
	h.cells = int(binary.BigEndian.Uint16(page[3:]))
	h.start = int(binary.BigEndian.Uint16(page[5:]))
	if h.start == 0 {
		h.start = 1 << 16
	}
	if h.size+2*h.cells > h.start || h.start > len(page) {
		return h, errPage
	}
	return h, nil
}

// children appends the pages that a page within a tree points at.
func (h *pageHead) children(page []byte, list []uint32) ([]uint32, error) {
	if h.leaf {
		return list, nil
	}
	for i := range h.cells {
		at := int(binary.BigEndian.Uint16(page[h.size+2*i:]))
		if at < h.start || at+4 > len(page) {
			return nil, errPage
		}
		list = append(list, binary.BigEndian.Uint32(page[at:]))
	}
	return append(list, binary.BigEndian.Uint32(page[8:])), nil
}

// clearGaps overwrites what a page of a tree does not use, and reports whether
// there was something. Besides the gap and the free blocks there are fragments of
// up to three bytes: they are the rest of a free block, which was zero.
func clearGaps(page []byte) (found bool, err error) {
	h, err := readPageHead(page)
	if err != nil {
		return false, err
	}
	found = zero(page[h.size+2*h.cells : h.start])
	for at, last := h.free, h.start-1; at != 0; {
		// A free block begins with the place of the next one and its own size.
		if at <= last || at+4 > len(page) {
			return false, errPage
		}
		size := int(binary.BigEndian.Uint16(page[at+2:]))
		if size < 4 || at+size > len(page) {
			return false, errPage
		}
		found = zero(page[at+4:at+size]) || found
		at, last = int(binary.BigEndian.Uint16(page[at:])), at+size-1
	}
	return found, nil
}

// zero overwrites b, and reports whether it was anything else.
func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			clear(b)
			return true
		}
	}
	return false
}
