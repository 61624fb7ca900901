package keeper_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
)

// judged is a home whose searches are reranked.
func (h *home) judged(r keeper.Reranking) *home {
	c := h.Config
	c.Reranking = &r
	return &home{T: h.T, Keeper: keeper.New(c), store: h.store, now: h.now}
}

// backwards is a reranker that likes the last best.
func backwards(_ context.Context, _ string, texts []string) ([]int, error) {
	order := make([]int, len(texts))
	for i := range order {
		order[i] = len(texts) - 1 - i
	}
	return order, nil
}

func (h *home) keys() memory.Query {
	h.Helper()
	for _, text := range []string{"The key is red.", "The key is in the red box.", "The key is in the box in the hall.", "Ann has a box of pens."} {
		h.fact(text)
	}
	return memory.Query{Text: "Which key is red?", Limit: 3}
}

// The best are reranked, as many as are to be, and the answer has what was asked
// for of them.
func TestReranked(t *testing.T) {
	onBoth(t, func(h *home) {
		q := h.keys()
		q.Limit = 10
		plain := h.ask(q)
		if len(plain) < 4 {
			h.Fatalf("found %q, which are too few for the test", plain)
		}
		q.Limit = 2
		var question string
		var shown []string
		j := h.judged(keeper.Reranking{Top: 3, Within: time.Minute, Rerank: func(ctx context.Context, q string, texts []string) ([]int, error) {
			question, shown = q, texts
			return backwards(ctx, q, texts)
		}})
		if got, want := j.ask(q), []string{plain[2], plain[1]}; !slices.Equal(got, want) {
			h.Errorf("of three the best two are %q, want %q", got, want)
		}
		if question != q.Text || len(shown) != 3 || !strings.Contains(shown[0], plain[0]) {
			h.Errorf("the reranker was asked %q of %q", question, shown)
		}
		q.Limit = 4
		if got, want := j.ask(q), []string{plain[2], plain[1], plain[0], plain[3]}; !slices.Equal(got, want) {
			h.Errorf("of four the first three change: %q, want %q", got, want)
		}
		q.Project, q.Namespaces = "p", []string{"/actors/ann"}
		found, err := j.Search(h.Context(), q)
		if err != nil || found.NotReranked != nil || !slices.IsSortedFunc(found.Hits, func(a, b memory.Hit) int { return int(1e6 * (b.Score - a.Score)) }) {
			h.Errorf("%v, not reranked: %v, scores of %+v", err, found.NotReranked, found.Hits)
		}
		if !strings.HasPrefix(found.Context, "[1] "+plain[2]) {
			h.Errorf("the context is %q", found.Context)
		}
	})
}

// A reranker that fails, talks nonsense or takes too long changes nothing, and the
// answer says so.
func TestNotReranked(t *testing.T) {
	h := newHome(t)
	q := h.keys()
	plain := h.ask(q)
	answer := func(order []int, err error) func(context.Context, string, []string) ([]int, error) {
		return func(context.Context, string, []string) ([]int, error) { return order, err }
	}
	for want, f := range map[string]func(context.Context, string, []string) ([]int, error){
		"it is away": answer(nil, errors.New("it is away")),
		"the reranker put 3 texts into the order [0 0 1]":  answer([]int{0, 0, 1}, nil),
		"the reranker put 3 texts into the order [0 1]":    answer([]int{0, 1}, nil),
		"the reranker put 3 texts into the order [0 1 -1]": answer([]int{0, 1, -1}, nil),
	} {
		var log strings.Builder
		c := h.Config
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Reranking = &keeper.Reranking{Top: 3, Within: time.Minute, Rerank: f}
		j := &home{T: t, Keeper: keeper.New(c), store: h.store, now: h.now}
		for range 2 {
			found, err := j.Search(t.Context(), memory.Query{Project: "p", Namespaces: []string{"/actors/ann"}, Text: q.Text, Limit: q.Limit})
			if err != nil || found.NotReranked == nil || found.NotReranked.Error() != want {
				t.Errorf("not reranked as %v, %v; want %q", found.NotReranked, err, want)
			}
			for i := range found.Hits {
				if found.Hits[i].Text != plain[i] {
					t.Errorf("%s: place %d is %q, want %q", want, i, found.Hits[i].Text, plain[i])
				}
			}
		}
		if n := strings.Count(log.String(), "could not be reranked"); n != 1 {
			t.Errorf("%s: it was said %d times within a minute: %s", want, n, log.String())
		}
	}
}

