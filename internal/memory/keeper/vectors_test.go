package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// topics is a model that knows what a text is about, and nothing of its words.
type topics struct {
	model string
	// allow is asked before vectors are made; nil allows all.
	allow func(ctx context.Context, texts []string) error
	asked atomic.Int64 // texts
}

var about = [][]string{{"dog", "puppy", "canine"}, {"cat", "kitten", "feline"}, {"car", "lorry", "vehicle"}}

func (e *topics) Model() string { return e.model }

func (e *topics) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	e.asked.Add(int64(len(texts)))
	if e.allow != nil {
		if err := e.allow(ctx, texts); err != nil {
			return nil, err
		}
	}
	out := make([][]float32, len(texts))
	for i, text := range texts {
		out[i] = make([]float32, len(about)+1)
		out[i][len(about)] = 0.1
		for topic, words := range about {
			if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) }) {
				out[i][topic] = 1
			}
		}
		embed.Normalise(out[i])
	}
	return out, nil
}

// with is another keeper on the same store, as after a restart. It runs until
// stop, which waits for it.
func (h *home) with(c keeper.Config) (other *home, stop func()) {
	h.Helper()
	c.Store, c.Now, c.Log = h.store, func() time.Time { return h.now }, slog.New(slog.DiscardHandler)
	other = &home{T: h.T, Keeper: keeper.New(c), store: h.store, now: h.now}
	ctx, cancel := context.WithCancel(h.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		other.Keeper.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	h.Cleanup(stop)
	return other, stop
}

// models counts the records by what made their vectors.
func (h *home) models() map[string]int {
	h.Helper()
	out := map[string]int{}
	list, err := h.List(h.Context(), store.MemoryQuery{Project: "p", Limit: 10_000})
	if err != nil {
		h.Fatal(err)
	}
	for _, r := range list {
		out[r.VectorModel]++
	}
	return out
}

// until waits for the records to have vectors of these models.
func (h *home) until(want map[string]int) {
	h.Helper()
	for {
		got := h.models()
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if h.Context().Err() != nil {
			h.Fatalf("there are %v, want %v", got, want)
		}
	}
}

// Another embedder makes all vectors anew in the background, however often the
// process ends meanwhile. Until then what has vectors of the one before is found
// by them.
func TestNewEmbedder(t *testing.T) {
	h := newHome(t)
	before := &topics{model: "before@4"}
	first, stop := h.with(keeper.Config{Embedder: before, Local: true})
	records := []memory.Record{{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "Tom, the kitten, sleeps."}}
	for i := range 600 {
		records = append(records, memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: fmt.Sprintf("Number %d is a prime or it is not.", i)})
	}
	records = append(records, memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "Bruno, the puppy, barks."})
	if _, _, err := first.Write(t.Context(), "p", records); err != nil {
		t.Fatal(err)
	}
	first.until(map[string]int{"before@4": 602})
	stop()

	paused, calls := make(chan struct{}), 0
	after := &topics{model: "after@4", allow: func(ctx context.Context, texts []string) error {
		if len(texts) == 1 { // a question
			return nil
		}
		if calls++; calls == 1 {
			return nil
		}
		if calls == 2 {
			close(paused)
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	second, stop := h.with(keeper.Config{Embedder: after, Questions: []embed.Embedder{after, before}})
	<-paused
	second.until(map[string]int{"before@4": 346, "after@4": 256})
	second.found("feline", "Tom, the kitten, sleeps.")
	second.found("canine", "Bruno, the puppy, barks.")
	second.found("571", "Number 571 is a prime or it is not.")
	stop()

	third, _ := h.with(keeper.Config{Embedder: &topics{model: "after@4"}})
	third.until(map[string]int{"after@4": 602})
	third.found("feline", "Tom, the kitten, sleeps.")
	third.found("canine", "Bruno, the puppy, barks.")
	third.found("571", "Number 571 is a prime or it is not.")
}

// found asks for three records and wants this one among them.
func (h *home) found(question, text string) {
	h.Helper()
	if got := h.ask(memory.Query{Text: question, Limit: 3}); !slices.Contains(got, text) {
		h.Errorf("%q found %q, want %q", question, got, text)
	}
}

// An embedder whose vectors no record has is not asked for that of a question.
func TestQuestionsWithoutUse(t *testing.T) {
	h := newHome(t)
	other := &topics{model: "other@4"}
	second := &home{T: t, store: h.store, now: h.now, Keeper: keeper.New(keeper.Config{
		Store: h.store, Embedder: other, Now: func() time.Time { return h.now }, Log: slog.New(slog.DiscardHandler),
	})}
	h.fact("Ann has a puppy.")
	second.found("puppy", "Ann has a puppy.")
	if n := other.asked.Load(); n != 0 {
		t.Errorf("it was asked for %d texts", n)
	}
}

// One text that an embedder refuses keeps none of the others from their vectors.
func TestRefusedText(t *testing.T) {
	h := newHome(t)
	e := &topics{model: "picky@4", allow: func(_ context.Context, texts []string) error {
		if slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, "unspeakable") }) {
			return errors.New("it cannot be said")
		}
		return nil
	}}
	picky, _ := h.with(keeper.Config{Embedder: e})
	var records []memory.Record
	for i := range 300 {
		text := fmt.Sprintf("Fact %d.", i)
		if i == 77 {
			text = "What is unspeakable."
		}
		records = append(records, memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: text})
	}
	if _, _, err := picky.Write(t.Context(), "p", records); err != nil {
		t.Fatal(err)
	}
	picky.until(map[string]int{"picky@4": 299, "": 1})
	picky.fact("Bruno is a puppy.")
	picky.until(map[string]int{"picky@4": 300, "": 1})
	picky.found("canine", "Bruno is a puppy.")
	picky.found("unspeakable", "What is unspeakable.")
}

// Where an embedder is away a search goes on by words, and says so.
func TestEmbedderAway(t *testing.T) {
	h := newHome(t)
	away := true
	e := &topics{model: "away@4", allow: func(context.Context, []string) error {
		if away {
			return errors.New("nobody is there")
		}
		return nil
	}}
	other := keeper.New(keeper.Config{Store: h.store, Embedder: e, Local: true, Now: func() time.Time { return h.now }, Log: slog.New(slog.DiscardHandler)})
	away = false
	if _, _, err := other.Write(t.Context(), "p", []memory.Record{{Namespace: "/actors/ann", Strategy: memory.Semantic, Text: "Ann has a puppy."}}); err != nil {
		t.Fatal(err)
	}
	away = true
	found, err := other.Search(t.Context(), memory.Query{Project: "p", Namespaces: []string{"/actors/ann"}, Text: "puppy"})
	if err != nil || len(found.Hits) != 1 || found.WordsOnly != "nobody is there" {
		t.Errorf("%+v and %v", found, err)
	}
}
