package keeper

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/store"
)

const (
	// embedAtOnce is how many texts are made into vectors by one request.
	embedAtOnce = 256
	// embedFailures in a row are an embedder that is away: one text that it refuses
	// is found among embedAtOnce by fewer.
	embedFailures = 10
	// embedPause is how long to wait after vectors could not be made. It doubles
	// each time, up to embedPauseMost.
	embedPause     = 5 * time.Second
	embedPauseMost = 5 * time.Minute
	// notedAtOnce is how many spaces are listed at once.
	notedAtOnce = 1000
)

// unembedded notes that a space has new records whose vectors are to be made.
func (k *Keeper) unembedded(name spaceName, records []memory.Record) {
	if k.Embedder == nil || k.Local || len(records) == 0 {
		return
	}
	first := int64(math.MaxInt64)
	for i := range records {
		first = min(first, records[i].Num)
	}
	k.note(name, first-1)
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *Keeper) note(name spaceName, after int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.dirty[name]; ok {
		after = min(after, old)
	}
	k.dirty[name] = after
}

// makeVectors makes the vectors that are missing, or are of another model, until
// ctx ends: first in all spaces, as a process may have ended before it made them
// and the embedder may be new, and then of what is written. Vectors of the model
// before serve until then.
func (k *Keeper) makeVectors(ctx context.Context) {
	pause, listed := embedPause, false
	for {
		var err error
		if !listed {
			err = k.noteAll(ctx)
			listed = err == nil
		}
		if err == nil {
			err = k.embedMissing(ctx)
		}
		var again <-chan time.Time
		if err == nil {
			pause = embedPause
		} else if ctx.Err() == nil {
			k.Log.Warn("vectors could not be made; it is tried again", "after", pause, "error", err)
			again = time.After(pause)
			pause = min(2*pause, embedPauseMost)
		}
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-again:
		}
	}
}

func (k *Keeper) noteAll(ctx context.Context) error {
	projects, err := k.Store.MemoryProjects(ctx)
	if err != nil {
		return err
	}
	for _, project := range projects {
		for after := ""; ; {
			spaces, err := k.Store.MemorySpaces(ctx, project, "/", after, notedAtOnce)
			if err != nil {
				return err
			}
			for i := range spaces {
				k.note(spaceName{project, spaces[i].Name}, 0)
			}
			if len(spaces) < notedAtOnce {
				break
			}
			after = spaces[len(spaces)-1].Name
		}
	}
	return nil
}

// embedMissing makes the vectors of what was noted. What cannot be made is noted
// again.
func (k *Keeper) embedMissing(ctx context.Context) error {
	k.mu.Lock()
	noted := k.dirty
	k.dirty = map[spaceName]int64{}
	k.mu.Unlock()
	m := vectorMaker{k: k}
	var failed error
	for name, after := range noted {
		if m.failures < embedFailures && ctx.Err() == nil {
			rest, err := m.space(ctx, name, after)
			if err == nil {
				continue
			}
			after = rest
			if failed == nil {
				failed = fmt.Errorf("space %s of project %s: %w", name.name, name.project, err)
			}
		}
		k.note(name, after)
	}
	return failed
}

// vectorMaker makes vectors, many at once.
type vectorMaker struct {
	k        *Keeper
	failures int // in a row
}

// space makes the vectors of the space's records after the number. After an error
// it goes on, as it may be about one text, and returns the number after which
// vectors are missing.
func (m *vectorMaker) space(ctx context.Context, name spaceName, after int64) (rest int64, failed error) {
	rest = after
	for {
		records, err := m.k.Store.UnembeddedMemories(ctx, name.project, name.name, m.k.Embedder.Model(), after, embedAtOnce)
		if err != nil {
			return rest, err
		}
		if len(records) == 0 {
			return rest, failed
		}
		if err := m.records(ctx, name, records); err != nil && failed == nil {
			rest, failed = after, err
		}
		if m.failures >= embedFailures || ctx.Err() != nil {
			return rest, failed
		}
		after = records[len(records)-1].Num
	}
}

// records makes the vectors of records at once, or, where that fails, of either
// half of them.
func (m *vectorMaker) records(ctx context.Context, name spaceName, records []memory.Record) error {
	err := m.embed(ctx, name, records)
	if err == nil {
		m.failures = 0
		return nil
	}
	m.failures++
	if len(records) == 1 {
		return fmt.Errorf("memory %s: %w", records[0].ID, err)
	}
	if m.failures >= embedFailures || ctx.Err() != nil {
		return err
	}
	half := len(records) / 2
	first, second := m.records(ctx, name, records[:half]), m.records(ctx, name, records[half:])
	if first != nil {
		return first
	}
	return second
}

func (m *vectorMaker) embed(ctx context.Context, name spaceName, records []memory.Record) error {
	texts := make([]string, len(records))
	for i := range records {
		texts[i] = records[i].Text
	}
	vectors, err := m.k.Embedder.Embed(ctx, texts)
	if err != nil {
		return err
	}
	w := store.MemoryWrite{Project: name.project, Space: name.name}
	for i := range records {
		w.Vectors = append(w.Vectors, store.MemoryVector{Num: records[i].Num, Vector: embed.Encode(vectors[i]), Model: m.k.Embedder.Model()})
	}
	_, err = m.k.Store.WriteMemories(ctx, &w)
	return err
}
