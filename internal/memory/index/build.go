package index

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/language"
)

// builder collects documents and makes a segment of them.
type builder struct {
	from, to   int64
	terms      *interner
	names      [nameKinds]*interner
	rows       []row
	forward    []uint32
	statDF     []uint32 // by term
	counted    []int64  // by term: the last document that counted
	statDocs   int64
	statTokens int64
}

// row is a document that is to be built.
type row struct {
	num        int64
	names      [nameKinds]uint32
	position   uint64
	time       int64 // of ValidFrom in microseconds; noTime is none
	superseded bool
	flags      uint8
	replaces   bool // an earlier segment has the number, too
	begin, end int  // in forward
	model      string
	vector     vector // without data where there is none
	// source is where the vector lies, where it is taken over from a segment.
	source  *vectorGroup
	ordinal int
}

const noTime = math.MinInt64

func newBuilder(from, to int64) *builder {
	b := &builder{from: from, to: to, terms: newInterner()}
	for k := range b.names {
		b.names[k] = newInterner()
	}
	return b
}

func (b *builder) term(id uint32) uint32 {
	for len(b.statDF) <= int(id) {
		b.statDF, b.counted = append(b.statDF, 0), append(b.counted, 0)
	}
	return id
}

// add takes a record. Replaces says that an earlier segment has its number, so
// that it does not count a second time.
func (b *builder) add(r *memory.Record, replaces bool) error {
	w := row{
		num: r.Num, position: uint64(max(r.Source.Position, 0)), time: noTime,
		superseded: !r.SupersededAt.IsZero(), replaces: replaces, begin: len(b.forward),
	}
	if !r.ValidFrom.IsZero() {
		w.time = r.ValidFrom.UnixMicro()
	}
	for k, name := range recordNames(r) {
		w.names[k] = b.names[k].id(name)
	}
	if len(r.Vector) > 0 {
		v, err := parseVector(r.Vector)
		if err == nil && len(v.data) > maxDims {
			err = fmt.Errorf("a vector has %d dimensions, more than %d", len(v.data), maxDims)
		}
		if err != nil {
			return fmt.Errorf("record %d of %s: %w", r.Num, r.Space, err)
		}
		w.vector, w.model = v, r.VectorModel
	}
	text := language.Analyse(r.Text)
	for _, t := range text.Terms {
		b.forward = append(b.forward, b.term(b.terms.id(t)))
	}
	w.flags = flagsOf(&text)
	w.end = len(b.forward)
	if !replaces {
		b.count(b.forward[w.begin:])
	}
	b.rows = append(b.rows, w)
	return nil
}

func recordNames(r *memory.Record) [nameKinds]string {
	return [nameKinds]string{
		nameNamespace: r.Namespace, nameStrategy: string(r.Strategy), nameOrigin: string(r.Origin),
		nameActor: r.Actor, nameSession: r.Source.SessionID, nameSpeaker: r.Source.Speaker,
	}
}

// Bits of a document's flags.
const (
	flagQuestion = 1 << iota
	flagTime
	flagFirstPerson
)

func flagsOf(a *language.Analysis) (flags uint8) {
	for i, set := range [...]bool{a.Question, a.HasTime, a.FirstPerson} {
		if set {
			flags |= 1 << i
		}
	}
	return flags
}

// count makes a document's terms count for how frequent terms are.
func (b *builder) count(terms []uint32) {
	b.statDocs++
	b.statTokens += int64(len(terms))
	for _, t := range terms {
		if b.counted[t] != b.statDocs {
			b.counted[t] = b.statDocs
			b.statDF[t]++
		}
	}
}

