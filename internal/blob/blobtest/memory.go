package blobtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

func contextCanceled(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

// Memory is a store of blobs for tests. It counts, and it fails when it is told
// to.
type Memory struct {
	mu       sync.Mutex
	projects map[string]map[event.Hash]entry
	puts     int
	gets     int
	fail     func(op string) error
}

type entry struct {
	data []byte
	put  time.Time
}

var _ blob.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{projects: map[string]map[event.Hash]entry{}}
}

// Fail makes each call ask fail first, with "put" (once for each blob), "get" or
// "sweep". Nil is a store that never fails.
func (m *Memory) Fail(fail func(op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

// Counts returns the number of blobs put, and of blobs got, since the last call.
func (m *Memory) Counts() (puts, gets int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	puts, gets = m.puts, m.gets
	m.puts, m.gets = 0, 0
	return puts, gets
}

// Names lists the blobs of a project.
func (m *Memory) Names(project string) []event.Hash {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []event.Hash
	for name := range m.projects[project] {
		names = append(names, name)
	}
	return names
}

// Remove loses a blob.
func (m *Memory) Remove(project string, name event.Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.projects[project], name)
}

func (m *Memory) check(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.fail != nil {
		return m.fail(op)
	}
	return nil
}

// Put implements blob.Store.
func (m *Memory) Put(ctx context.Context, project string, blobs []blob.Blob) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range blobs {
		if err := m.check(ctx, "put"); err != nil {
			return err
		}
		if len(blobs[i].Data) > blob.MaxSize {
			return fmt.Errorf("blob %s is too large", blobs[i].Name)
		}
		if blob.Name(blobs[i].Data) != blobs[i].Name {
			return fmt.Errorf("put blob %s: %w", blobs[i].Name, blob.ErrCorrupt)
		}
		m.puts++
		if m.projects[project] == nil {
			m.projects[project] = map[event.Hash]entry{}
		}
		m.projects[project][blobs[i].Name] = entry{slices.Clone(blobs[i].Data), time.Now()}
	}
	return nil
}

// Get implements blob.Store.
func (m *Memory) Get(ctx context.Context, project string, name event.Hash, buf []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(ctx, "get"); err != nil {
		return nil, err
	}
	m.gets++
	e, ok := m.projects[project][name]
	if !ok {
		return nil, fmt.Errorf("get blob %s: %w", name, blob.ErrNotFound)
	}
	return append(buf[:0], e.data...), nil
}

// Projects implements blob.Store.
func (m *Memory) Projects(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for p, blobs := range m.projects {
		if len(blobs) > 0 {
			list = append(list, p)
		}
	}
	return list, nil
}

// Sweep implements blob.Store.
func (m *Memory) Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(ctx, "sweep"); err != nil {
		return 0, err
	}
	swept := 0
	for name, e := range m.projects[project] {
		if e.put.Before(before) && !keep(name) {
			delete(m.projects[project], name)
			swept++
		}
	}
	return swept, nil
}

// Close implements blob.Store.
func (m *Memory) Close() error { return nil }
