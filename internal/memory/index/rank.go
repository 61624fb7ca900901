package index

import (
	"cmp"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/memory"
)

// ranker computes the features of candidates, and what they share.
type ranker struct {
	*search
	sessions      map[sessionKey]int32 // place in conversations, -1 for none
	conversations []conversation
	pieces        []sessionPiece
	turns         []placed

	slots []slot
	place []int32 // of candidates in slots
	talk  []int32 // the candidates' conversations

	match        match
	dictionaries []dictionary // by part
	comparisons  []comparison
	likeness     []float32 // of words of documents with the query's terms
	near         nearness
	surroundings []surrounding
	counts       []int32 // of surroundings
	around       float64 // mean length of what is around a candidate

	found  []ranked
	order  []int32 // places in found, the best first
	chosen []int   // how many were chosen, by conversation
}

// ranker returns the search's, with nothing in it.
func (s *search) ranker() *ranker {
	r := &s.scratch.ranker
	clear(r.sessions)
	r.search, r.conversations, r.pieces = s, r.conversations[:0], r.pieces[:0]
	r.slots, r.likeness, r.found = r.slots[:0], r.likeness[:0], r.found[:0]
	return r
}

// rank orders documents by their features, and returns up to limit of them. What
// has no word that is like one of the query's, nor has one near it, nor a vector, is
// left out.
func (s *search) rank(all []hit, limit int) []Candidate {
	r := s.ranker()
	r.lay(all)
	r.compareVectors()
	r.compareWords()
	r.read()
	r.surround()
	for i, h := range all {
		c := ranked{Candidate: Candidate{Space: int(h.space), Num: h.num}, session: r.talk[i]}
		f := &c.Features
		r.words(r.place[i], f)
		var compared bool
		f.Vector, f.VectorNear, compared = r.cosines(r.place[i])
		if f.WordsNear == 0 && f.MeaningNear == 0 && !compared {
			continue
		}
		f.Session = r.sessionWords(&r.surroundings[i])
		r.document(h, r.place[i], f)
		r.times(h, f)
		c.Score = f.score(&s.options.Weights)
		r.found = append(r.found, c)
	}
	return r.spread(limit)
}

// ranked is a candidate and its place in conversations.
type ranked struct {
	Candidate
	session int32
}

// How candidates are spread over sessions: the first are the best, whatever their
// sessions; of those up to spreadTo one is worth less for each that was chosen
// of its session.
const (
	spreadFrom = 10
	spreadTo   = 60
	spreadCost = 0.1
)

// spread returns up to limit of what was found, the best first and spread over
// sessions.
func (r *ranker) spread(limit int) []Candidate {
	r.order = sized(r.order, len(r.found))
	for i := range r.order {
		r.order[i] = int32(i)
	}
	slices.SortFunc(r.order, func(i, j int32) int {
		a, b := &r.found[i], &r.found[j]
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Num, b.Num), cmp.Compare(a.Space, b.Space))
	})
	limit = min(limit, len(r.found))
	out := make([]Candidate, 0, limit)
	r.chosen = zeroed(r.chosen, len(r.conversations))
	choose := func(at int32) {
		c := &r.found[at]
		out = append(out, c.Candidate)
		if c.session >= 0 {
			r.chosen[c.session]++
		}
	}
	for _, at := range r.order[:min(spreadFrom, limit)] {
		choose(at)
	}
	rest := r.order[len(out):max(min(spreadTo, len(r.found)), len(out))]
	for len(rest) > 0 && len(out) < limit {
		best, most := 0, 0.0
		for i, at := range rest {
			c := &r.found[at]
			worth := c.Score
			if c.session >= 0 {
				worth -= spreadCost * float64(r.chosen[c.session])
			}
			if i == 0 || worth > most {
				best, most = i, worth
			}
		}
		choose(rest[best])
		rest = slices.Delete(rest, best, best+1)
	}
	for _, at := range r.order[len(out):max(limit, len(out))] {
		choose(at)
	}
	return out
}

// words fills in what the words of the slot and of those around it say.
func (r *ranker) words(at int32, f *Features) {
	m := &r.match
	hard, soft := m.at(at)
	var hards, softs [2*farthest + 1][]float32 // by distance
	for d := int32(-farthest); d <= farthest; d++ {
		if i := r.turn(at, d); i >= 0 {
			hards[d+farthest], softs[d+farthest] = m.at(i)
		}
	}
	i := r.turn(at, -1)
	asked := i >= 0 && r.flag(i, flagQuestion)
	for q := range r.lexicon.terms {
		share := r.lexicon.terms[q].share
		if hard[q] > 0 {
			f.Matched += 1 / float64(m.terms)
		}
		var near, far, alike float32
		near, alike = hard[q], soft[q]
		for i := range hards {
			if hards[i] == nil {
				continue
			}
			distance := max(i-farthest, farthest-i)
			far = max(far, hards[i][q])
			switch distance {
			case 1:
				near = max(near, 0.8*hards[i][q])
			case 2:
				near = max(near, 0.6*hards[i][q])
			}
			if distance <= alikeWithin {
				alike = max(alike, softs[i][q])
			}
		}
		f.Words += share * float64(near)
		f.WordsNear += share * float64(far)
		f.MeaningNear += share * float64(alike)
		before := valueOf(softs[farthest-1], q)
		f.Meaning += share * float64(max(soft[q], 0.7*before))
		f.BeforeThat += share * float64(valueOf(softs[farthest-2], q))
		if asked {
			f.Answer += share * float64(before)
		}
	}
	f.Rare = float64(m.rarest[at])
}

