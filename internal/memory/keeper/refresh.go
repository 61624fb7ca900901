package keeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/memory/index"
	"github.com/stayd/stayd/internal/store"
)

const (
	// changesAtOnce is how many records are read at a time to bring an index up to
	// date.
	changesAtOnce = 2048
	// sealAt is how many records an index has that the store has no piece of before
	// one is made, and sealRead the same where it was just read anew. Making an index
	// of records takes many times as long as reading a piece: some tenths of a second
	// for sealAt.
	sealAt   = 4096
	sealRead = 256
)

// fresh returns the index of the space as it is in the store, which has just said
// of it what seen has: whatever was acknowledged before is in it.
func (k *Keeper) fresh(ctx context.Context, seen *store.MemorySpace) (*index.Space, error) {
	name := spaceName{seen.Project, seen.Name}
	s := k.space(name)
	arrived := s.arrived.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index != nil && (arrived <= s.served || s.epoch == seen.Epoch && s.index.Change() >= seen.Change) {
		return s.index, nil
	}
	// Who waits for this read has come before it, and needs none of its own.
	served := s.arrived.Load()
	read, err := k.catchUp(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("bring the index of %s up to date: %w", name.name, err)
	}
	s.served = served
	k.sized(s)
	least := sealAt
	if read {
		least = sealRead
	}
	k.seal(ctx, s, least)
	return s.index, nil
}

// space returns the place of the space's index, which may be empty.
func (k *Keeper) space(name spaceName) *space {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.spaces[name]; ok {
		k.used.MoveToFront(e)
		return e.Value.(*space) //nolint:forcetypeassert // the list holds nothing else
	}
	s := &space{name: name}
	k.spaces[name] = k.used.PushFront(s)
	return s
}

// sized counts what the index of a space takes, and drops those that were not
// used for the longest time where all take too much. Who searches one that is
// dropped goes on with it.
func (k *Keeper) sized(s *space) {
	const overhead = 512
	size := s.index.Stats().Bytes + overhead
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.spaces[s.name]; !ok || e.Value != s {
		return
	}
	k.bytes += size - s.size
	s.size = size
	for k.bytes > k.CacheBytes && k.used.Len() > 1 {
		e := k.used.Back()
		old := e.Value.(*space) //nolint:forcetypeassert // as above
		if old == s {
			return
		}
		k.used.Remove(e)
		delete(k.spaces, old.name)
		k.bytes -= old.size
	}
}

// catchUp brings the index of the space up to date, and reports whether it was read
// anew for that.
func (k *Keeper) catchUp(ctx context.Context, s *space) (read bool, err error) {
	for {
		after := int64(0)
		if s.index != nil {
			after = s.index.Change()
		}
		limit := changesAtOnce
		if s.index == nil {
			limit = 0
		}
		sp, records, err := k.Store.MemoryChanges(ctx, s.name.project, s.name.name, after, limit)
		if err != nil {
			return false, err
		}
		if s.index == nil || sp.Epoch != s.epoch {
			if err := k.load(ctx, s, sp); err != nil {
				return false, err
			}
			read = true
			continue
		}
		if err := s.index.Apply(records); err != nil {
			return false, err
		}
		if len(records) < limit {
			return read, nil
		}
	}
}

// load makes the index anew from the pieces that the store has of it. Where they
// do not fit, what is left is read record by record.
func (k *Keeper) load(ctx context.Context, s *space, sp store.MemorySpace) error {
	s.index, s.epoch = index.New(), sp.Epoch
	pieces, err := k.Store.Segments(ctx, s.name.project, s.name.name)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		data, err := k.Store.SegmentData(ctx, s.name.project, s.name.name, piece)
		if errors.Is(err, store.ErrNotFound) {
			return nil // it was merged into another meanwhile
		}
		if err != nil {
			return err
		}
		if err := s.index.Load(data); err != nil {
			k.Log.Warn("a piece of an index is left out, and made again from the records", "space", s.name.name, "from", piece.From, "error", err)
			return nil
		}
	}
	return nil
}

// seal has the store keep what the index has beyond the pieces there, where that is
// at least so many records, in the background. Another process may do the same: one of them is first.
func (k *Keeper) seal(ctx context.Context, s *space, least int) {
	if s.sealing || s.index.Stats().Unstored < least {
		return
	}
	s.sealing = true
	ix, epoch := s.index, s.epoch
	ctx = context.WithoutCancel(ctx)
	k.tasks.Go(func() {
		err := k.store(ctx, s.name, ix, epoch, least)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sealing = false
		if errors.Is(err, store.ErrConflict) && s.index == ix {
			s.index = nil // the store has other pieces, which are taken from now on
			return
		}
		if err != nil {
			k.Log.Warn("a piece of an index could not be stored", "space", s.name.name, "error", err)
		}
	})
}

func (k *Keeper) store(ctx context.Context, name spaceName, ix *index.Space, epoch int64, least int) error {
	for _, next := range []func() (*index.Piece, error){func() (*index.Piece, error) { return ix.Seal(least) }, ix.Compact} {
		p, err := next()
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		piece := store.Segment{From: p.From, To: p.To, Size: int64(len(p.Data))}
		if err := k.Store.PutSegment(ctx, name.project, name.name, epoch, piece, p.Data); err != nil {
			return err
		}
		ix.Stored(p)
	}
	return nil
}
