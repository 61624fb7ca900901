package index

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Features are what the second ranking knows of a candidate. All are 0 where
// they do not apply.
type Features struct {
	BM25        float64 // the score of its words
	Vector      float64 // product with the query's vector
	WordRank    float64 // 1/(60+rank) by BM25, among those that words put forward
	VectorRank  float64 // 1/(60+rank) by vector
	Coverage    float64 // share of the query's terms that it has, by their rarity
	Near        float64 // BM25 of the best neighbour one turn away
	Far         float64 // BM25 of the best neighbour two turns away
	Session     float64 // BM25 of the best candidate of its session
	SessionHits float64 // candidates of its session, as a logarithm
	Speaker     float64 // its speaker is named in the query
	Question    float64 // it asks something
	Number      float64 // it has a number
	Time        float64 // it speaks of a time
	FirstPerson float64
	Length      float64 // logarithm of its terms
	Recency     float64 // from 1 now to 0 long ago
}

// Weights say what a feature adds to the score.
type Weights Features

// DefaultWeights returns those that were found by measuring.
func DefaultWeights() Weights {
	return Weights{WordRank: 1, VectorRank: 1}
}

func (f *Features) score(w *Weights) float64 {
	return f.BM25*w.BM25 + f.Vector*w.Vector + f.WordRank*w.WordRank + f.VectorRank*w.VectorRank +
		f.Coverage*w.Coverage + f.Near*w.Near + f.Far*w.Far + f.Session*w.Session + f.SessionHits*w.SessionHits +
		f.Speaker*w.Speaker + f.Question*w.Question + f.Number*w.Number + f.Time*w.Time +
		f.FirstPerson*w.FirstPerson + f.Length*w.Length + f.Recency*w.Recency
}

// fusionRank is the constant of reciprocal rank fusion (Cormack et al., 2009).
const fusionRank = 60

// halfLife is the age in which recency halves.
const halfLife = 30 * 24 * time.Hour

// fused is a document that words or vectors put forward.
type fused struct {
	hit
	wordRank, vectorRank float64
}

// fuse puts both lists together by reciprocal ranks and keeps the best of them.
func fuse(words, vectors []hit, keep int) []fused {
	all := make([]fused, 0, len(words)+len(vectors))
	places := make(map[docKey]int, len(words))
	for i, h := range words {
		places[docKey{h.part, h.doc}] = i
		all = append(all, fused{hit: h, wordRank: 1 / float64(fusionRank+i+1)})
	}
	for i, h := range vectors {
		place, ok := places[docKey{h.part, h.doc}]
		if !ok {
			place = len(all)
			all = append(all, fused{hit: h})
		}
		all[place].vectorRank = 1 / float64(fusionRank+i+1)
	}
	slices.SortFunc(all, func(a, b fused) int {
		return cmp.Or(cmp.Compare(b.wordRank+b.vectorRank, a.wordRank+a.vectorRank),
			cmp.Compare(a.num, b.num), cmp.Compare(a.space, b.space))
	})
	return all[:min(keep, len(all))]
}

// rank orders documents by their features.
func (s *search) rank(all []fused) []Candidate {
	r := &ranker{
		search: s, readers: make([]*reader, len(s.parts)),
		sessions: make(map[sessionKey]int, len(all)), speakers: map[string]bool{},
	}
	talks := make([]int, len(all)) // the documents' conversations
	out := make([]Candidate, len(all))
	for i, h := range all {
		f := &out[i].Features
		f.WordRank, f.VectorRank = h.wordRank, h.vectorRank
		r.document(h.hit, f)
		if talks[i] = r.conversation(h.hit); talks[i] >= 0 {
			c := &r.conversations[talks[i]]
			c.hits++
			c.best = max(c.best, f.BM25)
		}
	}
	for i, h := range all {
		f := &out[i].Features
		if talks[i] >= 0 {
			c := &r.conversations[talks[i]]
			f.Session, f.SessionHits = c.best, math.Log1p(float64(c.hits))
			f.Near = r.around(h.hit, c, 1)
			f.Far = r.around(h.hit, c, 2)
		}
		out[i].Space, out[i].Num, out[i].Score = int(h.space), h.num, f.score(&s.options.Weights)
	}
	slices.SortFunc(out, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Num, b.Num), cmp.Compare(a.Space, b.Space))
	})
	return out
}

type docKey struct {
	part int32
	doc  uint32
}

// ranker computes features. It remembers what candidates share.
type ranker struct {
	*search
	readers       []*reader          // by part
	sessions      map[sessionKey]int // place in conversations, -1 for none
	conversations []conversation
	pieces        []sessionPiece
	speakers      map[string]bool // named in the query
}

// reader reads the documents of a part as the query sees them.
type reader struct {
	*part
	terms []int  // of the query by place, in the part's dictionary; -1 is none
	some  uint64 // has the bit of each of terms, by their last six bits
}

func (r *ranker) reader(part int32) *reader {
	if r.readers[part] == nil {
		p := r.parts[part]
		own := &reader{part: p, terms: make([]int, len(r.lexicon.terms))}
		for i, t := range r.lexicon.terms {
			own.terms[i] = p.terms.find(t.hash, t.text)
			if own.terms[i] >= 0 {
				own.some |= 1 << (own.terms[i] & 63)
			}
		}
		r.readers[part] = own
	}
	return r.readers[part]
}

// words returns the document's BM25 score, and the rarity of the query's terms
// that it has.
func (r *ranker) words(part int32, doc int) (score, had uint64) {
	p := r.reader(part)
	var freqs [maxTerms]uint8
	begin, end := p.bounds(doc)
	for i := begin; i < end; i++ {
		term := int(p.forward.at(i))
		if p.some>>(term&63)&1 == 0 {
			continue
		}
		for q, t := range p.terms {
			if t == term {
				freqs[q] = min(freqs[q]+1, maxFreq)
			}
		}
	}
	for q := range p.terms {
		if freqs[q] > 0 {
			score += uint64(r.lexicon.score(q, freqs[q], p.lengths[doc]))
			had += r.lexicon.terms[q].idf
		}
	}
	return score, had
}

// document fills in what the document says of itself.
func (r *ranker) document(h hit, f *Features) {
	p, doc := r.parts[h.part], int(h.doc)
	score, had := r.words(h.part, doc)
	f.BM25 = float64(score) / (1 << fraction)
	total := uint64(0)
	for i := range r.lexicon.terms {
		total += r.lexicon.terms[i].idf
	}
	if total > 0 {
		f.Coverage = float64(had) / float64(total)
	}
	f.Vector = r.vector(p, doc)
	flags := p.flags.at(doc)
	for i, value := range [...]*float64{&f.Question, &f.Number, &f.Time, &f.FirstPerson} {
		*value = float64(flags >> i & 1)
	}
	if r.speaks(h) {
		f.Speaker = 1
	}
	begin, end := p.bounds(doc)
	f.Length = math.Log1p(float64(end - begin))
	if t, ok := p.time(doc); ok && !r.plan.Now.IsZero() {
		age := max(float64(r.plan.Now.UnixMicro()-t), 0)
		f.Recency = math.Exp2(-age / float64(halfLife.Microseconds()))
	}
}

func (r *ranker) vector(p *part, doc int) float64 {
	if r.probe == nil {
		return 0
	}
	for g := range p.groups {
		if group := &p.groups[g]; r.probe.fits(group) {
			if ordinal := group.ordinal(doc); ordinal >= 0 {
				return r.probe.dot(group, ordinal)
			}
		}
	}
	return 0
}
