package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stayd/stayd/internal/store"
)

// SQLSTATE codes (PostgreSQL documentation, appendix A).
const (
	divisionByZero        = "22012"
	uniqueViolation       = "23505"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	readOnlyTransaction   = "25006"
	insufficientPrivilege = "42501"
	diskFull              = "53100"
	dataCorrupted         = "XX001"
	indexCorrupted        = "XX002"
)

// sqlState is the code of an error that the server sent, or empty.
func sqlState(err error) string {
	if pg := new(pgconn.PgError); errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// wrap says what was being done and which of the store's errors it is. An error
// that the server blames on the statement is none of them.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{
		store.ErrNotFound, store.ErrConflict, store.ErrFenced,
		store.ErrFull, store.ErrUnavailable, store.ErrCorrupt,
	} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	if kind := kindOf(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", op, kind, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// kindOf is the store's error for one of the server's, or of the way to it. It is
// nil where the server blames the statement.
func kindOf(err error) error {
	code := sqlState(err)
	switch code {
	case "": // nothing came back from the server
		return store.ErrUnavailable
	case diskFull:
		return store.ErrFull
	case uniqueViolation:
		return store.ErrConflict
	case dataCorrupted, indexCorrupted:
		return store.ErrCorrupt
	case readOnlyTransaction, serializationFailure, deadlockDetected:
		return store.ErrUnavailable
	}
	switch code[:2] {
	case "08", // connection
		"53", // resources
		"55", // object not in the state that is needed
		"57", // operator intervention
		"58", // system
		"F0", // configuration file
		"XX": // internal
		return store.ErrUnavailable
	}
	return nil
}

// contended reports whether the statement was undone because of others and can
// be tried again at once.
func contended(err error) bool {
	switch sqlState(err) {
	case uniqueViolation, serializationFailure, deadlockDetected:
		return true
	}
	return false
}

// unsent reports whether the statement certainly did not reach the server,
// because the connection was found dead.
func unsent(err error) bool {
	return sqlState(err) == "" && pgconn.SafeToRetry(err) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// refused reports whether the server blames the values in the statement, so
// that another append of the group may well go through without this one.
func refused(err error) bool {
	return sqlState(err) != "" && kindOf(err) == nil
}
