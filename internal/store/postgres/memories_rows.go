package postgres

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// memoryList are the columns of a record, of memories m and memory_spaces s.
const memoryList = `s.project, s.name, m.num, m.change, m.id, m.strategy, m.origin, m.actor, m.session,
	(SELECT n.name FROM memory_names n WHERE n.num = m.model),
	m.recorded_at, m.valid_from, m.valid_to, m.superseded_at, m.expires_at, m.used_at, m.uses, m.confidence,
	m.supersedes, m.superseded_by, m.namespace, m.metadata, m.source, m.vector, m.text `

// memoryOf selects records by a condition that follows.
const memoryOf = `SELECT ` + memoryList + `FROM memories m JOIN memory_spaces s ON s.shard = m.shard AND s.num = m.space `

// Records of a space are looked up by queries of their own, which LIMIT and OFFSET keep
// apart, in the order that one index has; an id may be there in several spaces. The
// planner takes shard and space to be independent, so that it estimates a record or
// two for a space of any size, and would read all of it instead.
const (
	memoryByNum = `FROM memory_spaces s CROSS JOIN unnest($4::int[]) AS wanted (num) CROSS JOIN LATERAL (
		SELECT * FROM memories m WHERE m.shard = $1 AND m.space = s.num AND m.num >= wanted.num ORDER BY m.num LIMIT 1) m
		WHERE s.shard = $1 AND s.project = $2 AND s.name = $3 AND m.num = wanted.num`
	memoryByID = `FROM memory_spaces s CROSS JOIN unnest($4::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
		SELECT * FROM memories m WHERE m.shard = $1 AND m.id BETWEEN wanted.id AND wanted.id ORDER BY m.id OFFSET 0) m
		WHERE s.shard = $1 AND s.project = $2 AND s.name = $3 AND m.space = s.num`
	memoryChanged = `SELECT s.change, s.epoch, s.records, ` + memoryList + `FROM memory_spaces s LEFT JOIN LATERAL (
		SELECT * FROM memories m WHERE m.shard = $1 AND m.space = s.num AND m.change > $4 ORDER BY m.change LIMIT $5) m ON true
		WHERE s.shard = $1 AND s.project = $2 AND s.name = $3 ORDER BY m.change`
	memoryUnembedded = `SELECT ` + memoryList + `FROM memory_spaces s CROSS JOIN LATERAL (
		SELECT * FROM memories m WHERE m.shard = $1 AND m.space = s.num AND m.num > $4
			AND (m.model IS NULL OR m.model IS DISTINCT FROM (SELECT n.num FROM memory_names n WHERE n.name = $5)) ORDER BY m.num LIMIT $6) m
		WHERE s.shard = $1 AND s.project = $2 AND s.name = $3 ORDER BY m.num`
)

// memoryScan is where the columns of a record go. All but the names of the space
// may be NULL, as they are where there is a space and no record.
type memoryScan struct {
	project, space                      string
	num, change                         *int64
	id, supersedes, supersededBy        pgtype.UUID
	strategy, origin                    *int64
	actor, session, model               *string
	recorded, from, to, superseded, end *time.Time
	usedAt                              *time.Time
	uses                                *int64
	confidence                          *float64
	namespace, text                     *string
	metadata                            map[string]string
	source, vector                      []byte
}

func (m *memoryScan) dest() []any {
	return []any{
		&m.project, &m.space, &m.num, &m.change, &m.id, &m.strategy, &m.origin, &m.actor, &m.session, &m.model,
		&m.recorded, &m.from, &m.to, &m.superseded, &m.end, &m.usedAt, &m.uses, &m.confidence,
		&m.supersedes, &m.supersededBy, &m.namespace, &m.metadata, &m.source, &m.vector, &m.text,
	}
}

