package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// ListMemories lists records of a project.
func (s *Store) ListMemories(ctx context.Context, q store.MemoryQuery) ([]memory.Record, error) {
	l := new(memoryList)
	err := l.conditions(q)
	if err != nil {
		return nil, fmt.Errorf("list memories: %w", err)
	}
	list, err := s.listMemories(ctx, q, l)
	if err != nil {
		return nil, fmt.Errorf("list memories: %w", s.classify(err))
	}
	return list, nil
}

// memoryList is a condition that grows. SQLite has no statistics of the table:
// a column is kept from being looked up in its index by a plus.
type memoryList struct {
	where   strings.Builder
	args    []any
	indexed bool // one condition looks up an index
}

func (l *memoryList) and(condition string, args ...any) {
	l.where.WriteString(" AND " + condition)
	l.args = append(l.args, args...)
}

// look adds a condition that starts with a column: the first looks it up.
func (l *memoryList) look(condition string, args ...any) {
	if l.indexed {
		condition = "+" + condition
	}
	l.indexed = true
	l.and(condition, args...)
}

func (s *Store) listMemories(ctx context.Context, q store.MemoryQuery, l *memoryList) ([]memory.Record, error) {
	order, beyond := "DESC", "<"
	if q.Asc {
		order, beyond = "ASC", ">"
	}
	if q.After != "" {
		r, err := s.Memory(ctx, q.Project, q.After)
		if err != nil {
			return nil, err
		}
		l.and("(m.recorded_at, m.id) "+beyond+" (?, ?)", micros(r.RecordedAt), idOrNull(r.ID))
	}
	return s.memories(ctx, " WHERE 1"+l.where.String()+" ORDER BY m.recorded_at "+order+", m.id "+order+" LIMIT ?", append(l.args, q.Limit)...)
}

func (l *memoryList) conditions(q store.MemoryQuery) error {
	prefix, err := store.MemoryPrefix(q.Namespace)
	if err != nil {
		return err
	}
	strategies, err := q.Numbers()
	if err != nil {
		return err
	}
	const name = "(SELECT n.num FROM memory_names n WHERE n.project = (SELECT num FROM projects WHERE id = ?) AND n.name = ?)"
	if q.SessionID != "" {
		l.look("m.session = "+name, q.Project, q.SessionID)
	}
	if prefix != "" {
		l.below(q.Project, prefix)
	}
	if q.Actor != "" {
		l.look("m.actor = "+name, q.Project, q.Actor)
	}
	l.look("m.project = (SELECT num FROM projects WHERE id = ?)", q.Project)
	if len(strategies) > 0 {
		var numbers []any
		for _, n := range strategies {
			numbers = append(numbers, n)
		}
		l.and("m.strategy IN (?"+strings.Repeat(", ?", len(numbers)-1)+")", numbers...)
	}
	if !q.Superseded {
		l.and("m.superseded_by IS NULL")
	}
	for k, v := range q.Metadata {
		l.and("EXISTS (SELECT 1 FROM json_each(m.metadata) j WHERE j.key = ? AND j.value = ?)", k, v)
	}
	return nil
}

// below selects what lies below a namespace. One of two segments or more is a
// space or in one, whose records lie together.
func (l *memoryList) below(project, prefix string) {
	space := memory.SpaceOf(prefix)
	if strings.Count(prefix, "/") < 2 {
		below, args := spacesBelow(prefix)
		l.and("+m.space IN (SELECT s.num FROM memory_spaces s WHERE s.project = (SELECT num FROM projects WHERE id = ?) AND "+below+")",
			append([]any{project}, args...)...)
		return
	}
	if l.indexed {
		l.and("+m.space = "+ofSpace, project, space)
	} else {
		l.indexed = true
		l.and("m.num > "+ofSpace+" << 32 AND m.num < ("+ofSpace+" + 1) << 32", project, space, project, space)
	}
	if rest := prefix[len(space):]; rest != "" {
		l.and("(m.namespace = ? OR m.namespace >= ? AND m.namespace < ?)", rest, rest+"/", rest+"0")
	}
}
