package keeper_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

func (h *home) count(ids ...string) {
	h.Helper()
	h.Used("p", ids...)
	if err := h.CountUses(h.Context()); err != nil {
		h.Fatal(err)
	}
}

// Of records that match alike the one comes first that was used more, or later;
// one that matches better stays before it.
func TestUsesDecideBetweenEquals(t *testing.T) {
	onBoth(t, func(h *home) {
		const text = "Ann keeps the key in the red box."
		names := map[string]string{}
		write := func(name, text string) string {
			id := h.fact(text).ID
			names[id] = name
			return id
		}
		a, b, c := write("a", text), write("b", text), write("c", text)
		write("better", "The spare key of the cellar door is what Ann keeps in the red bag.")
		weak := write("weak", "Ann likes red.")
		check := func(when, want string, q memory.Query) {
			h.Helper()
			q.Project, q.Namespaces, q.Text = "p", []string{"/actors/ann"}, "Where does Ann keep the key of the cellar?"
			found, err := h.Search(h.Context(), q)
			if err != nil {
				h.Fatal(err)
			}
			var got []string
			for i := range found.Hits {
				got = append(got, names[found.Hits[i].ID])
				if i > 0 && found.Hits[i].Score > found.Hits[i-1].Score {
					h.Errorf("%s: the scores are not in order", when)
				}
			}
			if strings.Join(got, " ") != want {
				h.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		check("before any is used", "better a b c weak", memory.Query{})
		h.count(c, weak)
		h.count(c, weak, b)
		h.count(slices.Repeat([]string{weak}, 50)...)
		check("when c was used twice and b once", "better c b a weak", memory.Query{})
		check("the best two", "better c", memory.Query{Limit: 2})
		check("what was known before", "better a b c weak", memory.Query{KnownAt: h.now})
		h.now = h.now.Add(365 * 24 * time.Hour)
		h.count(a)
		check("a year later, when a was used once", "better a c b weak", memory.Query{})
	})
}

// What was used is no newer version, and a newer version was not used yet.
func TestUsesAreOfAVersion(t *testing.T) {
	h := newHome(t)
	a := h.fact("Ann lives in Lisbon.")
	h.count(a.ID)
	if got, err := h.Get(t.Context(), "p", a.ID); err != nil || got.Uses != 1 || !got.UsedAt.Equal(h.now) {
		t.Errorf("used %d times, the last time at %s; %v", got.Uses, got.UsedAt, err)
	}
	text := "Ann lives in Porto."
	newer := h.update(a, keeper.Change{Text: &text})
	if newer.Uses != 0 || !newer.UsedAt.IsZero() {
		t.Errorf("the newer version was used %d times", newer.Uses)
	}
}

// counter is a store that only counts uses.
type counter struct {
	store.Store
	counts func(ids []string)
}

func (c *counter) UseMemories(_ context.Context, _ string, uses []store.MemoryUse) error {
	var ids []string
	for _, u := range uses {
		ids = append(ids, u.ID)
	}
	c.counts(ids)
	return nil
}

// What is noted while uses are counted is counted too, when the process is to end in
// the meantime.
func TestUsesAreCountedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var k *keeper.Keeper
		var counted []string
		c := &counter{counts: func(ids []string) {
			if counted = append(counted, ids...); len(counted) == 1 {
				cancel()
				k.Used("p", "second")
			}
		}}
		k = keeper.New(keeper.Config{Store: c, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		k.Used("p", "first")
		k.Run(ctx)
		if want := []string{"first", "second"}; !slices.Equal(counted, want) {
			t.Errorf("the uses of %q were counted, want those of %q", counted, want)
		}
	})
}
