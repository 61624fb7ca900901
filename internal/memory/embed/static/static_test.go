package static_test

import (
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/embed/embedtest"
	"github.com/stayd/stayd/internal/memory/embed/static"
)

func open(t testing.TB) *static.Embedder {
	t.Helper()
	e, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSuite(t *testing.T) {
	embedtest.Run(t, func(t *testing.T) embed.Embedder { return open(t) })
}

func TestModel(t *testing.T) {
	if got := open(t).Model(); got != "static/1@100" {
		t.Errorf("it is %q", got)
	}
}

func dot(a, b []float32) float32 {
	s := float32(0)
	for i, x := range a {
		s += x * b[i]
	}
	return s
}

func TestTextsThatMeanAlikeAreNear(t *testing.T) {
	e := open(t)
	for _, tt := range []struct{ text, near, far string }{
		{"The kitten slept on the rug", "A cat rested on a carpet", "The desk was in the study"},
		{"What instrument does she play?", "She practises the violin", "She bakes bread"},
		{"Our doctor prescribed pills", "medicine from the physician", "a car with new tyres"},
		{"He adopted a puppy", "They took in a dog", "They took in the washing"},
	} {
		v, err := e.Embed(t.Context(), []string{tt.text, tt.near, tt.far})
		if err != nil {
			t.Fatal(err)
		}
		if near, far := dot(v[0], v[1]), dot(v[0], v[2]); near < far+0.1 {
			t.Errorf("%q: %v to %q and %v to %q", tt.text, near, tt.near, far, tt.far)
		}
	}
}

func TestUnknownWordsMatchTheirSpelling(t *testing.T) {
	e := open(t)
	v, err := e.Embed(t.Context(), []string{"Zyxorbia", "zyxorbia's", "Zyxorbian", "Quenthal", "東京都", "京都"})
	if err != nil {
		t.Fatal(err)
	}
	if d := dot(v[0], v[1]); d < 0.999 {
		t.Errorf("a name and its possessive: %v", d)
	}
	if d := dot(v[0], v[2]); d < 0.4 {
		t.Errorf("a name and one nearly alike: %v", d)
	}
	if d := dot(v[0], v[3]); d > 0.3 {
		t.Errorf("a name and another: %v", d)
	}
	if d := dot(v[4], v[5]); d < 0.5 {
		t.Errorf("two words with a pair of characters in common: %v", d)
	}
}

func TestNothingToSay(t *testing.T) {
	v, err := open(t).Embed(t.Context(), []string{"", "is it the", "?!"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range v {
		if diff := cmp.Diff(make([]float32, 100), v[i]); diff != "" {
			t.Errorf("text %d: %s", i, diff)
		}
	}
}

func TestWords(t *testing.T) {
	e := open(t)
	word := func(v []float32, ok bool) []float32 {
		t.Helper()
		if !ok {
			t.Fatal("a word is not known")
		}
		return v
	}
	guitar, violin, tax := word(e.Word("guitar")), word(e.Word("violin")), word(e.Word("tax"))
	if near, far := dot(guitar, violin), dot(guitar, tax); near < 0.5 || far > 0.2 {
		t.Errorf("guitar is %v to violin and %v to tax", near, far)
	}
	for stem, of := range map[string]string{"agenc": "agency", "carolin": "caroline", "organ": "organization", "run": "run"} {
		if d := dot(word(e.Stem(stem)), word(e.Word(of))); d < 0.999 {
			t.Errorf("the stem %q is %v to %q", stem, d, of)
		}
	}
	for _, unknown := range []string{"", "zyxorbia", "Guitar", "the", "東京"} {
		if _, ok := e.Word(unknown); ok {
			t.Errorf("%q is known", unknown)
		}
	}
}

// The vectors are open at once and take little beside the file.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e := open(t)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("opening takes %d bytes", n)
	}
	runtime.KeepAlive(e)
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		open(b)
	}
}

func BenchmarkEmbed(b *testing.B) {
	e := open(b)
	text := []string{"I went to a support group yesterday, and the talk about adoption agencies was really powerful, don't you think?"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Embed(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWord(b *testing.B) {
	e := open(b)
	b.ReportAllocs()
	for b.Loop() {
		e.Word("guitar")
	}
}
