package keeper_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
)

// nodes are keepers with connections of their own to one PostgreSQL.
func nodes(t *testing.T, n int) []*home {
	t.Helper()
	url := pgtest.Start(t)
	all := make([]*home, n)
	for i := range all {
		all[i] = newHomeOn(t, openPostgres(t, url))
	}
	return all
}

// finds reports whether a search has a record with the word.
func finds(h *home, word string) (bool, error) {
	found, err := h.Search(h.Context(), memory.Query{Project: "p", Text: "Where is " + word + "?", Namespaces: []string{"/actors/ann"}, Superseded: true, Limit: 5})
	return slices.ContainsFunc(found.Hits, func(hit memory.Hit) bool { return strings.Contains(hit.Text, word) }) || strings.Contains(found.Context, word), err
}

// TestEveryNodeSeesAWriteAtOnce writes on one node and searches on the next, many
// at a time.
func TestEveryNodeSeesAWriteAtOnce(t *testing.T) {
	all := nodes(t, 3)
	together(6, func(i int) {
		for j := range 15 {
			writer, reader := all[(i+j)%3], all[(i+j+1)%3]
			word := fmt.Sprintf("treasure%dx%d", i, j)
			list, _, err := writer.Write(t.Context(), "p", []memory.Record{{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "Here is " + word + "."}})
			if err != nil {
				t.Errorf("write: %v", err)
				return
			}
			if ok, err := finds(reader, word); err != nil || !ok {
				t.Errorf("%s was written on a node, and another finds %t, %v", word, ok, err)
			}
			newer := word + "again"
			if _, err := reader.Update(t.Context(), "p", list[0].ID, keeper.Change{Text: ptr("Here is " + newer + ".")}); err != nil {
				t.Errorf("update: %v", err)
			}
			if ok, err := finds(writer, newer); err != nil || !ok {
				t.Errorf("%s was written on a node, and another finds %t, %v", newer, ok, err)
			}
		}
	})
}

// TestNoNodeFindsWhatWasForgotten forgets on one node while all others search, and
// others write, so that indexes are behind, are made anew and are stored meanwhile. A
// search that begins after Forget returned does not find it on any node.
func TestNoNodeFindsWhatWasForgotten(t *testing.T) {
	all := nodes(t, 3)
	boxes := make([]memory.Record, 500)
	for i := range 9 { // enough for an index to be stored
		for j := range boxes {
			boxes[j] = memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: fmt.Sprintf("Box %d stands in hall %d.", i*500+j, j)}
		}
		if _, _, err := all[i%3].Write(t.Context(), "p", boxes); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		word := fmt.Sprintf("treasure%d", round)
		record := all[round%3].fact("Here is " + word + ".")
		var forgotten atomic.Bool
		var before, after atomic.Int64
		stop := make(chan struct{})
		var searching sync.WaitGroup
		for n, h := range all {
			searching.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					late := forgotten.Load()
					found, err := finds(h, word)
					if err != nil || found && late {
						t.Errorf("node %d finds %s after it was forgotten: %t, %v", n, word, found, err)
						return
					}
					if found {
						before.Add(1)
					}
					if late {
						after.Add(1)
					}
					if i%4 == 0 {
						_, _, err := h.Write(t.Context(), "p", []memory.Record{{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: fmt.Sprintf("Note %d of node %d.", i, n)}})
						if err != nil {
							t.Errorf("write: %v", err)
						}
					}
				}
			})
		}
		wait := func(count *atomic.Int64) {
			for count.Load() < 3 && !t.Failed() {
				if _, err := finds(all[0], "hall"); err != nil {
					t.Error(err)
				}
			}
		}
		wait(&before)
		if _, err := all[(round+1)%3].Forget(t.Context(), "p", keeper.Selection{ID: record.ID}, ""); err != nil {
			t.Error(err)
		}
		forgotten.Store(true)
		wait(&after)
		close(stop)
		searching.Wait()
		for _, h := range all {
			list, err := h.List(t.Context(), store.MemoryQuery{Project: "p", Limit: 10})
			if err != nil || slices.ContainsFunc(list, func(r memory.Record) bool { return r.ID == record.ID }) {
				t.Errorf("a list has what was forgotten, %v", err)
			}
		}
		if t.Failed() {
			return
		}
	}
}
