package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// memoryWrite is a write as the writer takes it: checked, and with its rows made
// by the caller.
type memoryWrite struct {
	*store.MemoryWrite
	rows    map[string]memoryRow // by id
	written store.MemoryWritten
}

// WriteMemories changes one space, or nothing.
func (s *Store) WriteMemories(ctx context.Context, w *store.MemoryWrite) (store.MemoryWritten, error) {
	m, size, err := prepareMemories(w)
	if err == nil {
		err = s.writer.submit(ctx, &request{apply: m.apply, size: size, quick: true})
	}
	if err != nil {
		return store.MemoryWritten{}, fmt.Errorf("write memories of %s: %w", w.Space, err)
	}
	return m.written, nil
}

func prepareMemories(w *store.MemoryWrite) (*memoryWrite, int, error) {
	if err := store.CheckMemoryWrite(w); err != nil {
		return nil, 0, err
	}
	m := &memoryWrite{MemoryWrite: w, rows: make(map[string]memoryRow, len(w.Add))}
	size := pageSize + len(w.Supersede)*pageSize
	for i := range w.Add {
		r := &w.Add[i]
		row, err := newMemoryRow(r, w.Space)
		if err != nil {
			return nil, 0, err
		}
		if _, twice := m.rows[r.ID]; !twice {
			m.rows[r.ID] = row
		}
		size += len(r.Text) + len(r.Vector) + 256 + len(r.Source.RecordIDs)*pageSize
	}
	for _, v := range w.Vectors {
		size += len(v.Vector) + pageSize
	}
	return m, size, nil
}

// memorySpace is the row of a space; num is 0 where there is none.
type memorySpace struct {
	store.MemorySpace
	num, project int64
}

func (t *tx) memorySpace(project, name string) (sp memorySpace, err error) {
	sp.Project, sp.Name = project, name
	if sp.project, err = t.project(project, false); err != nil || sp.project == 0 {
		return sp, err
	}
	err = t.each(stmtMemorySpace, func(row []driver.Value) {
		sp.num, _ = row[0].(int64)
		sp.Change, _ = row[1].(int64)
		sp.Epoch, _ = row[2].(int64)
		sp.Records, _ = row[3].(int64)
	}, sp.project, name)
	if err != nil {
		return sp, fmt.Errorf("find the space: %w", err)
	}
	return sp, nil
}

func (t *tx) setMemorySpace(sp *memorySpace) error {
	_, err := t.exec(stmtSetMemorySpace, sp.Change, sp.Epoch, sp.Records, sp.num)
	return err
}

func (m *memoryWrite) apply(t *tx) error {
	sp, err := t.memorySpace(m.Project, m.Space)
	if err != nil {
		return err
	}
	if m.Session != "" && sp.project != 0 {
		_, deleted, err := t.one(stmtDeleted, sp.project, m.Session)
		if err != nil {
			return fmt.Errorf("find the session: %w", err)
		}
		if deleted {
			return refuse(store.ErrNotFound, "the session %s is deleted", m.Session)
		}
	}
	byID, there, err := m.find(t, &sp)
	if err != nil {
		return err
	}
	plan, err := store.PlanMemoryWrite(m.MemoryWrite, sp.MemorySpace, byID, func(num int64) bool { return there[num] })
	if err != nil {
		return refused{err}
	}
	m.written = plan.Written
	if plan.Space == sp.MemorySpace {
		return nil
	}
	// From here on an error ends the whole transaction.
	sp.MemorySpace = plan.Space
	if sp.num == 0 {
		if sp.project, err = t.project(m.Project, true); err != nil {
			return err
		}
		if sp.num, err = t.exec(stmtAddMemorySpace, sp.project, m.Space); err != nil {
			return fmt.Errorf("add the space: %w", err)
		}
	}
	names := make(map[string]int64)
	for _, r := range plan.Add {
		if err := m.add(t, &sp, r, names); err != nil {
			return fmt.Errorf("add record %s: %w", r.ID, err)
		}
	}
	if err := change(t, sp.num, plan); err != nil {
		return fmt.Errorf("change a record: %w", err)
	}
	return t.setMemorySpace(&sp)
}

