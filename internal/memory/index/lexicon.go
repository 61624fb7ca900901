package index

import (
	"cmp"
	"math"
	"slices"

	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
)

// maxTerms bounds the terms of a query; what is more, nobody has or is the least
// distinctive.
const maxTerms = 64

// queryTerm is a term of the query over all segments that are searched.
type queryTerm struct {
	text   []byte
	hash   uint32
	df     int64   // documents that have it
	rarity uint64  // in the memory and in English, with 16 bits behind the point
	share  float64 // of the rarity of all terms
	word   int     // in the vocabulary; -1 where it is none
	name   bool    // nothing but itself means the same
}

// lexicon is the query's terms and what is known of them in all the spaces
// searched. The names of people who speak are none of them.
type lexicon struct {
	vocabulary *vocabulary.Vocabulary
	terms      []queryTerm
	docs       int64
	average    float64                      // length of a document in terms
	worth      [maxFreqMask + 1][256]uint32 // of a frequency in a document by its length
}

func newLexicon(plan *Plan, parts []*part, people *people, v *vocabulary.Vocabulary, o Options) *lexicon {
	x := &lexicon{vocabulary: v}
	x.take(plan, people)
	tokens := int64(0)
	for _, p := range parts {
		x.docs += p.statDocs
		tokens += p.statTokens
		for i := range x.terms {
			if t := p.terms.find(x.terms[i].hash, x.terms[i].text); t >= 0 {
				x.terms[i].df += int64(p.statDF.at(t))
			}
		}
	}
	for i := range x.terms {
		t := &x.terms[i]
		n := float64(t.df)
		idf := math.Log(1 + max(float64(x.docs)-n+0.5, 0.5)/(n+0.5))
		t.rarity = uint64(math.Round(idf * rarityOf(v, t.word) * (1 << fraction)))
	}
	if len(x.terms) > maxTerms {
		slices.SortStableFunc(x.terms, func(a, b queryTerm) int {
			return cmp.Or(cmp.Compare(min(b.df, 1), min(a.df, 1)), cmp.Compare(b.rarity, a.rarity))
		})
		x.terms = x.terms[:maxTerms]
	}
	total := uint64(0)
	for i := range x.terms {
		total += x.terms[i].rarity
	}
	for i := range x.terms {
		x.terms[i].share = float64(x.terms[i].rarity) / float64(max(total, 1))
	}
	x.average = max(float64(tokens)/float64(max(x.docs, 1)), 1)
	for code := range 256 {
		length := float64(codeLength(uint8(code))) / x.average
		for freq := 1; freq <= maxFreq; freq++ {
			f := float64(freq)
			x.worth[freq][code] = uint32(math.Round(f * (o.K1 + 1) / (f + o.K1*(1-o.B+o.B*length)) * (1 << fraction)))
		}
	}
	return x
}

// take puts in the terms of the plan, each once. Where they are nothing but names
// of people who speak, those are what is looked for.
func (x *lexicon) take(plan *Plan, people *people) {
	for _, all := range []bool{false, true} {
		for _, text := range plan.Text.Terms {
			if !all && people.named(text) || slices.ContainsFunc(x.terms, func(t queryTerm) bool { return string(t.text) == text }) {
				continue
			}
			word, known := x.vocabulary.Stem(text)
			if !known {
				word = -1
			}
			x.terms = append(x.terms, queryTerm{
				text: []byte(text), hash: hashOf(text), word: word, name: slices.Contains(plan.Text.Names, text),
			})
		}
		if len(x.terms) > 0 {
			return
		}
	}
}

// rarityOf is how rare a word is in English, from 0.2 for the most frequent to 1
// for one that is not among the words of the vocabulary.
func rarityOf(v *vocabulary.Vocabulary, word int) float64 {
	const known = 100_000
	rank := float64(known)
	if word >= 0 {
		rank = min(v.Rank(word), known)
	}
	return math.Log(10+rank) / math.Log(10+known)
}
