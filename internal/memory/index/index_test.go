package index_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed/static"
	"github.com/stayd/stayd/internal/memory/index"
	"github.com/stayd/stayd/internal/memory/language"
)

// turns makes records of the texts, numbered from 1.
func turns(texts ...string) []memory.Record {
	out := make([]memory.Record, len(texts))
	for i, text := range texts {
		n := int64(i + 1)
		out[i] = memory.Record{
			Num: n, Change: n, Namespace: "/actors/ada/turns", Strategy: memory.Turn, Actor: "ada", Text: text,
			Origin: memory.OriginUser, ValidFrom: epoch.Add(time.Duration(i) * time.Hour),
			Source: memory.Source{SessionID: "s1", Position: n},
		}
	}
	return out
}

func TestSearchFindsByVector(t *testing.T) {
	t.Parallel()
	s := index.New()
	records := turns("one", "two", "three", "four")
	for i, v := range [][]float64{{1, 0, 0}, {0.6, 0.8, 0}, {0, 1, 0}} {
		records[i].Vector, records[i].VectorModel = encode(v), "m"
	}
	records[3].Vector, records[3].VectorModel = encode([]float64{1, 0, 0}), "another"
	apply(t, s, records...)
	p := ask("three")
	p.Vector, p.VectorModel = encode([]float64{1, 0.1, 0}), "m"
	o := index.Defaults()
	o.Weights = index.Weights{Vector: 1}
	for _, whole := range []int{0, 2000} {
		o.Whole = whole
		if got := nums(search(t, p, 10, o, s)); !slices.Equal(got[:2], []int64{1, 2}) {
			t.Errorf("by vector, up to %d as a whole: %v", whole, got)
		}
		if got := search(t, p, 1, o, s)[0].Features.Vector; got < 0.99 || got > 1 {
			t.Errorf("the cosine of nearly the same vector is %v", got)
		}
	}
	if got := nums(search(t, p, 10, index.Defaults(), s)); !slices.Contains(got[:2], 3) {
		t.Errorf("by words and vector: %v", got)
	}
	p.Vector = []byte{1, 2}
	if _, err := index.Search(context.Background(), []*index.Space{s}, p, 1, o); err == nil {
		t.Error("a vector of two bytes is no error")
	}
}

func TestSearchFilters(t *testing.T) {
	t.Parallel()
	s := index.New()
	records := turns("tea", "tea", "tea", "tea", "tea", "tea")
	records[0].Namespace = "/actors/ada/facts"
	records[1].Strategy = memory.Semantic
	records[2].Actor = "bela"
	records[3].Origin = memory.OriginTool
	records[4].Source.SessionID = "s2"
	records[5].SupersededAt = epoch
	records[5].ValidFrom = time.Time{}
	apply(t, s, records...)
	for name, c := range map[string]struct {
		change func(p *index.Plan)
		want   []int64
	}{
		"nothing":        {func(*index.Plan) {}, []int64{1, 2, 3, 4, 5}},
		"superseded":     {func(p *index.Plan) { p.Superseded = true }, []int64{1, 2, 3, 4, 5, 6}},
		"namespace":      {func(p *index.Plan) { p.Namespaces = []string{"/actors/ada/facts"} }, []int64{1}},
		"two namespaces": {func(p *index.Plan) { p.Namespaces = []string{"/x", "/actors/ada"} }, []int64{1, 2, 3, 4, 5}},
		"half a segment": {func(p *index.Plan) { p.Namespaces = []string{"/actors/a"} }, []int64{}},
		"all namespaces": {func(p *index.Plan) { p.Namespaces = []string{"/"} }, []int64{1, 2, 3, 4, 5}},
		"strategy":       {func(p *index.Plan) { p.Filter.Strategies = []memory.Strategy{memory.Semantic, memory.Core} }, []int64{2}},
		"actor":          {func(p *index.Plan) { p.Filter.Actor = "bela" }, []int64{3}},
		"foreign":        {func(p *index.Plan) { p.Filter.ExcludeForeign = true }, []int64{1, 2, 3, 5}},
		"session":        {func(p *index.Plan) { p.Filter.SessionID = "s2" }, []int64{5}},
		"since":          {func(p *index.Plan) { p.Filter.Since = epoch.Add(3 * time.Hour) }, []int64{4, 5}},
		"until":          {func(p *index.Plan) { p.Filter.Until = epoch.Add(time.Hour); p.Superseded = true }, []int64{1, 6}},
		"several": {func(p *index.Plan) {
			p.Filter.SessionID, p.Filter.Since, p.Filter.Actor = "s1", epoch.Add(time.Hour), "ada"
		}, []int64{2, 4}},
	} {
		p := ask("tea")
		c.change(p)
		got := nums(search(t, p, 10, index.Defaults(), s))
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: found %v, want %v", name, got, c.want)
		}
	}
}

