// Package index finds records of long-term memory by their words and by their
// vectors. It owns its data: immutable segments, each the records of a range of a
// space's changes, whose bytes a store keeps without knowing what they are. So
// the same records give the same order on every store, and in whatever pieces
// they were indexed.
package index

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/language"
)

// Space is the searchable form of one space. Searches see a state of it that
// does not change, and wait for nobody.
type Space struct {
	mu      sync.Mutex // held by whoever changes view
	view    atomic.Pointer[view]
	merging sync.Mutex // held by the one who merges while others may change view
}

// view is a state of a space.
type view struct {
	change int64
	parts  []*part // oldest first, ranges without gaps
	// own are the parts that no other view has. It is for whoever makes the view.
	own map[*part]bool
}

// part is a segment in a view, and does not change once the view is seen.
type part struct {
	*segment
	replaced bitmap      // documents that a later part has
	hidden   bitmap      // those, and those that are superseded
	sums     []vectorSum // of the vectors that no later part has, by group
	lost     int         // how many are in replaced
	stored   bool
	held     bool // whoever holds merging is at work on it
}

// Piece is a part of the index as a store keeps it.
type Piece struct {
	From, To int64 // changes
	Data     []byte
}

// New returns an empty space.
func New() *Space {
	s := &Space{}
	s.view.Store(&view{})
	return s
}

// Change is the last change that searches see.
func (s *Space) Change() int64 { return s.view.Load().change }

// Stats says how large a space's index is.
type Stats struct {
	Records  int // with those whose text was superseded
	Replaced int // documents that later ones replace, and that a merge will drop
	Pieces   int
	Unstored int   // documents that are in no stored piece
	Bytes    int64 // of memory
}

// Stats returns the size of the index.
func (s *Space) Stats() Stats {
	var st Stats
	for _, p := range s.view.Load().parts {
		st.Records += p.docs - p.lost
		st.Replaced += p.lost
		st.Pieces++
		st.Bytes += int64(len(p.bytes) + 8*len(p.replaced) + 8*len(p.hidden))
		if !p.stored {
			st.Unstored += p.docs
		}
	}
	return st
}

