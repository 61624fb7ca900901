package storefault

import (
	"context"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// call asks the store that is wrapped. The answer of one that crashed meanwhile
// is lost.
func call[T any](s *Store, f func() (T, error)) (v T, err error) {
	if err := s.alive(); err != nil {
		return v, err
	}
	got, err := f()
	if fault := s.alive(); fault != nil {
		return v, fault
	}
	return got, err
}

// do is call for what answers with an error only.
func do(s *Store, f func() error) error {
	_, err := call(s, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// Read passes on.
func (s *Store) Read(ctx context.Context, project, session string, after int64, limit int) ([]event.Record, error) {
	return call(s, func() ([]event.Record, error) { return s.inner.Read(ctx, project, session, after, limit) })
}

// Session passes on.
func (s *Store) Session(ctx context.Context, project, session string) (store.Index, error) {
	return call(s, func() (store.Index, error) { return s.inner.Session(ctx, project, session) })
}

// Sessions passes on.
func (s *Store) Sessions(ctx context.Context, q store.SessionQuery) ([]store.Index, error) {
	return call(s, func() ([]store.Index, error) { return s.inner.Sessions(ctx, q) })
}

// Due passes on.
func (s *Store) Due(ctx context.Context, shards []int, before time.Time, limit int) ([]store.Index, error) {
	return call(s, func() ([]store.Index, error) { return s.inner.Due(ctx, shards, before, limit) })
}

// CreateObject passes on.
func (s *Store) CreateObject(ctx context.Context, o store.Object) error {
	return do(s, func() error { return s.inner.CreateObject(ctx, o) })
}

// UpdateObject passes on.
func (s *Store) UpdateObject(ctx context.Context, o store.Object) error {
	return do(s, func() error { return s.inner.UpdateObject(ctx, o) })
}

// Object passes on.
func (s *Store) Object(ctx context.Context, project, kind, id string) (store.Object, error) {
	return call(s, func() (store.Object, error) { return s.inner.Object(ctx, project, kind, id) })
}

// ListObjects passes on.
func (s *Store) ListObjects(ctx context.Context, q store.ObjectQuery) ([]store.Object, error) {
	return call(s, func() ([]store.Object, error) { return s.inner.ListObjects(ctx, q) })
}

// DeleteObject passes on.
func (s *Store) DeleteObject(ctx context.Context, project, kind, id string) error {
	return do(s, func() error { return s.inner.DeleteObject(ctx, project, kind, id) })
}

// Claim passes on.
func (s *Store) Claim(ctx context.Context, owner string, shards []int, ttl time.Duration) ([]store.Lease, error) {
	return call(s, func() ([]store.Lease, error) { return s.inner.Claim(ctx, owner, shards, ttl) })
}

// Renew passes on.
func (s *Store) Renew(ctx context.Context, owner string, ttl time.Duration) (int, error) {
	return call(s, func() (int, error) { return s.inner.Renew(ctx, owner, ttl) })
}

// Release passes on.
func (s *Store) Release(ctx context.Context, owner string) error {
	return do(s, func() error { return s.inner.Release(ctx, owner) })
}

// Trees passes on.
func (s *Store) Trees(ctx context.Context, project string) ([]event.Hash, error) {
	return call(s, func() ([]event.Hash, error) { return s.inner.Trees(ctx, project) })
}

// Blobs returns the room for blobs of the store that is wrapped, which is gone
// with the process when it crashes.
func (s *Store) Blobs() blob.Store { return &blobs{s, s.inner.Blobs()} }

type blobs struct {
	s     *Store
	inner blob.Store
}

// Put passes on.
func (b *blobs) Put(ctx context.Context, project string, list []blob.Blob) error {
	return do(b.s, func() error { return b.inner.Put(ctx, project, list) })
}

// Get passes on.
func (b *blobs) Get(ctx context.Context, project string, name event.Hash, buf []byte) ([]byte, error) {
	return call(b.s, func() ([]byte, error) { return b.inner.Get(ctx, project, name, buf) })
}

// Projects passes on.
func (b *blobs) Projects(ctx context.Context) ([]string, error) {
	return call(b.s, func() ([]string, error) { return b.inner.Projects(ctx) })
}

// Sweep passes on.
func (b *blobs) Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error) {
	return call(b.s, func() (int, error) { return b.inner.Sweep(ctx, project, before, keep) })
}

// Close passes on.
func (b *blobs) Close() error { return b.inner.Close() }

// Collect passes on.
func (s *Store) Collect(ctx context.Context, grace time.Duration) (int, error) {
	return call(s, func() (int, error) { return s.inner.Collect(ctx, grace) })
}

// Usage passes on.
func (s *Store) Usage(ctx context.Context) (store.Usage, error) {
	return call(s, func() (store.Usage, error) { return s.inner.Usage(ctx) })
}

// Ping passes on.
func (s *Store) Ping(ctx context.Context) error {
	return do(s, func() error { return s.inner.Ping(ctx) })
}
