package crashtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// remembering is the setting of an agent that recalls, keeps what is said, and has
// facts drawn from it at once.
func remembering() *event.Memory {
	return &event.Memory{
		Namespaces: map[string]string{
			"turn": "/actors/{actorId}/said", "semantic": "/actors/{actorId}/facts", "summary": "/actors/{actorId}/summaries", "core": "/actors/{actorId}/core",
		},
		Strategies: []string{"semantic", "summary"},
		Recall:     &event.Recall{Namespaces: []string{"/actors/{actorId}"}, Limit: 5, MaxTokens: 500},
		Core:       []event.CoreBlock{{Label: "human", Value: "Somebody.", Limit: 100}},
	}
}

// TestSweepMemory kills the engine before and after every append of the reference
// session with an agent that remembers. In the end every message is kept once,
// and what was drawn from them is there once.
func TestSweepMemory(t *testing.T) {
	s := parseScript(t)
	for name, open := range openers {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%t", name, after), func(t *testing.T) {
				for n := 1; n <= lastAppend; n += every(4) {
					t.Run(strconv.Itoa(n), func(t *testing.T) {
						t.Parallel()
						r := reference{open: open, catalog: s, after: after, memory: remembering()}
						r.run(t, n, 1+n%3)
					})
				}
			})
		}
	}
}

// remembered compares what is remembered with the log.
func remembered(t *testing.T, st store.Store, recs []Record) {
	t.Helper()
	said, recorded := map[string]string{}, map[string]bool{}
	extractions, kept := 0, false
	for i := range recs {
		switch recs[i].Kind {
		case string(event.KindMemoryKept), string(event.KindMemoryExtracted):
			var p struct {
				MemoryIDs []string `json:"memory_ids"`
			}
			decodeRecord(t, &recs[i], &p)
			for _, id := range p.MemoryIDs {
				recorded[id] = true
			}
			kept = kept || recs[i].Kind == string(event.KindMemoryKept)
			if recs[i].Kind == string(event.KindMemoryExtracted) {
				extractions++
			}
		case string(event.KindTurnCreated), string(event.KindModelResponded):
			var p struct{ Items []event.Item }
			decodeRecord(t, &recs[i], &p)
			for _, it := range p.Items {
				if it.Type == event.ItemMessage && it.Text() != "" {
					said[it.ID] = it.Text()
				}
			}
		}
	}
	list, err := st.ListMemories(t.Context(), store.MemoryQuery{Project: project, Superseded: true, Asc: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	got, drawn := map[string]string{}, map[memory.Strategy]int{}
	for i := range list {
		r := &list[i]
		if !recorded[r.ID] {
			t.Errorf("the log does not say that %s was written: %q", r.ID, r.Text)
		}
		delete(recorded, r.ID)
		if r.Strategy != memory.Turn {
			drawn[r.Strategy]++
			continue
		}
		id := r.Source.ItemIDs[0]
		if _, twice := got[id]; twice {
			t.Errorf("the message %s is kept twice", id)
		}
		got[id] = r.Text
	}
	if diff := cmp.Diff(said, got); diff != "" {
		t.Errorf("what is kept (-said +kept):\n%s", diff)
	}
	if len(recorded) > 0 || !kept || extractions == 0 {
		t.Errorf("the log says that %v were written and they are not there; kept %t, %d extractions", slices.Sorted(maps.Keys(recorded)), kept, extractions)
	}
	if drawn[memory.Semantic] != extractions || drawn[memory.Summary] != extractions {
		t.Errorf("%d extractions drew %v, and each should have drawn a fact and a summary", extractions, drawn)
	}
}

func decodeRecord(t *testing.T, r *Record, to any) {
	t.Helper()
	if err := json.Unmarshal(r.Data, to); err != nil {
		t.Fatal(err)
	}
}
