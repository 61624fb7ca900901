package sqlite

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// memoryColumns are a record with the names of what it refers to by number.
const memoryColumns = `p.id, s.name, m.num, m.change, m.id, m.strategy, m.origin,
	(SELECT name FROM memory_names WHERE num = m.actor), (SELECT name FROM memory_names WHERE num = m.session),
	(SELECT name FROM memory_models WHERE num = m.model),
	m.recorded_at, m.valid_from, m.valid_to, m.superseded_at, m.expires_at, m.used_at, m.uses, m.confidence,
	m.supersedes, m.superseded_by, m.namespace, m.metadata, m.source, m.vector, m.text`

// memoryWidth is the number of memoryColumns.
const memoryWidth = 25

// memoryOf selects records by a condition that follows.
const memoryOf = "SELECT " + memoryColumns + `
FROM memories m CROSS JOIN memory_spaces s ON s.num = m.space CROSS JOIN projects p ON p.num = s.project`

// spaceShift is how far the number of a space is shifted in that of a record.
const spaceShift = 32

// memoryNum is the key of a record's row.
func memoryNum(space, num int64) int64 { return space<<spaceShift | num }

// row reads the values of a row one after the other. Its first error stays.
type row struct {
	values []any
	err    error
}

func nextValue[T any](r *row) (v T) {
	if r.err != nil {
		return v
	}
	if len(r.values) == 0 {
		r.err = fmt.Errorf("a row is too short: %w", store.ErrCorrupt)
		return v
	}
	got := r.values[0]
	r.values = r.values[1:]
	if got == nil {
		return v
	}
	v, ok := got.(T)
	if !ok {
		r.err = fmt.Errorf("a column has a %T where a %T is expected: %w", got, v, store.ErrCorrupt)
	}
	return v
}

func (r *row) time() time.Time {
	if r.err == nil && len(r.values) > 0 && r.values[0] == nil {
		r.values = r.values[1:]
		return time.Time{}
	}
	return fromMicros(nextValue[int64](r))
}

func (r *row) id() string {
	b := nextValue[[]byte](r)
	if b == nil || r.err != nil {
		return ""
	}
	id, err := store.UnpackMemoryID(b)
	r.err = err
	return id
}

// scanMemory makes a record of memoryColumns.
func scanMemory(values []any) (m memory.Record, err error) {
	r := &row{values: values}
	m.Project, m.Space = nextValue[string](r), nextValue[string](r)
	m.Num, m.Change, m.ID = nextValue[int64](r)&(1<<spaceShift-1), nextValue[int64](r), r.id()
	strategy, origin := nextValue[int64](r), nextValue[int64](r)
	m.Actor, m.Source.SessionID, m.VectorModel = nextValue[string](r), nextValue[string](r), nextValue[string](r)
	m.RecordedAt, m.ValidFrom, m.ValidTo, m.SupersededAt, m.ExpiresAt, m.UsedAt = r.time(), r.time(), r.time(), r.time(), r.time(), r.time()
	m.Uses, m.Confidence = nextValue[int64](r), nextValue[float64](r)
	m.Supersedes, m.SupersededBy = r.id(), r.id()
	m.Namespace = m.Space + nextValue[string](r)
	metadata, source := nextValue[string](r), nextValue[[]byte](r)
	m.Vector, m.Text = bytes.Clone(nextValue[[]byte](r)), nextValue[string](r)
	if r.err != nil {
		return m, r.err
	}
	if m.Strategy, err = store.StrategyOf(strategy); err != nil {
		return m, err
	}
	if m.Origin, err = store.OriginOf(origin); err != nil {
		return m, err
	}
	if err := store.UnpackSource(source, &m.Source); err != nil {
		return m, fmt.Errorf("%s: %w", m.ID, err)
	}
	if metadata != "" {
		if err := json.Unmarshal([]byte(metadata), &m.Metadata); err != nil {
			return m, fmt.Errorf("metadata of %s: %w: %w", m.ID, err, store.ErrCorrupt)
		}
	}
	return m, nil
}

// eachRow calls f with the values of each row, and closes the rows.
func eachRow(rows *sql.Rows, width int, f func(values []any) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	values, dest := make([]any, width), make([]any, width)
	for i := range values {
		dest[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := f(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

func scanMemories(rows *sql.Rows) (list []memory.Record, err error) {
	err = eachRow(rows, memoryWidth, func(values []any) error {
		m, err := scanMemory(values)
		list = append(list, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// memoryRow is a record to be written, in the forms of its columns.
type memoryRow struct {
	strategy, origin     int64
	id                   driver.Value
	supersedes           driver.Value
	namespace, metadata  driver.Value
	source, vector, conf driver.Value
}

func newMemoryRow(r *memory.Record, space string) (memoryRow, error) {
	strategy, _ := store.StrategyNumber(r.Strategy) // checked
	origin, _ := store.OriginNumber(r.Origin)
	row := memoryRow{
		strategy: int64(strategy), origin: int64(origin),
		id: idOrNull(r.ID), supersedes: idOrNull(r.Supersedes),
		namespace: textOrNull(r.Namespace[len(space):]), source: blobOrNull(store.PackSource(&r.Source)),
	}
	if len(r.Vector) > 0 {
		row.vector = r.Vector
	}
	if r.Confidence != 0 {
		row.conf = r.Confidence
	}
	if len(r.Metadata) > 0 {
		b, err := json.Marshal(r.Metadata)
		if err != nil {
			return row, fmt.Errorf("encode metadata of %s: %w", r.ID, err)
		}
		row.metadata = string(b)
	}
	return row, nil
}

func idOrNull(id string) driver.Value {
	b, ok := store.PackMemoryID(id)
	if !ok {
		return nil
	}
	return b[:]
}

func textOrNull(s string) driver.Value {
	if s == "" {
		return nil
	}
	return s
}

func timeOrNull(t time.Time) driver.Value {
	if t.IsZero() {
		return nil
	}
	return micros(t)
}
