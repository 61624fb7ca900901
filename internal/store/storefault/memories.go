package storefault

import (
	"context"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// WriteMemories passes on, after OnMemories. Then it does not end with its context:
// it has begun.
func (s *Store) WriteMemories(ctx context.Context, w *store.MemoryWrite) (store.MemoryWritten, error) {
	return call(s, func() (store.MemoryWritten, error) {
		if s.OnMemories == nil {
			return s.inner.WriteMemories(ctx, w)
		}
		if err := s.OnMemories(w); err != nil {
			return store.MemoryWritten{}, err
		}
		return s.inner.WriteMemories(context.WithoutCancel(ctx), w)
	})
}

// Memory passes on.
func (s *Store) Memory(ctx context.Context, project, id string) (memory.Record, error) {
	return call(s, func() (memory.Record, error) { return s.inner.Memory(ctx, project, id) })
}

// MemoriesByNum passes on.
func (s *Store) MemoriesByNum(ctx context.Context, project, space string, nums []int64) ([]memory.Record, error) {
	return call(s, func() ([]memory.Record, error) { return s.inner.MemoriesByNum(ctx, project, space, nums) })
}

// ListMemories passes on.
func (s *Store) ListMemories(ctx context.Context, q store.MemoryQuery) ([]memory.Record, error) {
	return call(s, func() ([]memory.Record, error) { return s.inner.ListMemories(ctx, q) })
}

// MemoryChanges passes on.
func (s *Store) MemoryChanges(ctx context.Context, project, space string, after int64, limit int) (found store.MemorySpace, list []memory.Record, err error) {
	list, err = call(s, func() (changed []memory.Record, err error) {
		found, changed, err = s.inner.MemoryChanges(ctx, project, space, after, limit)
		return changed, err
	})
	if err != nil {
		return store.MemorySpace{}, nil, err
	}
	return found, list, nil
}

// MemoryProjects passes on.
func (s *Store) MemoryProjects(ctx context.Context) ([]string, error) {
	return call(s, func() ([]string, error) { return s.inner.MemoryProjects(ctx) })
}

// MemorySpaces passes on.
func (s *Store) MemorySpaces(ctx context.Context, project, namespace, after string, limit int) ([]store.MemorySpace, error) {
	return call(s, func() ([]store.MemorySpace, error) {
		return s.inner.MemorySpaces(ctx, project, namespace, after, limit)
	})
}

// ExpiredMemories passes on.
func (s *Store) ExpiredMemories(ctx context.Context, before time.Time, limit int) ([]memory.Record, error) {
	return call(s, func() ([]memory.Record, error) { return s.inner.ExpiredMemories(ctx, before, limit) })
}

// UnembeddedMemories passes on.
func (s *Store) UnembeddedMemories(ctx context.Context, project, space, model string, after int64, limit int) ([]memory.Record, error) {
	return call(s, func() ([]memory.Record, error) {
		return s.inner.UnembeddedMemories(ctx, project, space, model, after, limit)
	})
}

// DrawnMemories passes on.
func (s *Store) DrawnMemories(ctx context.Context, project string, ids []string) ([]memory.Record, error) {
	return call(s, func() ([]memory.Record, error) { return s.inner.DrawnMemories(ctx, project, ids) })
}

// UseMemories passes on.
func (s *Store) UseMemories(ctx context.Context, project string, uses []store.MemoryUse) error {
	return do(s, func() error { return s.inner.UseMemories(ctx, project, uses) })
}

// ForgetMemories passes on.
func (s *Store) ForgetMemories(ctx context.Context, project, space string, nums []int64) (int, error) {
	return call(s, func() (int, error) { return s.inner.ForgetMemories(ctx, project, space, nums) })
}

// Segments passes on.
func (s *Store) Segments(ctx context.Context, project, space string) ([]store.Segment, error) {
	return call(s, func() ([]store.Segment, error) { return s.inner.Segments(ctx, project, space) })
}

// SegmentData passes on.
func (s *Store) SegmentData(ctx context.Context, project, space string, g store.Segment) ([]byte, error) {
	return call(s, func() ([]byte, error) { return s.inner.SegmentData(ctx, project, space, g) })
}

// PutSegment passes on.
func (s *Store) PutSegment(ctx context.Context, project, space string, epoch int64, g store.Segment, data []byte) error {
	return do(s, func() error { return s.inner.PutSegment(ctx, project, space, epoch, g, data) })
}
