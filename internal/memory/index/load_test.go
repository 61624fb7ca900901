package index_test

import (
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/index"
)

func TestSealAndLoad(t *testing.T) {
	t.Parallel()
	c := newCorpus(3, 200, 8)
	records := c.records(300)
	s := index.New()
	apply(t, s, records[:100]...)
	if p, err := s.Seal(101); p != nil || err != nil {
		t.Fatalf("sealed %v, %v with too few documents", p, err)
	}
	first, err := s.Seal(100)
	if err != nil || first.From != 1 || first.To != 100 {
		t.Fatalf("sealed %+v, %v", first, err)
	}
	if s.Stats().Unstored != 100 {
		t.Error("a piece is not stored before Stored")
	}
	s.Stored(first)
	if s.Stats().Unstored != 0 {
		t.Error("a piece is not stored after Stored")
	}
	apply(t, s, records[100:]...)
	second, err := s.Seal(1)
	if err != nil || second.From != 101 || second.To != 300 {
		t.Fatalf("sealed %+v, %v", second, err)
	}
	s.Stored(second)
	again := index.New()
	if err := again.Load(second.Data); err != nil {
		t.Fatal(err)
	}
	again = index.New()
	for _, p := range []*index.Piece{first, second} {
		if err := again.Load(slices.Clone(p.Data)); err != nil {
			t.Fatal(err)
		}
	}
	if again.Change() != 300 {
		t.Errorf("the change is %d", again.Change())
	}
	if err := again.Load(first.Data); err == nil {
		t.Error("a piece was loaded twice")
	}
	for range 20 {
		p := c.plan(1, 8)
		want, got := search(t, p, 20, index.Defaults(), s), search(t, p, 20, index.Defaults(), again)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("loaded, the search finds otherwise:\n%s", diff)
		}
	}
}

func FuzzLoad(f *testing.F) {
	c := newCorpus(6, 50, 8)
	for _, n := range []int{1, 10, 200} {
		s := index.New()
		apply(f, s, c.records(n)...)
		p, err := s.Seal(1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p.Data, uint32(0), byte(0), false)
		f.Add(p.Data, uint32(500), byte(3), true)
	}
	plan := c.plan(3, 8)
	f.Fuzz(func(t *testing.T, data []byte, at uint32, with byte, sum bool) {
		data = slices.Clone(data)
		if len(data) > 4 {
			data[int(at)%len(data)] ^= with
			if sum {
				// So that what lies behind the checksum meets bad bytes, too.
				resum(data)
			}
		}
		use(t, data, plan, c.record(1))
	})
}

// use loads the bytes, and where they are a piece, searches and merges it.
func use(t *testing.T, data []byte, p *index.Plan, r memory.Record) {
	t.Helper()
	s := index.New()
	if err := s.Load(data); err != nil {
		return
	}
	all, exact, sifted := index.Defaults(), index.Defaults(), index.Defaults()
	exact.Whole, sifted.Whole, sifted.Exact, sifted.Sifted = 0, 0, 0, 20
	for _, o := range []index.Options{all, exact, sifted} {
		search(t, p, 10, o, s)
	}
	piece := &index.Piece{From: 1, To: s.Change(), Data: data}
	if r.Change = s.Change() + 1; r.Change > 0 {
		apply(t, s, r)
	}
	s.Stored(piece)
	for _, rewrite := range []func() (*index.Piece, error){func() (*index.Piece, error) { return s.Seal(1) }, s.Compact} {
		if _, err := rewrite(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoadSurvivesEveryByte(t *testing.T) {
	t.Parallel()
	c := newCorpus(7, 50, 8)
	records := c.records(20)
	records[3].Vector, records[4].SupersededAt = nil, epoch
	s := index.New()
	apply(t, s, records...)
	records[5].Change, records[5].SupersededAt = 21, epoch
	apply(t, s, records[5])
	p, err := s.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	plan := c.plan(3, 8)
	for i := range p.Data {
		for _, with := range []byte{0x01, 0x80, 0xff} {
			data := slices.Clone(p.Data)
			data[i] ^= with
			resum(data)
			use(t, data, plan, records[0])
		}
	}
}

// Lists of many documents have directories, which are believed of what may be left
// out: what they say can be wrong, too.
func TestLoadSurvivesBytesOfLongLists(t *testing.T) {
	t.Parallel()
	c := newCorpus(7, 5, 0)
	s := index.New()
	apply(t, s, c.records(300)...)
	p, err := s.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	plan, r := c.plan(3, 8), c.record(1)
	for range 2000 {
		data := slices.Clone(p.Data)
		data[c.r.IntN(len(data))] ^= 1 << c.r.IntN(8)
		resum(data)
		use(t, data, plan, r)
	}
}

func TestLoadRefusesEveryFlippedByte(t *testing.T) {
	t.Parallel()
	s := index.New()
	apply(t, s, newCorpus(7, 50, 8).records(30)...)
	p, err := s.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Data {
		data := slices.Clone(p.Data)
		data[i] ^= 0x10
		if err := index.New().Load(data); err == nil {
			t.Fatalf("byte %d was changed and nothing was said", i)
		}
		if err := index.New().Load(p.Data[:i]); err == nil {
			t.Fatalf("the piece was cut at %d and nothing was said", i)
		}
	}
}
