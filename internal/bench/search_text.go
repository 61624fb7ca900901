package bench

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/memory/embed/static"
)

const (
	// The words of a text are as frequent as the law of Zipf and Mandelbrot has it.
	zipfExponent = 1.05
	zipfShift    = 2.7
	// commonWords are those that a question does not have from the text that it is
	// about: the most frequent ones.
	commonWords = 200
)

// speech makes texts of English words. The same number makes the same text.
type speech struct {
	words []string // the most frequent first
	rank  map[string]int
}

func newSpeech(e *static.Embedder) *speech {
	v := e.Words()
	type word struct {
		text string
		rank float64
	}
	list := make([]word, 0, v.Words())
	for i, text := range v.All() {
		list = append(list, word{text, v.Rank(i)})
	}
	slices.SortFunc(list, func(a, b word) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.text, b.text)) })
	s := &speech{rank: make(map[string]int, len(list))}
	for i, w := range list {
		s.words = append(s.words, w.text)
		s.rank[w.text] = i
	}
	return s
}

// random returns the source of what is made of a number.
func random(kind, number int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(kind), uint64(number))) //nolint:gosec // made text needs no secrecy
}

// add appends n words.
func (s *speech) add(words []string, r *rand.Rand, n int) []string {
	z := rand.NewZipf(r, zipfExponent, zipfShift, uint64(len(s.words)-1))
	for range n {
		words = append(words, s.words[z.Uint64()])
	}
	return words
}

// text is that of the record with the number: 6 to 30 words.
func (s *speech) text(number int) []string {
	r := random(1, number)
	return s.add(nil, r, 6+r.IntN(25))
}

// question asks for what the record with the number says: some of its words, out
// of their order, among others.
func (s *speech) question(number int) string {
	r := random(2, number)
	text := s.text(number)
	r.Shuffle(len(text), func(i, j int) { text[i], text[j] = text[j], text[i] })
	var words []string
	for _, w := range text {
		if s.rank[w] >= commonWords && !slices.Contains(words, w) && len(words) < 4 {
			words = append(words, w)
		}
	}
	words = s.add(words, r, 4)
	r.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	return strings.Join(words, " ") + "?"
}
