// Package keeper is long-term memory as the rest of the runtime uses it: it
// writes records, finds them, forgets them, and keeps the indexes of spaces in
// step with the store. It owns what this process has in memory of the indexes,
// all of which can be lost; what is true is in the store.
package keeper

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/index"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// Store is what the keeper needs of the store.
type Store interface {
	store.Memories
	store.Objects
}

// Config says what a keeper works with.
type Config struct {
	Store Store
	// Vaults have the master key under which the key of receipts is kept. nil keeps it
	// as it is.
	Vaults *vault.Vaults
	// Embedder makes vectors; nil is words alone. Local says that it answers at
	// once and never fails, so that a record has its vector from the start; the
	// vectors of another are made in the background.
	Embedder embed.Embedder
	Local    bool
	// Questions make the vectors of questions, where there are others for them than
	// Embedder's, and where records may still have those of another model: these are
	// searched by until Embedder's are made. None is Embedder alone.
	Questions []embed.Embedder
	Reranking *Reranking // nil leaves hits in the order of the index
	Now       func() time.Time
	Log       *slog.Logger
	// CacheBytes bounds what is kept in memory of indexes that are not in use; 0
	// is DefaultCache.
	CacheBytes int64
}

// DefaultCache is how much is kept in memory of indexes, in bytes.
const DefaultCache = 256 << 20

// Keeper keeps long-term memory. It is safe for use by many goroutines.
type Keeper struct {
	Config
	unsealed sync.Once // it was said that the key of receipts is kept as it is
	// slots has searches of indexes run as many at once as there are processors,
	// in the order in which they came: more would take turns and end later.
	slots *semaphore.Weighted
	tasks sync.WaitGroup // seals under way
	wake  chan struct{}  // signalled when there are records without a vector
	// dirty has the spaces with such records, and the number after which these are.
	dirty map[spaceName]int64
	noted map[used]store.MemoryUse // uses that are yet to be counted

	mu     sync.Mutex
	spaces map[spaceName]*list.Element // of *space
	used   *list.List                  // the last used first
	bytes  int64                       // of all spaces, about
	warned time.Time                   // when it was last said that a reranker does not answer
	// outages are those of the embedders of questions, by model.
	outages map[string]outage
}

type spaceName struct{ project, name string }

// space is the index of one space in this process.
type space struct {
	name    spaceName
	arrived atomic.Int64 // how many have asked for it so far
	mu      sync.Mutex   // held while it is brought up to date
	served  int64        // how many of these had come when it last was
	epoch   int64
	index   *index.Space
	size    int64 // as it is counted in Keeper.bytes; Keeper.mu is held for it
	// sealing is set while a piece is on its way to the store.
	sealing bool
}

// New returns a keeper.
func New(cfg Config) *Keeper {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = DefaultCache
	}
	if len(cfg.Questions) == 0 && cfg.Embedder != nil {
		cfg.Questions = []embed.Embedder{cfg.Embedder}
	}
	return &Keeper{
		Config: cfg, slots: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))), wake: make(chan struct{}, 1), dirty: map[spaceName]int64{}, noted: map[used]store.MemoryUse{},
		spaces: map[spaceName]*list.Element{}, used: list.New(), outages: map[string]outage{},
	}
}

// Get returns a record by its id.
func (k *Keeper) Get(ctx context.Context, project, id string) (memory.Record, error) {
	return k.Store.Memory(ctx, project, id)
}

// List lists records.
func (k *Keeper) List(ctx context.Context, q store.MemoryQuery) ([]memory.Record, error) {
	return k.Store.ListMemories(ctx, q)
}

// History returns all versions of what a record says, the oldest first.
func (k *Keeper) History(ctx context.Context, project, id string) ([]memory.Record, error) {
	r, err := k.Store.Memory(ctx, project, id)
	if err != nil {
		return nil, err
	}
	versions := []memory.Record{r}
	seen := map[string]bool{r.ID: true}
	// walk follows the ids that next gives, as far as they were not forgotten.
	walk := func(next func(*memory.Record) string, add func(memory.Record)) error {
		for at := r; ; {
			id := next(&at)
			if id == "" || seen[id] {
				return nil
			}
			var err error
			if at, err = k.Store.Memory(ctx, project, id); errors.Is(err, store.ErrNotFound) {
				return nil
			} else if err != nil {
				return err
			}
			seen[id] = true
			add(at)
		}
	}
	err = walk(func(r *memory.Record) string { return r.Supersedes }, func(r memory.Record) { versions = append(versions, r) })
	if err != nil {
		return nil, err
	}
	slices.Reverse(versions)
	err = walk(func(r *memory.Record) string { return r.SupersededBy }, func(r memory.Record) { versions = append(versions, r) })
	return versions, err
}