// segment builds the bytes. The builder is used up.
func (b *builder) segment() ([]byte, error) {
	slices.SortFunc(b.rows, func(x, y row) int { return cmp.Compare(x.num, y.num) })
	terms, termPlace := b.terms.sorted()
	var names [nameKinds][]string
	var namePlace [nameKinds][]uint32
	for k := range b.names {
		names[k], namePlace[k] = b.names[k].sorted()
	}
	for i := range b.rows {
		for k := range namePlace {
			b.rows[i].names[k] = namePlace[k][b.rows[i].names[k]]
		}
	}
	w := newSegmentWriter(len(b.forward)*6 + len(b.rows)*64)
	b.writeDocs(w)
	tokens := b.writeForward(w, termPlace)
	w.table(secTermTable, terms)
	b.writePostings(w, tokens, termPlace)
	b.writeSessions(w, len(names[nameSession]))
	replaced := b.writeReplaced(w)
	groups := b.writeVectors(w)
	for k := range nameKinds {
		w.column(secName+int(k), len(b.rows), func(i int) uint64 { return uint64(b.rows[i].names[k]) })
		w.table(secNameTables+3*int(k), names[k])
		w.head[headNames+int(k)] = int64(len(names[k]))
	}
	w.head[headFrom], w.head[headTo] = b.from, b.to
	w.head[headDocs], w.head[headTerms], w.head[headTokens] = int64(len(b.rows)), int64(len(terms)), int64(len(tokens))
	w.head[headStatDocs], w.head[headStatTokens] = b.statDocs, b.statTokens
	w.head[headGroups], w.head[headReplaced] = int64(groups), int64(replaced)
	return w.finish(), nil
}

func (b *builder) writeDocs(w *segmentWriter) {
	base, timed := int64(0), false
	for i := range b.rows {
		if t := b.rows[i].time; t != noTime && (!timed || t < base) {
			base, timed = t, true
		}
	}
	w.head[headTimeBase] = base
	n := len(b.rows)
	w.column(secNum, n, func(i int) uint64 { return uint64(b.rows[i].num) })
	w.column(secPosition, n, func(i int) uint64 { return b.rows[i].position })
	w.column(secTime, n, func(i int) uint64 {
		if t := b.rows[i].time; t != noTime {
			return uint64(t-base) + 1
		}
		return 0
	})
	w.column(secSuperseded, n, func(i int) uint64 {
		if b.rows[i].superseded {
			return 1
		}
		return 0
	})
	w.column(secFlags, n, func(i int) uint64 { return uint64(b.rows[i].flags) })
}

// writeForward puts the documents' terms in the order of the documents and
// returns them.
func (b *builder) writeForward(w *segmentWriter, place []uint32) []uint32 {
	starts, lengths := make([]uint64, 0, len(b.rows)+1), make([]byte, 0, len(b.rows))
	tokens := make([]uint32, 0, len(b.forward))
	for i := range b.rows {
		r := &b.rows[i]
		starts = append(starts, uint64(len(tokens)))
		lengths = append(lengths, lengthCode(r.end-r.begin))
		for _, t := range b.forward[r.begin:r.end] {
			tokens = append(tokens, place[t])
		}
		r.begin, r.end = int(starts[i]), len(tokens)
	}
	starts = append(starts, uint64(len(tokens)))
	w.raw(secLength, lengths)
	w.column(secStart, len(starts), func(i int) uint64 { return starts[i] })
	w.column(secForward, len(tokens), func(i int) uint64 { return uint64(tokens[i]) })
	return tokens
}

// writePostings turns the documents' terms around.
func (b *builder) writePostings(w *segmentWriter, tokens, place []uint32) {
	terms := len(place)
	begin := make([]int, terms+1)
	for _, t := range tokens {
		begin[t+1]++
	}
	for t := range terms {
		begin[t+1] += begin[t]
	}
	docs, freqs := make([]uint32, len(tokens)), make([]uint8, len(tokens))
	df, lengths := make([]int, terms), make([]byte, len(b.rows))
	for doc := range b.rows {
		r := &b.rows[doc]
		lengths[doc] = lengthCode(r.end - r.begin)
		for _, t := range tokens[r.begin:r.end] {
			at := begin[t] + df[t]
			if df[t] > 0 && docs[at-1] == uint32(doc) {
				freqs[at-1] = min(freqs[at-1]+1, maxFreq)
				continue
			}
			docs[at], freqs[at] = uint32(doc), 1
			df[t]++
		}
	}
	starts, postings := make([]uint64, terms+1), make([]byte, 0, 2*len(tokens))
	for t := range terms {
		starts[t] = uint64(len(postings))
		if df[t] > 0 {
			postings = appendList(postings, docs[begin[t]:begin[t]+df[t]], freqs[begin[t]:], lengths)
		}
	}
	starts[terms] = uint64(len(postings))
	stat := make([]uint64, terms)
	for id, n := range b.statDF {
		stat[place[id]] = uint64(n)
	}
	w.column(secDF, terms, func(t int) uint64 { return uint64(df[t]) })
	w.column(secStatDF, terms, func(t int) uint64 { return stat[t] })
	w.column(secListStart, terms+1, func(t int) uint64 { return starts[t] })
	w.raw(secPostings, append(postings, make([]byte, slack)...))
}

