package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// spaceColumns are a space, of memory_spaces s.
const spaceColumns = `s.change, s.epoch, s.records`

// ofSpace finds the number of a space by its project and name.
const ofSpace = `(SELECT num FROM memory_spaces WHERE project = (SELECT num FROM projects WHERE id = ?) AND name = ?)`

const (
	// readChanges has one row without a record where nothing changed.
	readChanges = "SELECT " + spaceColumns + ", " + memoryColumns + `
FROM projects p CROSS JOIN memory_spaces s ON s.project = p.num LEFT JOIN memories m ON m.space = s.num AND m.change > ?
WHERE p.id = ? AND s.name = ? ORDER BY m.change LIMIT ?`

	readMemories = "SELECT " + memoryColumns + `
FROM projects p CROSS JOIN memory_spaces s ON s.project = p.num CROSS JOIN json_each(?) j CROSS JOIN memories m ON m.num = (s.num << 32) | j.value
WHERE p.id = ? AND s.name = ?`
)

// Memory returns a record by its id.
func (s *Store) Memory(ctx context.Context, project, id string) (memory.Record, error) {
	list, err := s.memories(ctx, " WHERE m.id = ? AND p.id = ? LIMIT 1", idOrNull(id), project)
	if err == nil && len(list) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return memory.Record{}, fmt.Errorf("memory %s: %w", id, s.classify(err))
	}
	return list[0], nil
}

func (s *Store) memories(ctx context.Context, where string, args ...any) ([]memory.Record, error) {
	rows, err := s.reads.db.QueryContext(ctx, memoryOf+where, args...)
	if err != nil {
		return nil, err
	}
	return scanMemories(rows)
}

// MemoriesByNum returns records of a space.
func (s *Store) MemoriesByNum(ctx context.Context, project, space string, nums []int64) ([]memory.Record, error) {
	list, err := s.memoriesByNum(ctx, project, space, nums)
	if err != nil {
		return nil, fmt.Errorf("memories of %s: %w", space, s.classify(err))
	}
	return list, nil
}

func (s *Store) memoriesByNum(ctx context.Context, project, space string, nums []int64) ([]memory.Record, error) {
	text, err := json.Marshal(store.MemoryNums(nums))
	if err != nil {
		return nil, err
	}
	rows, err := s.reads.memories.QueryContext(ctx, string(text), project, space)
	if err != nil {
		return nil, err
	}
	return scanMemories(rows)
}

// MemoryChanges returns a space and what changed in it.
func (s *Store) MemoryChanges(ctx context.Context, project, space string, after int64, limit int) (store.MemorySpace, []memory.Record, error) {
	found, list, err := s.memoryChanges(ctx, project, space, after, limit)
	if err != nil {
		return store.MemorySpace{}, nil, fmt.Errorf("changes of %s: %w", space, s.classify(err))
	}
	return found, list, nil
}

func (s *Store) memoryChanges(ctx context.Context, project, space string, after int64, limit int) (found store.MemorySpace, list []memory.Record, err error) {
	rows, err := s.reads.changes.QueryContext(ctx, after, project, space, max(limit, 1))
	if err != nil {
		return found, nil, err
	}
	err = eachRow(rows, 3+memoryWidth, func(values []any) error {
		var err error
		if found, err = scanSpace(values[:3], project, space); err != nil {
			return err
		}
		record := values[3:]
		if record[2] == nil || len(list) >= limit {
			return nil
		}
		m, err := scanMemory(record)
		list = append(list, m)
		return err
	})
	return found, list, err
}

func scanSpace(values []any, project, name string) (store.MemorySpace, error) {
	r := &row{values: values}
	sp := store.MemorySpace{Project: project, Name: name}
	sp.Change, sp.Epoch, sp.Records = nextValue[int64](r), nextValue[int64](r), nextValue[int64](r)
	return sp, r.err
}

// spacesBelow is the condition that memory_spaces s holds or may hold records
// below a namespace, and its arguments.
func spacesBelow(prefix string) (string, []any) {
	if prefix == "" {
		return "1", nil
	}
	// '0' is the byte after '/'.
	return "(s.name = ? OR s.name >= ? AND s.name < ?)", []any{memory.SpaceOf(prefix), prefix + "/", prefix + "0"}
}

