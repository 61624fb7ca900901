package index_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory/index"
)

// asked is a search with what it finds when nothing else goes on.
type asked struct {
	spaces  []*index.Space
	plan    *index.Plan
	limit   int
	options index.Options
	want    []index.Candidate
}

// mixed are searches that need memory of every size: of small and large spaces, with
// and without vectors of several dimensions, and with all ways to candidates.
func mixed(t *testing.T) []asked {
	t.Helper()
	var corpora []*corpus
	var spaces []*index.Space
	for i, of := range []struct{ words, dims, records int }{{60, 16, 40}, {300, 100, 2100}, {200, 0, 300}, {1000, 37, 600}} {
		c, s := newCorpus(uint64(20+i), of.words, of.dims), index.New()
		apply(t, s, c.records(of.records)...)
		corpora, spaces = append(corpora, c), append(spaces, s)
	}
	r := rand.New(rand.NewPCG(3, 4))
	questions := make([]asked, 48)
	for i := range questions {
		q := &questions[i]
		q.plan, q.limit, q.options = corpora[i%len(corpora)].plan(1, 12), 1+r.IntN(60), index.Defaults()
		for _, s := range r.Perm(len(spaces))[:1+r.IntN(len(spaces))] {
			q.spaces = append(q.spaces, spaces[s])
		}
		if r.IntN(2) == 0 {
			q.options.Whole = 0
		}
		if r.IntN(2) == 0 {
			q.options.Exact, q.options.Sifted = 0, 50
		}
		q.want = search(t, q.plan, q.limit, q.options, q.spaces...)
	}
	return questions
}

// Searches work in memory that others have used. None finds anything else for that,
// whatever goes on beside it.
func TestSearchesTogether(t *testing.T) {
	t.Parallel()
	questions := mixed(t)
	var searching sync.WaitGroup
	for n := range 4 {
		order := rand.New(rand.NewPCG(5, uint64(n))).Perm(len(questions))
		searching.Go(func() {
			for _, i := range order {
				q := &questions[i]
				got, err := index.Search(context.Background(), q.spaces, q.plan, q.limit, q.options)
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(got, q.want) {
					t.Errorf("search %d finds otherwise beside others (-alone +together):\n%s", i, gocmp.Diff(q.want, got))
					return
				}
			}
		})
	}
	searching.Wait()
}