func (m *memoryScan) record() (r memory.Record, err error) {
	r = memory.Record{
		Project: m.project, Space: m.space, Num: valueOf(m.num), Change: valueOf(m.change), Namespace: m.space + valueOf(m.namespace),
		Actor: valueOf(m.actor), Text: valueOf(m.text), Confidence: valueOf(m.confidence), Metadata: m.metadata,
		Source:    memory.Source{SessionID: valueOf(m.session)},
		ValidFrom: utc(m.from), ValidTo: utc(m.to), RecordedAt: utc(m.recorded), SupersededAt: utc(m.superseded), ExpiresAt: utc(m.end),
		Vector: m.vector, VectorModel: valueOf(m.model), Uses: valueOf(m.uses), UsedAt: utc(m.usedAt),
	}
	for _, id := range []struct {
		to   *string
		from pgtype.UUID
	}{{&r.ID, m.id}, {&r.Supersedes, m.supersedes}, {&r.SupersededBy, m.supersededBy}} {
		if !id.from.Valid {
			continue
		}
		if *id.to, err = store.UnpackMemoryID(id.from.Bytes[:]); err != nil {
			return r, err
		}
	}
	if r.Strategy, err = store.StrategyOf(valueOf(m.strategy)); err != nil {
		return r, err
	}
	if r.Origin, err = store.OriginOf(valueOf(m.origin)); err != nil {
		return r, err
	}
	return r, store.UnpackSource(m.source, &r.Source)
}

func valueOf[T any](p *T) (v T) {
	if p == nil {
		return v
	}
	return *p
}

// orNull is nil for what is empty.
func orNull[T comparable](v T) *T {
	var empty T
	if v == empty {
		return nil
	}
	return &v
}

func utc(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func uuidOf(id string) pgtype.UUID {
	b, ok := store.PackMemoryID(id)
	return pgtype.UUID{Bytes: b, Valid: ok}
}

func scanMemory(row pgx.CollectableRow) (memory.Record, error) {
	var m memoryScan
	if err := row.Scan(m.dest()...); err != nil {
		return memory.Record{}, err
	}
	return m.record()
}

// memoryColumns are new records as arrays, one for each column that differs.
type memoryColumns struct {
	recorded                       []time.Time
	from, to, superseded, end      []*time.Time
	usedAt                         []*time.Time
	confidence                     []*float64
	uses                           []*int64
	num, change                    []int64
	model                          []*int32
	strategy, origin               []int16
	id, supersedes, supersededBy   []pgtype.UUID
	actor, session, namespace, doc []*string // doc is the metadata
	source, vector                 [][]byte
	text                           []string
}

func memoriesOf(list []*memory.Record, models map[string]int32) (*memoryColumns, error) {
	c := new(memoryColumns)
	for _, r := range list {
		strategy, _ := store.StrategyNumber(r.Strategy) // checked
		origin, _ := store.OriginNumber(r.Origin)
		doc, err := metadataJSON(r.Metadata)
		if err != nil {
			return nil, err
		}
		if len(r.Metadata) == 0 {
			doc = ""
		}
		c.recorded = append(c.recorded, r.RecordedAt)
		c.from = append(c.from, timeOrNull(r.ValidFrom))
		c.to = append(c.to, timeOrNull(r.ValidTo))
		c.superseded = append(c.superseded, timeOrNull(r.SupersededAt))
		c.end = append(c.end, timeOrNull(r.ExpiresAt))
		c.usedAt = append(c.usedAt, timeOrNull(r.UsedAt))
		c.confidence = append(c.confidence, orNull(r.Confidence))
		c.uses = append(c.uses, orNull(r.Uses))
		c.num = append(c.num, r.Num)
		c.change = append(c.change, r.Change)
		c.model = append(c.model, orNull(models[r.VectorModel]))
		c.strategy = append(c.strategy, strategy)
		c.origin = append(c.origin, origin)
		c.id = append(c.id, uuidOf(r.ID))
		c.supersedes = append(c.supersedes, uuidOf(r.Supersedes))
		c.supersededBy = append(c.supersededBy, uuidOf(r.SupersededBy))
		c.actor = append(c.actor, orNull(r.Actor))
		c.session = append(c.session, orNull(r.Source.SessionID))
		c.namespace = append(c.namespace, orNull(r.Namespace[len(r.Space):]))
		c.doc = append(c.doc, orNull(doc))
		c.source = append(c.source, store.PackSource(&r.Source))
		c.vector = append(c.vector, bytesOrNull(r.Vector))
		c.text = append(c.text, r.Text)
	}
	return c, nil
}

func bytesOrNull(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
