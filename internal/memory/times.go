package memory

import (
	"fmt"
	"time"
)

// ParseTime reads a date, which is its beginning in UTC, or a time in RFC 3339, to
// the microsecond. Empty is no time.
func ParseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, fmt.Errorf("expected a date such as 2026-05-03 or a time such as 2026-05-03T14:00:00Z, but got '%s'", s)
}
