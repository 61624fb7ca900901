package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// collectBatch is how many blobs one transaction deletes, so that appends do not
// wait behind a long one.
const collectBatch = 128

// Collect forgets what only forks that are gone had, and deletes blobs that no
// record has named for at least grace.
func (s *Store) Collect(ctx context.Context, grace time.Duration) (int, error) {
	if err := s.forget(ctx); err != nil {
		return 0, fmt.Errorf("forget what no fork has: %w", s.classify(err))
	}
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

// unclaimed finds records that their own session has forgotten and no fork has.
const unclaimed = `SELECT r.id, k.session, k.seq FROM kept k JOIN records r ON r.session = k.session AND r.seq = k.seq
	WHERE NOT %s ORDER BY k.session, k.seq LIMIT ?`

type forgotten struct{ id, session, seq int64 }

// forget erases records that no fork has any more. They can be found by a reader
// before they are erased by the writer, since no fork that is made later has a
// record that its parent has forgotten.
func (s *Store) forget(ctx context.Context) error {
	for {
		list, err := s.unclaimed(ctx)
		if err != nil || len(list) == 0 {
			return err
		}
		err = s.writer.do(ctx, func(t *tx) error {
			for _, f := range list {
				if err := t.forget(f); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(list) < collectBatch {
			return err
		}
	}
}

func (s *Store) unclaimed(ctx context.Context) (list []forgotten, err error) {
	rows, err := s.reads.db.QueryContext(ctx, fmt.Sprintf(unclaimed, claimed("k")), collectBatch)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var f forgotten
		if err := rows.Scan(&f.id, &f.session, &f.seq); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, rows.Err()
}

func (t *tx) forget(f forgotten) error {
	blob, named, err := t.one(stmtRecordBlob, f.id)
	if err != nil {
		return err
	}
	if _, err := t.exec(stmtForget, f.id); err != nil {
		return err
	}
	if _, err := t.exec(stmtNotKept, f.session, f.seq); err != nil {
		return err
	}
	if _, err := t.exec(stmtDropTree, f.session, f.seq); err != nil {
		return err
	}
	t.written += 2 * pageSize
	t.erased = true
	if !named {
		return nil
	}
	return t.unname(blob)
}