func TestApplyReplaces(t *testing.T) {
	t.Parallel()
	s := index.New()
	records := turns("green tea", "black tea", "coffee")
	apply(t, s, records...)
	p := ask("tea")
	p.Vector, p.VectorModel = encode([]float64{1, 0}), "m"
	changed := records[1]
	changed.Change, changed.Vector, changed.VectorModel = 4, encode([]float64{1, 0}), "m"
	apply(t, s, changed)
	if got := nums(search(t, p, 10, index.Defaults(), s)); !slices.Equal(got, []int64{2, 1, 3}) {
		t.Errorf("with a vector for 2: %v", got)
	}
	changed.Change, changed.SupersededAt = 5, epoch
	apply(t, s, changed)
	if got := nums(search(t, p, 10, index.Defaults(), s)); !slices.Equal(got, []int64{1, 3}) {
		t.Errorf("with 2 superseded: %v", got)
	}
	before := s.Stats()
	changed.Change, changed.Uses, changed.UsedAt = 6, 3, epoch
	apply(t, s, changed)
	if got := s.Stats(); got != before || s.Change() != 6 {
		t.Errorf("a use changed the index from %+v to %+v, at change %d", before, got, s.Change())
	}
	apply(t, s, records...)
	if got := s.Stats(); got != before {
		t.Errorf("changes that were seen before changed the index to %+v", got)
	}
	if before.Records != 3 || before.Replaced != 2 {
		t.Errorf("three records and two that are replaced are %+v", before)
	}
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	good := turns("tea", "coffee")
	for name, change := range map[string]func(r []memory.Record){
		"order":     func(r []memory.Record) { r[0].Change = 3 },
		"no number": func(r []memory.Record) { r[1].Num = 0 },
		"no change": func(r []memory.Record) { r[0].Change = 0 },
		"vector":    func(r []memory.Record) { r[1].Vector = []byte("abc") },
	} {
		s := index.New()
		bad := slices.Clone(good)
		change(bad)
		if err := s.Apply(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
		if s.Change() != 0 || s.Stats() != (index.Stats{}) {
			t.Errorf("%s: something was applied", name)
		}
	}
}

// exhaustive is BM25 over all records as the textbook has it, with each term
// worth as much as it is rare in English, too.
func exhaustive(t *testing.T, records []memory.Record, p *index.Plan, o index.Options) map[int64]float64 {
	t.Helper()
	words, err := static.Words()
	if err != nil {
		t.Fatal(err)
	}
	docs, df, total := map[int64]map[string]int{}, map[string]int{}, 0
	lengths := map[int64]int{}
	for _, r := range records {
		freqs := map[string]int{}
		for _, term := range language.Analyse(r.Text).Terms {
			freqs[term]++
			lengths[r.Num]++
			total++
		}
		for term := range freqs {
			df[term]++
		}
		docs[r.Num] = freqs
	}
	scores := map[int64]float64{}
	average := float64(total) / float64(len(docs))
	terms := slices.Clone(p.Text.Terms)
	slices.Sort(terms)
	for _, term := range slices.Compact(terms) {
		rank := 100_000.0
		if w, ok := words.Stem(term); ok {
			rank = min(words.Rank(w), rank)
		}
		n := float64(df[term])
		rarity := math.Log(1+(float64(len(docs))-n+0.5)/(n+0.5)) * math.Log(10+rank) / math.Log(100_010)
		for num, freqs := range docs {
			if f := float64(min(freqs[term], 8)); f > 0 {
				scores[num] += rarity * f * (o.K1 + 1) / (f + o.K1*(1-o.B+o.B*float64(lengths[num])/average))
			}
		}
	}
	return scores
}

// The candidates of a large memory are those with the best words and the nearest
// vectors of all.
func TestCandidatesAreTheBestOfAll(t *testing.T) {
	t.Parallel()
	c := newCorpus(1, 400, 24)
	records := c.records(9000)
	for i := range records {
		records[i].Source = memory.Source{} // nothing stands beside what is found
	}
	s := index.New()
	apply(t, s, records[:5000]...)
	apply(t, s, records[5000:]...)
	const n = 50
	for i := range 40 {
		p := c.plan(1, 12)
		o := index.Options{K1: 1.2, B: 0.75, Pool: n, Exact: 10_000}
		if i%2 == 1 {
			o.K1, o.B = 0.6, 0.3
		}
		words := *p
		words.Vector = nil
		scores := exhaustive(t, records, p, o)
		best := slices.Sorted(maps.Values(scores))
		slices.Reverse(best)
		found := search(t, &words, n, o, s)
		if len(found) != min(n, len(best)) {
			t.Fatalf("found %d of %d", len(found), len(best))
		}
		for _, f := range found {
			if scores[f.Num] < best[len(found)-1]-0.001 {
				t.Fatalf("query %d: number %d has %v, and the best %d have %v and more", i, f.Num, scores[f.Num], len(found), best[len(found)-1])
			}
		}

		byVector := index.Plan{Vector: p.Vector, VectorModel: model}
		nearest := slices.Clone(records)
		slices.SortStableFunc(nearest, func(a, b memory.Record) int {
			return cmp.Compare(product(b.Vector, p.Vector), product(a.Vector, p.Vector))
		})
		want := []int64{}
		for _, r := range nearest[:n] {
			want = append(want, r.Num)
		}
		got := nums(search(t, &byVector, n, o, s))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("query %d: the nearest vectors are %v, want %v", i, got, want)
		}
	}
}

