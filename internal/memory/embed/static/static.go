// Package static is the embedder that needs no key and no network: a text's
// vector is the mean of those of its words, weighted by smooth inverse frequency
// (Arora, Liang and Ma, A Simple but Tough-to-Beat Baseline for Sentence
// Embeddings, 2017). It knows no order of words and no context; it is for finding
// what is said in other words beside a lexical search.
//
// The vectors of 100,000 English words are in the binary (words.bin, see
// words.LICENSE and the program in generate). A word that is not among them has a
// vector made of its spelling, so that a rare name, or a text in another language,
// still matches itself and what is written nearly alike.
package static

import (
	"context"
	_ "embed" // words.bin
	"fmt"
	"sync"

	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
	"github.com/stayd/stayd/internal/memory/language"
)

//go:embed words.bin
var words []byte

// version is that of the vectors: another one makes others of the same text.
const version = 1

// rareLength is how long the vector of a rare word is, on the average.
const rareLength = 5

// Embedder is an embed.Embedder.
type Embedder struct {
	words *vocabulary.Vocabulary
	model string
}

var _ embed.Embedder = (*Embedder)(nil)

// opened are the words in the binary, which never change.
var opened = sync.OnceValues(func() (*vocabulary.Vocabulary, error) {
	v, err := vocabulary.Open(words)
	if err != nil {
		return nil, fmt.Errorf("static vectors in the binary: %w", err)
	}
	return v, nil
})

// Words returns the words in the binary and their vectors.
func Words() (*vocabulary.Vocabulary, error) { return opened() }

// New opens the vectors in the binary. It takes well under a millisecond and
// little memory, as the words are read where they lie.
func New() (*Embedder, error) {
	v, err := Words()
	if err != nil {
		return nil, err
	}
	return &Embedder{words: v, model: fmt.Sprintf("static/%d@%d", version, v.Dimension())}, nil
}

// Words returns the words and their vectors.
func (e *Embedder) Words() *vocabulary.Vocabulary { return e.words }

// Model implements embed.Embedder.
func (e *Embedder) Model() string { return e.model }

// Embed implements embed.Embedder. A text without terms has the zero vector.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("embed text %d: %w", i, err)
		}
		out[i] = e.text(text)
	}
	return out, nil
}

func (e *Embedder) text(text string) []float32 {
	v := make([]float32, e.words.Dimension())
	a := language.Analyse(text)
	for i, term := range a.Terms {
		w, ok := e.words.Word(a.Words[i])
		if !ok {
			w, ok = e.words.Stem(term)
		}
		if !ok {
			addSpelling(v, term, rareLength)
			continue
		}
		e.words.Add(v, w, float32(e.words.Rarity(w)))
	}
	embed.Normalise(v)
	return v
}

// Word returns the vector of a lower-cased word, of length 1, and false where the
// word is not known. The dot product of two words' vectors says how much alike
// they are used.
func (e *Embedder) Word(word string) ([]float32, bool) { return e.one(e.words.Word(word)) }

// Stem is Word for what language.Analyse makes of a word: it returns the vector
// of the most frequent word with the stem.
func (e *Embedder) Stem(term string) ([]float32, bool) { return e.one(e.words.Stem(term)) }

func (e *Embedder) one(word int, ok bool) ([]float32, bool) {
	if !ok {
		return nil, false
	}
	v := make([]float32, e.words.Dimension())
	e.words.Add(v, word, 1)
	embed.Normalise(v)
	return v, true
}
