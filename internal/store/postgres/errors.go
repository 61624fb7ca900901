package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

func kindOf(err error) error {
	code := sqlState(err)
	switch {
	case code == "": // nothing came back from the server
		return store.ErrUnavailable
	case code == diskFull:
		return store.ErrFull
	case code == uniqueViolation:
		return store.ErrConflict
	case code == "XX001", code == "XX002": // data and index corrupted
		return store.ErrCorrupt
	case code == readOnlyTransaction, code == serializationFailure, code == deadlockDetected:
		return store.ErrUnavailable
	}
	for _, class := range []string{"08", "53", "55", "57", "58", "F0", "XX"} {
		if strings.HasPrefix(code, class) {
			return store.ErrUnavailable
		}
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