// Load adds a piece as it came out of the store. Pieces come in the order of
// their ranges, before records are applied. Data must not change afterwards.
// What is no piece, or does not follow on the last one, is an error.
func (s *Space) Load(data []byte) error {
	seg, err := openSegment(data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.view.Load()
	if len(old.parts) > 0 && seg.from != old.parts[len(old.parts)-1].to+1 || seg.from <= 0 {
		return fmt.Errorf("load a piece of the index: changes %d to %d do not follow on %d", seg.from, seg.to, old.change)
	}
	next := old.clone()
	for i := range seg.replaced.n {
		if !next.replace(int64(seg.replaced.at(i))) {
			return fmt.Errorf("load a piece of the index: it replaces record %d, which is in none before: %w", int64(seg.replaced.at(i)), errCorrupt)
		}
	}
	next.push(seg, true)
	s.view.Store(next)
	return nil
}

// Apply takes new and changed records in the order of their changes. A record
// whose change was seen before is left out; a record that is there already is
// replaced, where anything about it changed that is indexed. Of a record, Text
// never changes. After an error nothing is applied.
func (s *Space) Apply(records []memory.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.view.Load()
	next := old.clone()
	fresh, err := newest(records, old.change)
	if err != nil {
		return err
	}
	if len(fresh) == 0 {
		return nil
	}
	from := int64(1)
	if n := len(old.parts); n > 0 {
		from = old.parts[n-1].to + 1
	}
	next.change = fresh[len(fresh)-1].Change
	b := newBuilder(from, next.change)
	for _, r := range fresh {
		p, doc := next.find(r.Num)
		if p != nil && p.same(doc, r) {
			continue
		}
		if err := b.add(r, p != nil); err != nil {
			return err
		}
		if p != nil {
			next.replace(r.Num)
		}
	}
	if len(b.rows) > 0 {
		data, err := b.segment()
		if err != nil {
			return err
		}
		seg, err := openSegment(data)
		if err != nil {
			return err
		}
		next.push(seg, false)
		if err := next.tidy(); err != nil {
			return err
		}
	}
	s.view.Store(next)
	return nil
}

// newest returns the records whose change is after the given one, each number
// once as it was last, in the order of changes.
func newest(records []memory.Record, change int64) ([]*memory.Record, error) {
	last := make(map[int64]int, len(records))
	for i := range records {
		r := &records[i]
		if r.Num <= 0 || r.Change <= 0 {
			return nil, fmt.Errorf("index record %s: its number %d and its change %d are not from 1 up", r.ID, r.Num, r.Change)
		}
		if i > 0 && r.Change < records[i-1].Change {
			return nil, fmt.Errorf("index record %s: its change %d comes after change %d", r.ID, r.Change, records[i-1].Change)
		}
		last[r.Num] = i
	}
	var out []*memory.Record
	for i := range records {
		if r := &records[i]; r.Change > change && last[r.Num] == i {
			out = append(out, r)
		}
	}
	return out, nil
}

func (v *view) clone() *view {
	return &view{change: v.change, parts: slices.Clone(v.parts), own: map[*part]bool{}}
}

func (v *view) push(seg *segment, stored bool) {
	v.parts = append(v.parts, newPart(seg, nil, stored))
	v.change = max(v.change, seg.to)
}

func newPart(seg *segment, replaced bitmap, stored bool) *part {
	p := &part{segment: seg, replaced: replaced, hidden: replaced, stored: stored}
	if seg.superseded.base != 0 || seg.superseded.width != 0 {
		p.hidden = replaced.with(seg.docs)
		for doc := range seg.docs {
			if seg.superseded.at(doc) != 0 {
				p.hidden.set(doc)
			}
		}
	}
	for i := range seg.groups {
		p.sums = append(p.sums, vectorSum{slices.Clone(seg.groups[i].sum), seg.groups[i].n})
	}
	for doc := range seg.docs {
		if replaced.has(doc) {
			p.lose(doc)
		}
	}
	return p
}

// lose counts a document as one that a later part has.
func (p *part) lose(doc int) {
	p.lost++
	for i := range p.groups {
		if ordinal := p.groups[i].ordinal(doc); ordinal >= 0 {
			p.groups[i].vector(ordinal).add(p.sums[i].numbers, -1)
			p.sums[i].count--
		}
	}
}

// find returns the part that has the record as it is now, and nil where none
// has.
func (v *view) find(num int64) (*part, int) {
	for _, p := range slices.Backward(v.parts) {
		if doc := p.find(num); doc >= 0 && !p.replaced.has(doc) {
			return p, doc
		}
	}
	return nil, -1
}

// replace marks the record as replaced in the part that has it, and reports
// whether there is one.
func (v *view) replace(num int64) bool {
	p, doc := v.find(num)
	if p == nil {
		return false
	}
	p = v.owned(p)
	p.replaced.set(doc)
	p.hidden.set(doc)
	p.lose(doc)
	return true
}

// owned returns the part, or puts a copy in its place where other views have it.
func (v *view) owned(p *part) *part {
	if v.own[p] {
		return p
	}
	own := *p
	own.replaced, own.hidden = p.replaced.with(p.docs), p.hidden.with(p.docs)
	own.sums = slices.Clone(p.sums)
	for i := range own.sums {
		own.sums[i].numbers = slices.Clone(p.sums[i].numbers)
	}
	v.parts[slices.Index(v.parts, p)] = &own
	v.own[&own] = true
	return &own
}

// same reports whether the document has what the index keeps of the record.
func (s *segment) same(doc int, r *memory.Record) bool {
	if (s.superseded.at(doc) != 0) != !r.SupersededAt.IsZero() || s.positions.at(doc) != uint64(max(r.Source.Position, 0)) {
		return false
	}
	t, timed := s.time(doc)
	if timed == r.ValidFrom.IsZero() || timed && t != r.ValidFrom.UnixMicro() {
		return false
	}
	for k, name := range recordNames(r) {
		if string(s.name(nameKind(k), doc)) != name {
			return false
		}
	}
	return s.sameVector(doc, r) && s.sameText(doc, r.Text)
}

func (s *segment) sameVector(doc int, r *memory.Record) bool {
	for i := range s.groups {
		g := &s.groups[i]
		if ordinal := g.ordinal(doc); ordinal >= 0 {
			v, err := parseVector(r.Vector)
			own := g.vector(ordinal)
			return err == nil && g.model == r.VectorModel && own.scale == v.scale && bytes.Equal(own.data, v.data)
		}
	}
	return len(r.Vector) == 0
}

func (s *segment) sameText(doc int, text string) bool {
	terms := language.Analyse(text).Terms
	begin, end := s.bounds(doc)
	if len(terms) != end-begin {
		return false
	}
	for i, t := range terms {
		if string(s.terms.string(int(s.forward.at(begin+i)))) != t {
			return false
		}
	}
	return true
}
