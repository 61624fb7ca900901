package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

const (
	memoryFind  = `SELECT ` + memoryList + memoryByID
	memoryThere = `SELECT m.num ` + memoryByNum

	memoryWriter = `SELECT deleted FROM sessions WHERE shard = $1 AND project = $2 AND session = $3 FOR SHARE`

	memoryAdd = `INSERT INTO memories (shard, space, project, recorded_at, valid_from, valid_to, superseded_at, expires_at, used_at,
			confidence, uses, num, change, model, strategy, origin, id, supersedes, superseded_by,
			actor, session, namespace, metadata, source, vector, text)
		SELECT $1, $2, $3, m.recorded_at, m.valid_from, m.valid_to, m.superseded_at, m.expires_at, m.used_at,
			m.confidence, m.uses, m.num, m.change, m.model, m.strategy, m.origin, m.id, m.supersedes, m.superseded_by,
			m.actor, m.session, m.namespace, m.metadata::jsonb, m.source, m.vector, m.text
		FROM unnest($4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
			$10::float8[], $11::bigint[], $12::int[], $13::int[], $14::int[], $15::smallint[], $16::smallint[], $17::uuid[], $18::uuid[],
			$19::uuid[], $20::text[], $21::text[], $22::text[], $23::text[], $24::bytea[], $25::bytea[], $26::text[])
			AS m (recorded_at, valid_from, valid_to, superseded_at, expires_at, used_at, confidence, uses, num, change, model, strategy,
				origin, id, supersedes, superseded_by, actor, session, namespace, metadata, source, vector, text)`

	memoryRests = `INSERT INTO memory_sources (shard, space, num, source)
		SELECT $1, $2, r.num, r.source FROM unnest($3::int[], $4::uuid[]) AS r (num, source)`

	memorySupersede = `UPDATE memories m SET change = c.change, superseded_by = c.by, superseded_at = c.at
		FROM unnest($3::int[], $4::int[], $5::uuid[], $6::timestamptz[]) AS c (num, change, by, at)
		WHERE m.shard = $1 AND m.space = $2 AND m.num = c.num`

	memoryEmbed = `UPDATE memories m SET change = c.change, vector = c.vector, model = c.model
		FROM unnest($3::int[], $4::int[], $5::bytea[], $6::int[]) AS c (num, change, vector, model)
		WHERE m.shard = $1 AND m.space = $2 AND m.num = c.num`

	memoryUse = `UPDATE memories m SET uses = coalesce(m.uses, 0) + u.times, used_at = greatest(m.used_at, u.at)
		FROM unnest($3::uuid[], $4::bigint[], $5::timestamptz[]) AS u (id, times, at)
		WHERE m.shard = $1 AND m.project = $2 AND m.id = u.id`
)

// WriteMemories implements store.Memories.
func (s *Store) WriteMemories(ctx context.Context, w *store.MemoryWrite) (store.MemoryWritten, error) {
	op := "write memories of " + w.Space
	if err := store.CheckMemoryWrite(w); err != nil {
		return store.MemoryWritten{}, fmt.Errorf("%s: %w", op, err)
	}
	project, models, err := s.memoryNames(ctx, w)
	if err != nil {
		return store.MemoryWritten{}, wrap(op, err)
	}
	var (
		written store.MemoryWritten
		byID    map[string]memory.Record
		there   map[int64]bool
		deleted bool
	)
	err = s.changeSpace(ctx, &spaceChange{
		project: w.Project, space: w.Space, create: len(w.Add) > 0,
		find: func(b *pgx.Batch, shard int16) {
			byID, there = make(map[string]memory.Record), make(map[int64]bool)
			queueFind(b, shard, w, byID, there)
			deleted = false
			queueDeleted(b, w, &deleted)
		},
		decide: func(b *pgx.Batch, sp *spaceRow) error {
			if deleted {
				return fmt.Errorf("the session %s is deleted: %w", w.Session, store.ErrNotFound)
			}
			plan, err := store.PlanMemoryWrite(w, sp.MemorySpace, byID, func(num int64) bool { return there[num] })
			if err != nil {
				return err
			}
			written, sp.MemorySpace = plan.Written, plan.Space
			return queueMemories(b, sp, project, models, plan)
		},
	})
	if err != nil {
		return store.MemoryWritten{}, wrap(op, err)
	}
	return written, nil
}

// memoryNames returns the numbers of the project and of what made the vectors.
func (s *Store) memoryNames(ctx context.Context, w *store.MemoryWrite) (project int32, models map[string]int32, err error) {
	if project, err = s.nameNum(ctx, w.Project); err != nil {
		return 0, nil, err
	}
	models = make(map[string]int32)
	for i := range w.Add {
		models[w.Add[i].VectorModel] = 0
	}
	for _, v := range w.Vectors {
		models[v.Model] = 0
	}
	delete(models, "")
	for name := range models {
		if models[name], err = s.nameNum(ctx, name); err != nil {
			return 0, nil, err
		}
	}
	return project, models, nil
}