func TestSearchSiftsVectors(t *testing.T) {
	t.Parallel()
	c := newCorpus(8, 50, 100)
	records := c.records(5000)
	s := index.New()
	apply(t, s, records...)
	o := index.Options{Pool: 10, Exact: 4999, Sifted: 100, Weights: index.Weights{Vector: 1}}
	for i := range 50 {
		// What is asked for is like the record as far as half of it is noise.
		v, noise := make([]float64, 100), unit(c.r, 100)
		for d := range v {
			v[d] = float64(int8(records[i].Vector[4+d])) + 127*2.5*noise[d]
		}
		p := &index.Plan{Vector: encode(v), VectorModel: model}
		found := search(t, p, 10, o, s)
		if found[0].Num != int64(i+1) {
			t.Errorf("record %d: found %v", i+1, nums(found))
		}
	}
}

func TestLongTexts(t *testing.T) {
	t.Parallel()
	c := newCorpus(9, 5000, 0)
	records := turns(c.text(40_000, 40_000), "zebra "+c.text(70, 70), "zebra")
	s := index.New()
	apply(t, s, records...)
	p := ask(c.text(20_000, 20_000) + " zebra")
	if got := nums(search(t, p, 10, index.Defaults(), s)); !slices.Contains(got, 1) {
		t.Errorf("found %v", got)
	}
	if got := nums(search(t, ask("zebra"), 10, index.Defaults(), s)); !slices.Contains(got[:2], 3) || slices.Contains(got[:2], 1) {
		t.Errorf("found %v", got)
	}
}

// layout puts the history of records into a space in batches of random sizes,
// with pieces sealed, compacted, stored and loaded again in between.
func layout(t *rapid.T, history []memory.Record) *index.Space {
	s, whole := index.New(), history
	var stored []*index.Piece
	keep := func(p *index.Piece, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			return
		}
		stored = slices.DeleteFunc(stored, func(q *index.Piece) bool { return q.From >= p.From && q.To <= p.To })
		stored = append(stored, p)
		s.Stored(p)
	}
	for len(history) > 0 {
		n := rapid.IntRange(1, min(len(history), 60)).Draw(t, "batch")
		if err := s.Apply(history[:n]); err != nil {
			t.Fatal(err)
		}
		switch rapid.IntRange(0, 5).Draw(t, "then") {
		case 0:
			keep(s.Seal(1))
		case 1:
			keep(s.Compact())
		case 2:
			s = index.New()
			for _, p := range stored {
				if err := s.Load(p.Data); err != nil {
					t.Fatal(err)
				}
			}
			// What is in no piece is read again.
			if err := s.Apply(whole[:len(whole)-len(history)+n]); err != nil {
				t.Fatal(err)
			}
		}
		history = history[n:]
	}
	return s
}

func TestLayoutDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCorpus(rapid.Uint64().Draw(t, "seed"), 60, 16)
		now := c.records(rapid.IntRange(1, 200).Draw(t, "records"))
		history := slices.Clone(now)
		for i := range history {
			if i%3 == 0 {
				history[i].Vector, history[i].VectorModel = nil, ""
			}
		}
		for range rapid.IntRange(0, 100).Draw(t, "changes") {
			r := &now[rapid.IntRange(0, len(now)-1).Draw(t, "changed")]
			r.Change = int64(len(history) + 1)
			if rapid.Bool().Draw(t, "superseded") {
				r.SupersededAt = epoch
			}
			history = append(history, *r)
		}
		latest := map[int64]memory.Record{}
		for _, r := range history {
			latest[r.Num] = r
		}
		final := []memory.Record{}
		for _, r := range latest {
			final = append(final, r)
		}
		slices.SortFunc(final, func(a, b memory.Record) int { return int(a.Change - b.Change) })
		whole := index.New()
		if err := whole.Apply(final); err != nil {
			t.Fatal(err)
		}
		pieces := layout(t, history)
		other := index.New()
		if err := other.Apply(final[:len(final)/2]); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			p := c.plan(1, 8)
			p.Superseded = c.r.IntN(3) == 0
			if c.r.IntN(3) == 0 {
				p.Filter.SessionID = "session-1"
			}
			o := index.Defaults()
			o.Pool = 20
			if c.r.IntN(2) == 0 {
				o.Exact, o.Sifted = 0, 20
			}
			if c.r.IntN(2) == 0 {
				o.Whole = 0
			}
			want, err := index.Search(context.Background(), []*index.Space{whole, other}, p, 30, o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := index.Search(context.Background(), []*index.Space{pieces, other}, p, 30, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("in pieces %+v the search finds otherwise (-whole +pieces):\n%s", pieces.Stats(), diff)
			}
		}
	})
}

func TestCompact(t *testing.T) {
	t.Parallel()
	c := newCorpus(4, 200, 8)
	records := c.records(160)
	s := index.New()
	for i := range 8 {
		apply(t, s, records[20*i:20*i+20]...)
		p, err := s.Seal(1)
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		if again, err := s.Compact(); again != nil || err != nil {
			t.Fatalf("after %d pieces: %v, %v", i+1, again, err)
		}
		s.Stored(p)
	}
	p, err := s.Compact()
	if err != nil || p == nil || p.From != 1 || p.To != 160 {
		t.Fatalf("eight pieces of a size: %+v, %v", p, err)
	}
	s.Stored(p)
	for i := range records {
		records[i].Change, records[i].SupersededAt = int64(161+i), epoch
	}
	apply(t, s, records...)
	if p, err = s.Seal(1); err != nil {
		t.Fatal(err)
	}
	s.Stored(p)
	if p, err = s.Compact(); err != nil || p == nil || p.To != 320 {
		t.Fatalf("with half of it replaced: %+v, %v", p, err)
	}
	if st := s.Stats(); st.Records != 160 || st.Replaced != 0 || st.Pieces != 1 {
		t.Errorf("compacted: %+v", st)
	}
}

func TestSearchEnds(t *testing.T) {
	t.Parallel()
	s := index.New()
	apply(t, s, turns("tea")...)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := index.Search(ctx, []*index.Space{s}, ask("tea"), 1, index.Defaults()); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestSearchWhileApplying(t *testing.T) {
	t.Parallel()
	c := newCorpus(5, 300, 16)
	records := c.records(3000)
	s := index.New()
	plans := []*index.Plan{c.plan(2, 6), c.plan(2, 6), c.plan(2, 6)}
	failed := make(chan error, 4)
	written := make(chan struct{})
	for i := range 3 {
		go func() {
			for {
				_, err := index.Search(context.Background(), []*index.Space{s}, plans[i], 10, index.Defaults())
				select {
				case <-written:
					failed <- err
					return
				default:
					if err != nil {
						failed <- err
						return
					}
				}
			}
		}()
	}
	go func() {
		for {
			for _, rewrite := range []func() (*index.Piece, error){func() (*index.Piece, error) { return s.Seal(200) }, s.Compact} {
				p, err := rewrite()
				if err != nil {
					failed <- err
					return
				}
				if p != nil {
					s.Stored(p)
				}
			}
			select {
			case <-written:
				failed <- nil
				return
			default:
			}
		}
	}()
	r := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < len(records); {
		n := min(1+r.IntN(60), len(records)-at)
		apply(t, s, records[at:at+n]...)
		at += n
	}
	close(written)
	for range 4 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	whole := index.New()
	apply(t, whole, records...)
	for _, p := range plans {
		if diff := gocmp.Diff(search(t, p, 20, index.Defaults(), whole), search(t, p, 20, index.Defaults(), s)); diff != "" {
			t.Errorf("the search finds otherwise:\n%s", diff)
		}
	}
	if st := s.Stats(); st.Records != 3000 {
		t.Errorf("%+v", st)
	}
}