// find returns the records that the write names and that are in the space.
func (m *memoryWrite) find(t *tx, sp *memorySpace) (byID map[string]memory.Record, there map[int64]bool, err error) {
	if sp.num == 0 {
		return nil, nil, nil
	}
	byID, there = make(map[string]memory.Record), make(map[int64]bool)
	for _, id := range m.IDs() {
		var failed error
		err := t.each(stmtMemoryByID, func(row []driver.Value) {
			values := make([]any, len(row))
			for i, v := range row {
				values[i] = v
			}
			byID[id], failed = scanMemory(values)
		}, idOrNull(id), sp.num)
		if err == nil {
			err = failed
		}
		if err != nil {
			return nil, nil, fmt.Errorf("find record %s: %w", id, err)
		}
	}
	for _, num := range m.Nums() {
		_, found, err := t.one(stmtMemoryThere, memoryNum(sp.num, num))
		if err != nil {
			return nil, nil, fmt.Errorf("find record %d: %w", num, err)
		}
		there[num] = found
	}
	return byID, there, nil
}

func (m *memoryWrite) add(t *tx, sp *memorySpace, r *memory.Record, names map[string]int64) error {
	row := m.rows[r.ID]
	var refs [3]driver.Value
	for i, name := range []string{r.Actor, r.Source.SessionID} {
		if name == "" {
			continue
		}
		if names[name] == 0 {
			num, err := t.named(stmtMemoryName, stmtAddMemoryName, sp.project, name)
			if err != nil {
				return err
			}
			names[name] = num
		}
		refs[i] = names[name]
	}
	if r.VectorModel != "" {
		model, err := t.named(stmtMemoryModel, stmtAddMemoryModel, r.VectorModel)
		if err != nil {
			return err
		}
		refs[2] = model
	}
	_, err := t.exec(stmtAddMemory, memoryNum(sp.num, r.Num), r.Change, sp.project, row.id, row.strategy, row.origin,
		refs[0], refs[1], refs[2], micros(r.RecordedAt), timeOrNull(r.ValidFrom), timeOrNull(r.ValidTo),
		timeOrNull(r.SupersededAt), timeOrNull(r.ExpiresAt), timeOrNull(r.UsedAt), r.Uses, row.conf, row.supersedes,
		idOrNull(r.SupersededBy), row.namespace, row.metadata, row.source, row.vector, r.Text)
	if err != nil {
		return err
	}
	for _, id := range store.RestsOn(r) {
		if _, err := t.exec(stmtAddMemorySource, id[:], memoryNum(sp.num, r.Num)); err != nil {
			return err
		}
	}
	return nil
}

// named returns the number of a name, which it adds where it is not there.
func (t *tx) named(find, add int, args ...driver.Value) (int64, error) {
	num, found, err := t.one(find, args...)
	if err != nil || found {
		return num, err
	}
	return t.exec(add, args...)
}

// change makes the planned changes to records that are there.
func change(t *tx, space int64, p *store.MemoryPlan) error {
	for _, c := range p.Supersede {
		if _, err := t.exec(stmtSupersedeMemory, c.Change, idOrNull(c.By), micros(c.At), memoryNum(space, c.Num)); err != nil {
			return err
		}
	}
	for _, c := range p.Vectors {
		model, err := t.named(stmtMemoryModel, stmtAddMemoryModel, c.Model)
		if err != nil {
			return err
		}
		if _, err := t.exec(stmtSetMemoryVector, c.Change, c.Vector, model, memoryNum(space, c.Num)); err != nil {
			return err
		}
	}
	return nil
}

// UseMemories counts uses of records.
func (s *Store) UseMemories(ctx context.Context, project string, uses []store.MemoryUse) error {
	uses, err := store.CheckMemoryUses(project, uses)
	if err == nil && len(uses) > 0 {
		err = s.writer.submit(ctx, &request{size: len(uses) * pageSize, apply: func(t *tx) error {
			num, err := t.project(project, false)
			if err != nil || num == 0 {
				return err
			}
			for _, u := range uses {
				if _, err := t.exec(stmtUseMemory, u.Times, micros(u.At), idOrNull(u.ID), num); err != nil {
					return fmt.Errorf("record %s: %w", u.ID, err)
				}
			}
			return nil
		}})
	}
	if err != nil {
		return fmt.Errorf("count uses of memories: %w", err)
	}
	return nil
}
