package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// Append implements store.Store.
func (s *Store) Append(ctx context.Context, a *store.Append) error {
	op := "append to session " + a.Session
	p, err := s.prepare(a)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if a.Parent != nil || s.lanes && len(p.blobs) > 0 {
		s.naming.RLock()
		p.settled = s.naming.RUnlock
		if err := s.before(ctx, p); err != nil {
			p.settled()
			return wrap(op, err)
		}
	}
	if a.Erase {
		if err := s.settle(ctx, key{p.shard, a.Project, a.Session}, never); err != nil {
			p.settled()
			return wrap(op, err)
		}
	}
	return wrap(op, s.writer.append(ctx, p))
}

// before commits what lies on other shards and the append counts on: that a fork
// has a part of its parent's log and, where a commit keeps to one shard, blobs,
// each of which is on the shard of its hash.
func (s *Store) before(ctx context.Context, p *pending) error {
	if p.Parent != nil {
		if err := s.claim(ctx, p); err != nil {
			return err
		}
	}
	if !s.lanes {
		return nil
	}
	for i := range p.blobs {
		if err := s.putBlob(ctx, p.Project, &p.blobs[i]); err != nil {
			return err
		}
	}
	p.blobs = nil
	return nil
}

// prepare checks the append's form and packs its large data. It runs on the
// caller's goroutine, so that many are packed at once.
func (s *Store) prepare(a *store.Append) (*pending, error) {
	if len(a.Records) == 0 {
		return nil, errors.New("no records")
	}
	if err := store.CheckNames(a); err != nil {
		return nil, err
	}
	if x := a.Index; x != nil && (x.Project != a.Project || x.Session != a.Session) {
		return nil, fmt.Errorf("the index row is that of session %s", x.Session)
	}
	p := &pending{Append: a, shard: int16(store.ShardOf(a.Session)), names: make([]*event.Hash, len(a.Records)), settled: func() {}}
	if a.Index != nil {
		var err error
		if p.metadata, err = metadataJSON(a.Index.Metadata); err != nil {
			return nil, err
		}
	}
	for i := range a.Records {
		r := &a.Records[i]
		if r.Session != a.Session || r.Seq != a.Records[0].Seq+int64(i) || r.Seq < 1 {
			return nil, fmt.Errorf("record %d of session %s is out of place", r.Seq, r.Session)
		}
		if !store.IsBlob(r.Data) {
			p.size += len(r.Data)
			continue
		}
		b := packedBlob{hash: store.BlobHash(r.Data), data: s.codec.Pack(r.Data)}
		p.names[i] = &b.hash
		p.size += len(b.data)
		p.blobs = append(p.blobs, b)
	}
	return p, nil
}
