// Package sqlite keeps the log in one SQLite file. It owns that file, the one
// connection that writes it, and the goroutine that commits all the appends that
// wait in one transaction. It knows records by their envelope and nothing of
// what they say.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"

	driver "modernc.org/sqlite"

	"github.com/stayd/stayd/internal/store"
)

const (
	// pageSize is four times SQLite's own. A page holds whole records of up to its
	// size, and what is left of it is lost: records of 1 to 8 KiB lose a third of
	// pages of 8 KiB, and a tenth of these. A commit of many records has fewer
	// frames to write; one of a single record writes more, which costs less than
	// its sync.
	pageSize = 16384
	// busyMillis is how long a statement waits for another process.
	busyMillis = 5000
	// Cache sizes in KiB, of the writer and of each reader.
	writerCache = 8192
	readerCache = 1024
	readers     = 4
)

// Options of a store.
type Options struct {
	// Logger is told of checkpoints that failed, which harm nothing by
	// themselves; nil is slog.Default.
	Logger *slog.Logger
}

// Store is a store.Store in one file.
type Store struct {
	path    string
	reads   *reads
	writer  *writer
	scrub   *scrubber
	blobs   *store.BlobCodec
	putting chan struct{} // has room for the batch of pieces that is under way
	close   sync.Once
	closed  chan struct{}
	closing error
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path, or creates it. Several processes may
// have the same file open; it must be on a local disk.
//
// Errors: ErrCorrupt where the file is no database, ErrUnavailable where it
// cannot be opened, and a plain error where a newer version of Stayd wrote it.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// A commit needs the data and the length of the file on the disk, not its
	// time of change. Where there is no fdatasync, SQLite does the stronger sync.
	_, _ = driver.Fdatasync(true)

	if err := migrate(ctx, path); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	blobs, err := store.NewBlobCodec()
	if err != nil {
		return nil, err
	}
	r, err := openReads(ctx, path)
	if err != nil {
		blobs.Close()
		return nil, fmt.Errorf("open store %s: %w", path, classify(err))
	}
	w, err := startWriter(ctx, path, o.Logger)
	if err != nil {
		err = errors.Join(err, r.close())
		blobs.Close()
		return nil, fmt.Errorf("open store %s: %w", path, classify(err))
	}
	s := &Store{path: path, reads: r, writer: w, blobs: blobs, putting: make(chan struct{}, 1), closed: make(chan struct{})}
	s.scrub = startScrubber(ctx, s)
	return s, nil
}

// Close waits for the commit that is under way, refuses what has not begun, and
// closes the file. Closing again does nothing.
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.closed)
		s.scrub.close()
		err := errors.Join(s.reads.close(), s.writer.stop())
		s.blobs.Close()
		if err != nil {
			s.closing = fmt.Errorf("close store: %w", classify(err))
		}
	})
	return s.closing
}

// Ping writes a row of its own.
func (s *Store) Ping(ctx context.Context) error {
	err := s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(stmtPing, now())
		return err
	})
	if err != nil {
		return fmt.Errorf("ping store: %w", err)
	}
	return nil
}

// dsn names the file with pragmas, each as name and value.
func dsn(path, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_dqs": {"0"}, "_error_rc": {"1"}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return u.String()
}

func openPool(path, mode string, conns int, pragmas ...string) (*sql.DB, error) {
	c, err := driver.NewConnector(dsn(path, mode, pragmas...))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}
