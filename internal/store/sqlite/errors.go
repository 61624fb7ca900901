package sqlite

import (
	"context"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/stayd/stayd/internal/store"
)

// errClosed is what a closed store answers.
var errClosed = fmt.Errorf("closed: %w", store.ErrUnavailable)

// classify wraps what SQLite says with the contract's error for it. Errors of
// the contract and of contexts stay as they are.
func classify(err error) error {
	switch {
	case err == nil, known(err):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	var e *driver.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w: %w", err, store.ErrUnavailable)
	}
	return fmt.Errorf("%w: %w", err, kind(e.Code()))
}

func known(err error) bool {
	for _, k := range []error{store.ErrNotFound, store.ErrConflict, store.ErrFenced, store.ErrFull, store.ErrUnavailable, store.ErrCorrupt} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// kind maps an extended result code. Which of them a full disk gives was found
// by filling one: a write that finds no room is SQLITE_FULL, and the shared
// index of the write-ahead log that cannot grow is SQLITE_IOERR_SHMSIZE.
func kind(code int) error {
	switch code {
	case lib.SQLITE_IOERR_SHMSIZE:
		return store.ErrFull
	case lib.SQLITE_IOERR_CORRUPTFS, lib.SQLITE_IOERR_DATA:
		return store.ErrCorrupt
	}
	switch code & 0xff {
	case lib.SQLITE_FULL:
		return store.ErrFull
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return store.ErrCorrupt
	}
	return store.ErrUnavailable
}

func isCode(err error, code int) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == code
}