// A search gives up a reranker that takes longer than it may.
func TestRerankingIsGivenUp(t *testing.T) {
	h := newHome(t)
	q := h.keys()
	plain := h.ask(q)
	j := h.judged(keeper.Reranking{Top: 3, Within: time.Millisecond, Rerank: func(ctx context.Context, _ string, _ []string) ([]int, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}})
	found, err := j.Search(t.Context(), memory.Query{Project: "p", Namespaces: []string{"/actors/ann"}, Text: q.Text, Limit: q.Limit})
	if err != nil || !errors.Is(found.NotReranked, context.DeadlineExceeded) || !strings.Contains(found.NotReranked.Error(), "the reranker did not answer within 1ms") {
		t.Errorf("not reranked as %v, %v", found.NotReranked, err)
	}
	for i := range found.Hits {
		if found.Hits[i].Text != plain[i] {
			t.Errorf("place %d is %q, want %q", i, found.Hits[i].Text, plain[i])
		}
	}
}

// A caller who goes away while what was found is reranked says nothing of the
// reranker: nothing is warned of, and the next failure is.
func TestCallersWhoGoAway(t *testing.T) {
	h := newHome(t)
	text := h.keys().Text
	var log strings.Builder
	c := h.Config
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	c.Reranking = &keeper.Reranking{Top: 3, Within: time.Minute, Rerank: func(limited context.Context, _ string, _ []string) ([]int, error) {
		cancel()
		<-limited.Done()
		return nil, limited.Err()
	}}
	k := keeper.New(c)
	q := memory.Query{Project: "p", Namespaces: []string{"/actors/ann"}, Text: text}
	if _, err := k.Search(ctx, q); !errors.Is(err, context.Canceled) {
		t.Errorf("the search of a caller who is away ends with %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("it was said that %s", log.String())
	}
	k.Reranking.Rerank = func(context.Context, string, []string) ([]int, error) { return nil, errors.New("it is broken") }
	if found, err := k.Search(t.Context(), q); err != nil || found.NotReranked == nil || !strings.Contains(log.String(), "it is broken") {
		t.Errorf("not reranked as %v, %v; it was said that %q", found.NotReranked, err, log.String())
	}
}

// Words of tools and of others rise by no reranker.
func TestForeignWordsDoNotRise(t *testing.T) {
	h := newHome(t)
	for i, text := range []string{"The code of the door is one.", "The code of the door is two.", "The code of the door is three.", "The code of the door is four."} {
		r := memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: text}
		if i >= 2 {
			r.Origin = memory.OriginTool
		}
		h.keep(r)
	}
	q := memory.Query{Text: "What is the code of the door?"}
	plain := h.ask(q)
	foreign := func(text string) bool { return strings.HasSuffix(text, "three.") || strings.HasSuffix(text, "four.") }
	if len(plain) != 4 || foreign(plain[0]) || foreign(plain[1]) {
		t.Fatalf("without a reranker: %q", plain)
	}
	j := h.judged(keeper.Reranking{Top: 50, Within: time.Minute, Rerank: backwards})
	if got, want := j.ask(q), []string{plain[1], plain[0], plain[3], plain[2]}; !slices.Equal(got, want) {
		t.Errorf("reranked: %q, want %q", got, want)
	}
}