// queueDeleted asks whether the session that writes is deleted, and keeps it from
// being deleted before the write is there.
func queueDeleted(b *pgx.Batch, w *store.MemoryWrite, deleted *bool) {
	if w.Session == "" {
		return
	}
	b.Queue(memoryWriter, store.ShardOf(w.Session), w.Project, w.Session).QueryRow(func(row pgx.Row) error {
		err := row.Scan(deleted)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
}

// queueFind asks for the records that the write names.
func queueFind(b *pgx.Batch, shard int16, w *store.MemoryWrite, byID map[string]memory.Record, there map[int64]bool) {
	var ids []pgtype.UUID
	for _, id := range w.IDs() {
		ids = append(ids, uuidOf(id))
	}
	if len(ids) > 0 {
		b.Queue(memoryFind, shard, w.Project, w.Space, ids).Query(func(rows pgx.Rows) error {
			list, err := pgx.CollectRows(rows, scanMemory)
			for _, r := range list {
				byID[r.ID] = r
			}
			return err
		})
	}
	if nums := w.Nums(); len(nums) > 0 {
		b.Queue(memoryThere, shard, w.Project, w.Space, nums).Query(func(rows pgx.Rows) error {
			list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			for _, num := range list {
				there[num] = true
			}
			return err
		})
	}
}

func queueMemories(b *pgx.Batch, sp *spaceRow, project int32, models map[string]int32, p *store.MemoryPlan) error {
	if len(p.Add) > 0 {
		c, err := memoriesOf(p.Add, models)
		if err != nil {
			return err
		}
		b.Queue(memoryAdd, sp.shard, sp.num, project, c.recorded, c.from, c.to, c.superseded, c.end, c.usedAt,
			c.confidence, c.uses, c.num, c.change, c.model, c.strategy, c.origin, c.id, c.supersedes, c.supersededBy,
			c.actor, c.session, c.namespace, c.doc, c.source, c.vector, c.text)
		if nums, sources := restsOn(p.Add); len(nums) > 0 {
			b.Queue(memoryRests, sp.shard, sp.num, nums, sources)
		}
	}
	if c := changesOf(p.Supersede, nil); len(c.num) > 0 {
		b.Queue(memorySupersede, sp.shard, sp.num, c.num, c.change, c.by, c.at)
	}
	if c := changesOf(p.Vectors, models); len(c.num) > 0 {
		b.Queue(memoryEmbed, sp.shard, sp.num, c.num, c.change, c.vector, c.model)
	}
	return nil
}

// UseMemories implements store.Memories.
func (s *Store) UseMemories(ctx context.Context, project string, uses []store.MemoryUse) error {
	const op = "count uses of memories"
	uses, err := store.CheckMemoryUses(project, uses)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	num, err := s.nameNum(ctx, project)
	if err != nil {
		return wrap(op, err)
	}
	for len(uses) > 0 {
		n := len(uses)
		if s.lanes {
			_, n = ofOneShard(uses)
		}
		if err := s.useMemories(ctx, num, uses[:n]); err != nil {
			return wrap(op, err)
		}
		uses = uses[n:]
	}
	return nil
}

// useMemories counts uses, which are in the order of their ids, in one commit: by a
// statement for each shard.
func (s *Store) useMemories(ctx context.Context, project int32, uses []store.MemoryUse) error {
	for attempt := 1; ; attempt++ {
		b := new(pgx.Batch)
		for rest := uses; len(rest) > 0; {
			shard, n := ofOneShard(rest)
			queueUses(b, shard, project, rest[:n])
			rest = rest[n:]
		}
		err := s.pool.SendBatch(ctx, b).Close()
		if err == nil || attempt == maxAttempts || !contended(err) && !unsent(err) {
			return err
		}
	}
}

// ofOneShard is the shard of the first use, and how many there are of it. Ids begin
// with it.
func ofOneShard(uses []store.MemoryUse) (shard, n int) {
	shard, _ = memory.ShardOfID(uses[0].ID) // checked
	for _, u := range uses {
		if other, _ := memory.ShardOfID(u.ID); other != shard {
			break
		}
		n++
	}
	return shard, n
}

func queueUses(b *pgx.Batch, shard int, project int32, uses []store.MemoryUse) {
	var (
		ids   []pgtype.UUID
		times []int64
		at    []time.Time
	)
	for _, u := range uses {
		ids, times, at = append(ids, uuidOf(u.ID)), append(times, u.Times), append(at, u.At)
	}
	b.Queue(memoryUse, shard, project, ids, times, at)
}

// restsOn lists what the records rest on: their numbers, and an id for each.
func restsOn(list []*memory.Record) (nums []int64, ids []pgtype.UUID) {
	for _, r := range list {
		for _, id := range store.RestsOn(r) {
			nums, ids = append(nums, r.Num), append(ids, pgtype.UUID{Bytes: id, Valid: true})
		}
	}
	return nums, ids
}

// changeColumns are changes as arrays.
type changeColumns struct {
	num, change []int64
	by          []pgtype.UUID
	at          []time.Time
	vector      [][]byte
	model       []int32
}

func changesOf(list []store.MemoryChange, models map[string]int32) *changeColumns {
	c := new(changeColumns)
	for _, m := range list {
		c.num = append(c.num, m.Num)
		c.change = append(c.change, m.Change)
		c.by = append(c.by, uuidOf(m.By))
		c.at = append(c.at, m.At)
		c.vector = append(c.vector, m.Vector)
		c.model = append(c.model, models[m.Model])
	}
	return c
}
