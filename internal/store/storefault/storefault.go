// Package storefault makes a store fail as disks, networks and crashes make it,
// at an append that the test names. It owns no data; what it wraps holds what was
// written, as a disk does when the process is gone.
package storefault

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// ErrCrashed is what every call of a crashed store answers.
var ErrCrashed = fmt.Errorf("the process has crashed: %w", store.ErrUnavailable)

// Rule is a fault. It delays, then fails or crashes; one that only delays lets
// the append go on.
type Rule struct {
	// Append is the number of the append that the fault is for, counted from 1 by
	// their beginnings; 0 is every append.
	Append int
	// After makes it happen once the write took place, so that only the answer is
	// lost; otherwise it happens before and nothing is written.
	After bool
	// Delay is how long the append waits first, or until its context ends.
	Delay time.Duration
	// Err is what the append answers. After the write the contract allows
	// store.ErrUnavailable only.
	Err error
	// Crash makes this and every later call answer ErrCrashed.
	Crash bool
}

// Store is a store.Store with faults.
type Store struct {
	inner   store.Store
	rules   []Rule
	appends atomic.Int64
	once    sync.Once
	crashed chan struct{}
	// OnMemories, where it is set, is called when a write of memories has begun: what
	// it does comes before the write, and where it fails nothing is written. It is set
	// before the store is used.
	OnMemories func(w *store.MemoryWrite) error
}

var _ store.Store = (*Store)(nil)

// New returns s with faults. Without rules it is s.
func New(s store.Store, rules ...Rule) *Store {
	return &Store{inner: s, rules: rules, crashed: make(chan struct{})}
}

// Reopen returns the store as the next process finds it: with what was written,
// and with other faults.
func (s *Store) Reopen(rules ...Rule) *Store { return New(s.inner, rules...) }

// Crashed is closed when the store has crashed.
func (s *Store) Crashed() <-chan struct{} { return s.crashed }

// Appends returns how many appends have begun.
func (s *Store) Appends() int { return int(s.appends.Load()) }

// Append appends to the store that is wrapped, unless a rule says otherwise.
func (s *Store) Append(ctx context.Context, a *store.Append) error {
	if err := s.alive(); err != nil {
		return err
	}
	n := int(s.appends.Add(1))
	if err := s.strike(ctx, n, false); err != nil {
		return err
	}
	err := s.inner.Append(ctx, a)
	if fault := s.strike(ctx, n, true); fault != nil {
		return fault
	}
	// A crash meanwhile took this answer with it.
	if fault := s.alive(); fault != nil {
		return fault
	}
	return err
}

// strike applies the rules of an append at one of its two points.
func (s *Store) strike(ctx context.Context, n int, after bool) error {
	for _, r := range s.rules {
		if r.After != after || r.Append != 0 && r.Append != n {
			continue
		}
		if r.Delay > 0 {
			if err := s.wait(ctx, r); err != nil {
				return err
			}
		}
		if r.Crash {
			s.once.Do(func() { close(s.crashed) })
			return fmt.Errorf("append %d: %w", n, ErrCrashed)
		}
		if r.Err != nil {
			return fmt.Errorf("append %d: %w", n, r.Err)
		}
	}
	return nil
}

func (s *Store) wait(ctx context.Context, r Rule) error {
	timer := time.NewTimer(r.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.crashed:
		return ErrCrashed
	case <-ctx.Done():
		if r.After {
			return fmt.Errorf("%w: %w", ctx.Err(), store.ErrUnavailable)
		}
		return ctx.Err()
	}
}

func (s *Store) alive() error {
	select {
	case <-s.crashed:
		return ErrCrashed
	default:
		return nil
	}
}

// Close closes the store that is wrapped. A process that crashed closes
// nothing: then who opened that store closes it.
func (s *Store) Close() error {
	select {
	case <-s.crashed:
		return nil
	default:
		return s.inner.Close()
	}
}
