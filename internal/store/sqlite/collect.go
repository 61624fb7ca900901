package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"
)

// collectBatch is how many blobs one transaction deletes, so that appends do not
// wait behind a long one.
const collectBatch = 128

// Collect deletes blobs that no record has named for at least grace.
func (s *Store) Collect(ctx context.Context, grace time.Duration) (int, error) {
	until := micros(time.Now().Add(-grace))
	total := 0
	for {
		n := 0
		err := s.writer.do(ctx, func(t *tx) (err error) {
			n, err = t.collect(until)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("collect blobs: %w", err)
		}
		total += n
		if n < collectBatch {
			return total, nil
		}
	}
}

func (t *tx) collect(until int64) (int, error) {
	var ids []int64
	err := t.each(stmtUnnamedSince, func(row []driver.Value) {
		id, _ := row[0].(int64)
		ids = append(ids, id)
	}, until, int64(collectBatch))
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, err := t.exec(stmtDeleteBlob, id); err != nil {
			return 0, err
		}
		if _, err := t.exec(stmtNameBlob, id); err != nil {
			return 0, err
		}
		t.written += 2 * pageSize
		t.erased = true
	}
	return len(ids), nil
}