// How many turns away words count, and what is like them.
const (
	farthest    = 5
	alikeWithin = 3
)

func valueOf(values []float32, q int) float32 {
	if values == nil {
		return 0
	}
	return values[q]
}

func (r *ranker) flag(at int32, flag uint64) bool {
	s := &r.slots[at]
	return r.parts[s.part].flags.at(int(s.doc))&flag != 0
}

// surrounding is how often the terms are there in the turns around a candidate,
// and how long these are together.
type surrounding struct {
	counts []int32
	length int
}

// surround reads what is around the candidates.
func (r *ranker) surround() {
	m := &r.match
	r.surroundings, r.counts = zeroed(r.surroundings, len(r.place)), zeroed(r.counts, m.terms*len(r.place))
	together := 0
	for i, at := range r.place {
		s := &r.surroundings[i]
		s.counts = r.counts[i*m.terms : (i+1)*m.terms]
		for d := int32(-reach); d <= reach; d++ {
			j := r.turn(at, d)
			if j < 0 {
				continue
			}
			s.length += int(m.lengths[j])
			for q, n := range m.counts[int(j)*m.terms:][:m.terms] {
				s.counts[q] += int32(n)
			}
		}
		together += s.length
	}
	r.around = float64(together) / float64(max(len(r.place), 1))
}

// sessionWords is BM25 of the turns around a candidate as if they were one
// document among those around all candidates.
func (r *ranker) sessionWords(s *surrounding) float64 {
	const k1, b = 1.2, 0.5
	k := k1 * (1 - b + b*float64(s.length)/max(r.around, 1))
	sum := 0.0
	for q, n := range s.counts {
		if n > 0 {
			sum += r.lexicon.terms[q].share * float64(n) * (k1 + 1) / (float64(n) + k)
		}
	}
	return sum
}

// document fills in what the document says of itself.
func (r *ranker) document(h hit, at int32, f *Features) {
	p, doc := r.parts[h.part], int(h.doc)
	flags := p.flags.at(doc)
	if flags&flagTime != 0 {
		f.Time = 1
		if r.plan.Asked.When {
			f.WhenTime = 1
		}
	}
	if flags&flagFirstPerson != 0 {
		f.FirstPerson = 1
	}
	if p.positions.at(doc) == 1 {
		f.Opening = 1
	}
	if said := r.people.speaks(h.part, p, doc, r.match.about[at]); r.people.several() {
		f.FirstSpeaker = said
	} else {
		f.Speaker = said
	}
	if memory.Origin(p.name(nameOrigin, doc)).Foreign() {
		f.Foreign = 1
	}
}

// times fills in how the document's time is to now and to the times that the
// question names.
func (r *ranker) times(h hit, f *Features) {
	micros, ok := r.parts[h.part].time(int(h.doc))
	if !ok {
		return
	}
	if !r.plan.Now.IsZero() {
		f.Recency = recency(float64(r.plan.Now.UnixMicro() - micros))
	}
	at := time.UnixMicro(micros)
	for _, m := range r.plan.Asked.Times {
		day, month := timely(at, m.From, m.To)
		f.Day, f.Month = max(f.Day, day), max(f.Month, month)
	}
}

// timely says how well a record of the time at fits a time that the question
// names: what is told of a day is mostly told on it or soon after it.
func timely(at, from, to time.Time) (day, month float64) {
	const aDay = 24 * time.Hour
	length := to.Sub(from)
	switch {
	case length > 150*aDay:
		if !at.Before(from) && at.Before(to) {
			month = 0.5
		}
		return 0, month
	case length > 12*aDay:
	default:
		if !at.Before(from) && at.Before(to.Add(aDay)) {
			day = 1
		} else if !at.Before(from.Add(-aDay)) && at.Before(to.Add(10*aDay)) {
			day = 0.4
		}
		from = time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, from.Location())
		to = from.AddDate(0, 1, 0)
	}
	if !at.Before(from) && at.Before(to) {
		month = 1
	} else if !at.Before(to) && at.Before(to.Add(31*aDay)) {
		month = 0.3
	}
	return day, month
}
