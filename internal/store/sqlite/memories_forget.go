package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// partSize and partShift say how the data of a segment is split into rows.
const (
	partSize  = 1 << 20
	partShift = 12
	maxParts  = 1 << partShift
)

// ForgetMemories erases records and the index of their space. What the rows held
// is overwritten with zeros. Copies that SQLite left of it in the file are a
// moment later, and then the write-ahead log is truncated.
func (s *Store) ForgetMemories(ctx context.Context, project, space string, nums []int64) (n int, err error) {
	err = s.writer.do(ctx, func(t *tx) (err error) {
		n, err = t.forgetMemories(project, space, nums)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget memories of %s: %w", space, err)
	}
	s.scrub.signal()
	return n, nil
}

func (t *tx) forgetMemories(project, space string, nums []int64) (n int, err error) {
	sp, err := t.memorySpace(project, space)
	if err != nil || sp.num == 0 {
		return 0, err
	}
	if err := t.noteForgotten(); err != nil {
		return 0, err
	}
	names := make(map[int64]bool)
	for _, num := range store.MemoryNums(nums) {
		if err := t.dropSources(memoryNum(sp.num, num), names); err != nil {
			return 0, err
		}
		deleted, err := t.changed(stmtDeleteMemory, memoryNum(sp.num, num))
		if err != nil {
			return 0, err
		}
		n += int(deleted)
		t.written += pageSize
	}
	if err := t.dropNames(names); err != nil {
		return 0, err
	}
	if err := t.dropSegments(sp.num, 0, store.MaxMemoryChange); err != nil {
		return 0, err
	}
	sp.Epoch++
	sp.Records -= int64(n)
	return n, t.setMemorySpace(&sp)
}

// dropSources deletes what says on what the record with the number rests, and notes
// the names that it has.
func (t *tx) dropSources(num int64, names map[int64]bool) error {
	var (
		r      memory.Record
		failed error
	)
	err := t.each(stmtForgotMemory, func(row []driver.Value) {
		for _, v := range row[:2] {
			if name, ok := v.(int64); ok {
				names[name] = true
			}
		}
		if before, ok := row[2].([]byte); ok {
			r.Supersedes, failed = store.UnpackMemoryID(before)
		}
		if source, ok := row[3].([]byte); ok {
			failed = errors.Join(failed, store.UnpackSource(source, &r.Source))
		}
	}, num)
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	for _, id := range store.RestsOn(&r) {
		if _, err := t.exec(stmtDropMemorySource, id[:], num); err != nil {
			return err
		}
	}
	return nil
}

// dropNames deletes those of the names that no record has any more.
func (t *tx) dropNames(names map[int64]bool) error {
	for name := range names {
		_, named, err := t.one(stmtMemoryNamed, name)
		if err != nil {
			return err
		}
		if named {
			continue
		}
		if _, err := t.exec(stmtDeleteMemoryName, name); err != nil {
			return err
		}
	}
	return nil
}

// Segments lists the pieces of a space's index.
func (s *Store) Segments(ctx context.Context, project, space string) ([]store.Segment, error) {
	list, err := s.segments(ctx, project, space)
	if err != nil {
		return nil, fmt.Errorf("segments of %s: %w", space, s.classify(err))
	}
	return list, nil
}

func (s *Store) segments(ctx context.Context, project, space string) (list []store.Segment, err error) {
	rows, err := s.reads.db.QueryContext(ctx, "SELECT first, last, size FROM memory_segments WHERE space = "+ofSpace+" ORDER BY first", project, space)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var g store.Segment
		if err := rows.Scan(&g.From, &g.To, &g.Size); err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, rows.Err()
}

// SegmentData returns the data of a piece.
func (s *Store) SegmentData(ctx context.Context, project, space string, g store.Segment) ([]byte, error) {
	data, err := s.segmentData(ctx, project, space, g)
	if err != nil {
		return nil, fmt.Errorf("segment %d to %d of %s: %w", g.From, g.To, space, s.classify(err))
	}
	return data, nil
}

func (s *Store) segmentData(ctx context.Context, project, space string, g store.Segment) (data []byte, err error) {
	rows, err := s.reads.db.QueryContext(ctx, `SELECT d.data FROM memory_segments g
		CROSS JOIN memory_segment_data d ON d.num >= g.num << 12 AND d.num < (g.num + 1) << 12
		WHERE g.space = `+ofSpace+` AND g.first = ? AND g.last = ? AND g.size = ? ORDER BY d.num`, project, space, g.From, g.To, g.Size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	parts := 0
	for ; rows.Next(); parts++ {
		var part sql.RawBytes
		if err := rows.Scan(&part); err != nil {
			return nil, err
		}
		data = append(data, part...)
	}
	switch {
	case rows.Err() != nil:
		return nil, rows.Err()
	case parts == 0:
		return nil, store.ErrNotFound
	case int64(len(data)) != g.Size:
		return nil, fmt.Errorf("it has %d bytes and not %d: %w", len(data), g.Size, store.ErrCorrupt)
	}
	return data, nil
}

// PutSegment stores a piece of a space's index in the place of those in its
// range.
func (s *Store) PutSegment(ctx context.Context, project, space string, epoch int64, g store.Segment, data []byte) error {
	err := store.CheckSegment(g, data)
	if err == nil {
		err = s.writer.submit(ctx, &request{size: len(data), apply: func(t *tx) error {
			return t.putSegment(project, space, epoch, g, data)
		}})
	}
	if err != nil {
		return fmt.Errorf("put segment %d to %d of %s: %w", g.From, g.To, space, err)
	}
	return nil
}

func (t *tx) putSegment(project, space string, epoch int64, g store.Segment, data []byte) error {
	sp, err := t.memorySpace(project, space)
	switch {
	case err != nil:
		return err
	case sp.num == 0:
		return refuse(store.ErrConflict, "there is no such space")
	case sp.Epoch != epoch:
		return refuse(store.ErrConflict, "the space has epoch %d, not %d", sp.Epoch, epoch)
	}
	if err := t.dropSegments(sp.num, g.From, g.To); err != nil {
		return err
	}
	num, err := t.exec(stmtAddSegment, sp.num, g.From, g.To, int64(len(data)))
	if err != nil {
		return err
	}
	for part := 0; part == 0 || len(data) > 0; part++ {
		if part == maxParts {
			return fmt.Errorf("a segment has more than %d bytes: %w", maxParts*partSize, store.ErrFull)
		}
		n := min(len(data), partSize)
		if _, err := t.exec(stmtAddSegmentData, num<<partShift|int64(part), append([]byte{}, data[:n]...)); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// dropSegments deletes the segments of a space that overlap a range. It refuses
// where one does not lie in it.
func (t *tx) dropSegments(space, from, to int64) error {
	var drop []int64
	var beyond error
	err := t.each(stmtSegments, func(row []driver.Value) {
		num, _ := row[0].(int64)
		first, _ := row[1].(int64)
		last, _ := row[2].(int64)
		if first < from || last > to {
			beyond = refuse(store.ErrConflict, "there is a segment %d to %d", first, last)
		}
		drop = append(drop, num)
	}, space, from, to)
	if err != nil {
		return err
	}
	if beyond != nil {
		return beyond
	}
	for _, num := range drop {
		if _, err := t.exec(stmtDeleteSegment, num); err != nil {
			return err
		}
		if _, err := t.changed(stmtDeleteSegmentData, num<<partShift, (num+1)<<partShift); err != nil {
			return err
		}
	}
	return nil
}
