// Package cluster keeps the leases by which a process holds shards: it claims
// them, renews them while the process lives, and gives them back when it stops.
// It knows nothing of sessions.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// DefaultTTL is how long a lease lasts that is not renewed.
const DefaultTTL = 5 * time.Second

// Holder holds the shards of one process. A process of today holds all of them.
type Holder struct {
	leases store.Leases
	owner  string
	ttl    time.Duration
	log    *slog.Logger

	epochs [store.Shards]atomic.Int64 // 0 where the shard is not held
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// HeldError says that another process holds shards.
type HeldError struct {
	Owner     string
	Shards    int
	ExpiresIn time.Duration
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("the store is in use by %s, which holds %d of %d shards; its lease ends in %s unless it is renewed. Stop that process, or give this one a store of its own",
		e.Owner, e.Shards, store.Shards, e.ExpiresIn.Round(100*time.Millisecond))
}

// New returns a holder that holds nothing yet. The owner names the process in
// messages, and is not used by another.
func New(leases store.Leases, owner string, ttl time.Duration, log *slog.Logger) *Holder {
	return &Holder{leases: leases, owner: owner, ttl: ttl, log: log}
}

// Acquire claims all shards. Where another process holds some, it waits up to
// patience for that process to go, and returns *HeldError if it does not. waiting,
// if not nil, is called once when the wait begins.
func (h *Holder) Acquire(ctx context.Context, patience time.Duration, waiting func(*HeldError)) error {
	deadline := time.Now().Add(patience)
	for {
		held, err := h.claim(ctx)
		if err != nil {
			return fmt.Errorf("claim the shards: %w", err)
		}
		if held == nil {
			return nil
		}
		if gone(held.Owner) {
			// Its leases need not be waited for: nobody can write under them.
			h.log.Info("the process that held the store is gone", "owner", held.Owner)
			if err := h.leases.Release(ctx, held.Owner); err != nil {
				return fmt.Errorf("release the leases of a process that is gone: %w", err)
			}
			continue
		}
		if !time.Now().Before(deadline) {
			h.Release(ctx)
			return held
		}
		if waiting != nil {
			waiting(held)
			waiting = nil
		}
		pause := min(max(held.ExpiresIn, 20*time.Millisecond), 200*time.Millisecond)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// claim takes what is free of the shards that are not held.
func (h *Holder) claim(ctx context.Context) (*HeldError, error) {
	var missing []int
	for i := range h.epochs {
		if h.epochs[i].Load() == 0 {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	leases, err := h.leases.Claim(ctx, h.owner, missing, h.ttl)
	if err != nil {
		return nil, err
	}
	var held *HeldError
	for _, l := range leases {
		if l.Owner == h.owner {
			h.epochs[l.Shard].Store(l.Epoch)
			continue
		}
		if held == nil {
			held = &HeldError{Owner: l.Owner}
		}
		held.Shards++
		held.ExpiresIn = max(held.ExpiresIn, l.ExpiresIn)
	}
	return held, nil
}

// Epoch returns the epoch of the lease on a shard, or 0 where it is not held.
func (h *Holder) Epoch(shard int) int64 { return h.epochs[shard].Load() }

// Shards returns the shards that are held.
func (h *Holder) Shards() []int {
	var out []int
	for i := range h.epochs {
		if h.epochs[i].Load() != 0 {
			out = append(out, i)
		}
	}
	return out
}

// Lost takes note that a shard's lease has another epoch: a writer was fenced.
// The shard is claimed again when it is free.
func (h *Holder) Lost(shard int) { h.epochs[shard].Store(0) }

// Start renews the leases, and claims again what was lost, until Stop.
func (h *Holder) Start(ctx context.Context) {
	ctx, h.stop = context.WithCancel(ctx)
	h.done.Go(func() {
		tick := time.NewTicker(h.ttl / 4)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				h.renew(ctx)
			}
		}
	})
}

func (h *Holder) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.ttl/2)
	defer cancel()
	want := len(h.Shards())
	n, err := h.leases.Renew(ctx, h.owner, h.ttl)
	switch {
	case err != nil:
		if !errors.Is(err, context.Canceled) {
			h.log.Warn("leases were not renewed", "error", err)
		}
		return
	case n < want:
		// Some were taken by another process while this one was away. All are
		// claimed anew, so that those that are still its own get a new epoch.
		h.log.Warn("leases were lost", "held", want, "renewed", n)
		for i := range h.epochs {
			h.epochs[i].Store(0)
		}
	}
	if held, err := h.claim(ctx); err != nil {
		h.log.Warn("shards were not claimed", "error", err)
	} else if held != nil {
		h.log.Warn("another process holds shards", "owner", held.Owner, "shards", held.Shards)
	}
}

// Stop ends the renewing and gives the shards back.
func (h *Holder) Stop(ctx context.Context) {
	if h.stop != nil {
		h.stop()
	}
	h.done.Wait()
	h.Release(ctx)
}

// Release gives the shards back, so that another process need not wait for the
// leases to end.
func (h *Holder) Release(ctx context.Context) {
	for i := range h.epochs {
		h.epochs[i].Store(0)
	}
	if err := h.leases.Release(ctx, h.owner); err != nil {
		h.log.Warn("leases were not released; they end by themselves", "error", err)
	}
}