// MemorySpaces lists spaces of a project.
func (s *Store) MemorySpaces(ctx context.Context, project, namespace, after string, limit int) ([]store.MemorySpace, error) {
	prefix, err := store.MemoryPrefix(namespace)
	if err != nil {
		return nil, fmt.Errorf("list spaces: %w", err)
	}
	list, err := s.memorySpaces(ctx, project, prefix, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list spaces below %s: %w", namespace, s.classify(err))
	}
	return list, nil
}

func (s *Store) memorySpaces(ctx context.Context, project, prefix, after string, limit int) (list []store.MemorySpace, err error) {
	below, args := spacesBelow(prefix)
	args = append(append([]any{project}, args...), after, limit)
	//nolint:gosec // it is made of constants
	query := "SELECT s.name, " + spaceColumns + ` FROM memory_spaces s
		WHERE s.project = (SELECT num FROM projects WHERE id = ?) AND ` + below + " AND s.name > ? ORDER BY s.name LIMIT ?"
	rows, err := s.reads.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	err = eachRow(rows, 4, func(values []any) error {
		name, _ := values[0].(string)
		sp, err := scanSpace(values[1:], project, name)
		list = append(list, sp)
		return err
	})
	return list, err
}

// MemoryProjects lists the projects that have spaces.
func (s *Store) MemoryProjects(ctx context.Context) (list []string, err error) {
	rows, err := s.reads.db.QueryContext(ctx, "SELECT id FROM projects WHERE num IN (SELECT project FROM memory_spaces) ORDER BY id")
	if err == nil {
		err = eachRow(rows, 1, func(values []any) error {
			id, _ := values[0].(string)
			list = append(list, id)
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list projects with memories: %w", s.classify(err))
	}
	return list, nil
}

// ExpiredMemories lists records whose time is over.
func (s *Store) ExpiredMemories(ctx context.Context, before time.Time, limit int) ([]memory.Record, error) {
	list, err := s.memories(ctx, " WHERE m.expires_at <= ? ORDER BY m.expires_at, m.num LIMIT ?", micros(before), limit)
	if err != nil {
		return nil, fmt.Errorf("list expired memories: %w", s.classify(err))
	}
	return list, nil
}

// drawnOf is memoryOf without what a record says.
var drawnOf = strings.Replace(memoryOf, "m.metadata, m.source, m.vector, m.text", "NULL, m.source, NULL, ''", 1)

// drawnQuery finds what rests on n records, by their ids and then the project.
func drawnQuery(n int) string {
	return drawnOf + " WHERE m.num IN (SELECT drawn FROM memory_sources WHERE source IN (?" + strings.Repeat(", ?", n-1) + ")) AND p.id = ?"
}

// DrawnMemories looks up what rests on records.
func (s *Store) DrawnMemories(ctx context.Context, project string, ids []string) ([]memory.Record, error) {
	args := make([]any, 0, len(ids)+1)
	for _, id := range ids {
		if b, ok := store.PackMemoryID(id); ok {
			args = append(args, b[:])
		}
	}
	if len(args) == 0 {
		return nil, nil
	}
	rows, err := s.reads.db.QueryContext(ctx, drawnQuery(len(args)), append(args, project)...)
	var list []memory.Record
	if err == nil {
		list, err = scanMemories(rows)
	}
	if err != nil {
		return nil, fmt.Errorf("find what was drawn from %d memories: %w", len(ids), s.classify(err))
	}
	return list, nil
}

// UnembeddedMemories lists records of a space whose vector is not of the model.
func (s *Store) UnembeddedMemories(ctx context.Context, project, space, model string, after int64, limit int) ([]memory.Record, error) {
	list, err := s.memories(ctx, ` WHERE m.num > (`+ofSpace+` << 32 | ?) AND m.num < (`+ofSpace+` + 1) << 32
		AND (m.model IS NULL OR m.model IS NOT (SELECT num FROM memory_models WHERE name = ?)) ORDER BY m.num LIMIT ?`,
		project, space, max(after, 0), project, space, model, limit)
	if err != nil {
		return nil, fmt.Errorf("list memories of %s without a vector: %w", space, s.classify(err))
	}
	return list, nil
}