// writeSessions orders the documents by session and position.
func (b *builder) writeSessions(w *segmentWriter, sessions int) {
	order := make([]int, len(b.rows))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		p, q := &b.rows[x], &b.rows[y]
		return cmp.Or(cmp.Compare(p.names[nameSession], q.names[nameSession]), cmp.Compare(p.position, q.position), cmp.Compare(x, y))
	})
	starts := make([]uint64, sessions+1)
	for _, r := range b.rows {
		starts[r.names[nameSession]+1]++
	}
	for s := range sessions {
		starts[s+1] += starts[s]
	}
	w.column(secSessions, len(order), func(i int) uint64 { return uint64(order[i]) })
	w.column(secSessStart, len(starts), func(i int) uint64 { return starts[i] })
}

func (b *builder) writeReplaced(w *segmentWriter) int {
	var nums []uint64
	for i := range b.rows {
		if b.rows[i].replaces {
			nums = append(nums, uint64(b.rows[i].num))
		}
	}
	w.column(secReplaced, len(nums), func(i int) uint64 { return nums[i] })
	return len(nums)
}

// writeVectors writes a group for each model and dimension, in the order of
// their names.
func (b *builder) writeVectors(w *segmentWriter) int {
	type key struct {
		model string
		dims  int
	}
	byKey := map[key][]uint64{}
	var keys []key
	for i := range b.rows {
		r := &b.rows[i]
		k := key{r.model, len(r.vector.data)}
		if r.source != nil {
			k = key{r.source.model, r.source.dims}
		}
		if k.dims == 0 {
			continue
		}
		if byKey[k] == nil {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], uint64(i))
	}
	slices.SortFunc(keys, func(x, y key) int { return cmp.Or(cmp.Compare(x.model, y.model), cmp.Compare(x.dims, y.dims)) })
	var out []byte
	for _, k := range keys {
		docs := byKey[k]
		vectors := make([]vector, len(docs))
		for i, d := range docs {
			if r := &b.rows[d]; r.source != nil {
				vectors[i] = r.source.vector(r.ordinal)
			} else {
				vectors[i] = r.vector
			}
		}
		if len(docs) == len(b.rows) {
			docs = nil
		}
		out = appendVectors(out, k.model, k.dims, docs, vectors)
	}
	w.raw(secVectors, out)
	return len(keys)
}

// segmentWriter holds the sections until they can be written in their order.
type segmentWriter struct {
	head     [headFields]int64
	sections [sections][]byte
	size     int
}

func newSegmentWriter(size int) *segmentWriter { return &segmentWriter{size: size} }

func (w *segmentWriter) raw(section int, b []byte) { w.sections[section] = b }

func (w *segmentWriter) column(section, n int, at func(i int) uint64) {
	values := make([]uint64, n)
	for i := range values {
		values[i] = at(i)
	}
	w.raw(section, appendColumn(nil, values))
}

func (w *segmentWriter) table(section int, ordered []string) {
	var text []byte
	starts := make([]uint64, 0, len(ordered)+1)
	for _, s := range ordered {
		starts = append(starts, uint64(len(text)))
		text = append(text, s...)
	}
	starts = append(starts, uint64(len(text)))
	w.column(section, len(ordered), func(i int) uint64 { return uint64(hashOf(ordered[i])) })
	w.column(section+1, len(starts), func(i int) uint64 { return starts[i] })
	w.raw(section+2, text)
}

func (w *segmentWriter) finish() []byte {
	size := headSize + sumSize
	for _, s := range w.sections {
		size += len(s)
	}
	out := append(make([]byte, 0, size), magic...)
	for _, v := range w.head {
		out = binary.LittleEndian.AppendUint64(out, uint64(v))
	}
	end := headSize
	for _, s := range w.sections {
		end += len(s)
		out = binary.LittleEndian.AppendUint64(out, uint64(end))
	}
	for _, s := range w.sections {
		out = append(out, s...)
	}
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}
