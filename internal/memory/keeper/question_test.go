package keeper_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/keeper"
)

// said is a slog.Handler that notes what is said, with the model that it is said of.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (*said) Enabled(context.Context, slog.Level) bool { return true }

func (s *said) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.Key + "=" + a.Value.String()
		return true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
	return nil
}

func (s *said) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s *said) WithGroup(string) slog.Handler { return s }

// expect wants these lines to have been said since the last time.
func (s *said) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.lines, want) {
		t.Errorf("%s: it was said %q, want %q", when, s.lines, want)
	}
	s.lines = nil
}

// asked is a keeper of records with vectors of the model, which says what it says to
// the log.
func (h *home) asked(log *said, questions ...*topics) *keeper.Keeper {
	h.Helper()
	c := keeper.Config{Store: h.store, Local: true, Now: func() time.Time { return h.now }, Log: slog.New(log)}
	for _, e := range questions {
		c.Embedder = &topics{model: e.model}
		if _, _, err := keeper.New(c).Write(h.Context(), "p", []memory.Record{{Namespace: "/actors/ann", Strategy: memory.Semantic, Text: "Ann has a puppy."}}); err != nil {
			h.Fatal(err)
		}
		c.Questions = append(c.Questions, embed.Embedder(e))
	}
	return keeper.New(c)
}

func puppy() memory.Query {
	return memory.Query{Project: "p", Namespaces: []string{"/actors/ann"}, Text: "puppy"}
}

const (
	failsA = "WARN a question is not searched by its vector model=a@4 error=nobody is there"
	worksA = "INFO questions are searched by their vectors again model=a@4"
	failsB = "WARN a question is not searched by its vector model=b@4 error=it is full"
	worksB = "INFO questions are searched by their vectors again model=b@4"
)

// That an embedder fails is said once, however many ask, until it works again, which
// is said too. One that does now this and now that is not spoken of all the time, and
// what is said of one model keeps nothing from being said of another.
func TestFailingEmbedderIsSaidOnce(t *testing.T) {
	h := newHome(t)
	failing := map[string]error{}
	allow := func(model string) func(context.Context, []string) error {
		return func(context.Context, []string) error { return failing[model] }
	}
	log := &said{}
	k := h.asked(log, &topics{model: "a@4", allow: allow("a")}, &topics{model: "b@4", allow: allow("b")})
	ask := func(n int) {
		t.Helper()
		together(n, func(int) {
			if _, err := k.Search(t.Context(), puppy()); err != nil {
				t.Error(err)
			}
		})
	}
	fail := func(model string, err error) {
		failing[model] = err
		ask(1)
	}
	away, full := errors.New("nobody is there"), errors.New("it is full")

	ask(3)
	log.expect(t, "while both work")
	fail("a", away)
	ask(200)
	log.expect(t, "when one fails", failsA)
	h.now = h.now.Add(48 * time.Hour)
	ask(50)
	log.expect(t, "two days later")
	fail("b", full)
	ask(50)
	log.expect(t, "when the other fails too", failsB)
	fail("a", nil)
	ask(50)
	log.expect(t, "when one works again", worksA)
	fail("b", nil)
	ask(50)
	log.expect(t, "when the other does", worksB)

	for range 100 {
		h.now = h.now.Add(time.Second)
		fail("a", away)
		fail("a", nil)
	}
	log.expect(t, "every other time, for 100 seconds", failsA, worksA, failsA, worksA)
	other := h.asked(log, &topics{model: "a@4", allow: func(context.Context, []string) error { return away }})
	if _, err := other.Search(t.Context(), puppy()); err != nil {
		t.Error(err)
	}
	log.expect(t, "of another keeper", failsA)
}

// A caller who goes away while the vector of the question is made says nothing of the
// embedder, neither that it fails nor that it works.
func TestCallersWhoDoNotWaitForTheVector(t *testing.T) {
	h := newHome(t)
	log := &said{}
	var leave context.CancelFunc
	e := &topics{model: "a@4", allow: func(ctx context.Context, _ []string) error {
		if leave != nil {
			leave()
			<-ctx.Done()
			return ctx.Err()
		}
		return errors.New("nobody is there")
	}}
	k := h.asked(log, e)
	goAway := func() {
		t.Helper()
		var ctx context.Context
		ctx, leave = context.WithCancel(t.Context())
		if _, err := k.Search(ctx, puppy()); !errors.Is(err, context.Canceled) {
			t.Errorf("the search of a caller who is away ends with %v", err)
		}
		leave = nil
	}
	goAway()
	log.expect(t, "of a caller who went away")
	found, err := k.Search(t.Context(), puppy())
	if err != nil || len(found.Hits) != 1 || found.WordsOnly != "nobody is there" {
		t.Errorf("found %+v, %v", found, err)
	}
	log.expect(t, "when it fails", failsA)
	goAway()
	if _, err := k.Search(t.Context(), puppy()); err != nil {
		t.Error(err)
	}
	log.expect(t, "after another caller who went away")
}
