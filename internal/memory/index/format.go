package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/stayd/stayd/internal/memory/embed/static"
)

// A segment's bytes are a head, sections one after another, and a CRC-32C of all
// before it. The head has the magic, the numbers of head, and where each section
// ends. All numbers are little-endian.
const (
	magic    = "stix\x03\x00\x00\x00"
	headSize = len(magic) + 8*headFields + 8*sections
	sumSize  = 4
)

// Fields of the head.
const (
	headFrom = iota
	headTo
	headDocs
	headTerms
	headTokens
	headStatDocs   // documents that no earlier segment has
	headStatTokens // their terms
	headTimeBase
	headGroups   // of vectors
	headReplaced // numbers that earlier segments have, too
	headNames    // from here on: the sizes of the tables of names
	headFields   = headNames + int(nameKinds)
)

// nameKind is a property of a record that is one of few strings.
type nameKind int

const (
	nameNamespace nameKind = iota
	nameStrategy
	nameOrigin
	nameActor
	nameSession
	nameSpeaker
	nameKinds
)

// Sections of a segment. Those of a table are three: hashes, starts and text.
const (
	secNum = iota
	secPosition
	secTime
	secSuperseded
	secFlags
	secLength
	secStart
	secForward
	secTermTable                     // three
	secDF         = secTermTable + 3 // documents that have the term
	secStatDF     = secDF + 1        // those that no earlier segment has
	secListStart  = secStatDF + 1    // where the term's list begins in secPostings
	secPostings   = secListStart + 1 //
	secSessions   = secPostings + 1  // documents by session and position
	secSessStart  = secSessions + 1  // where a session begins in secSessions
	secReplaced   = secSessStart + 1 // numbers
	secVectors    = secReplaced + 1  //
	secName       = secVectors + 1   // by kind
	secNameTables = secName + int(nameKinds)
	sections      = secNameTables + 3*int(nameKinds)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is an immutable piece of an index over its bytes, which it reads where
// they lie. Documents are numbered from 0 in the order of Num, terms by their
// place in the dictionary.
type segment struct {
	bytes      []byte
	from, to   int64
	docs       int
	tokens     int
	statDocs   int64
	statTokens int64
	timeBase   int64

	nums       column
	positions  column
	times      column // 0 is none, others are microseconds after timeBase, plus 1
	superseded column
	flags      column
	lengths    []byte
	starts     column
	forward    column

	terms     table
	words     []int32   // of the terms in the vocabulary, -1 for none
	rarities  []float32 // of the terms in English
	df        column
	statDF    column
	listStart column
	postings  []byte

	sessions  column
	sessStart column
	replaced  column
	names     [nameKinds]column
	nameTable [nameKinds]table
	speakers  map[string][]uint32 // names in the table of speakers by their terms
	groups    []vectorGroup
}

// sectionReader cuts the bytes into their sections.
type sectionReader struct {
	bytes []byte
	ends  [sections]uint64
	err   error
}

func (r *sectionReader) section(i int) []byte {
	begin := uint64(headSize)
	if i > 0 {
		begin = r.ends[i-1]
	}
	return r.bytes[begin:r.ends[i]:r.ends[i]]
}

func (r *sectionReader) column(i, n int) column {
	c, err := readColumn(r.section(i), n)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("section %d: %w", i, err)
	}
	return c
}

func (r *sectionReader) check(ok bool, what string) {
	if !ok && r.err == nil {
		r.err = fmt.Errorf("%s: %w", what, errCorrupt)
	}
}

func (r *sectionReader) table(i, n int) table {
	t := table{n: n, hashes: r.column(i, n), starts: r.column(i+1, n+1), text: r.section(i + 2)}
	r.check(r.err != nil || t.starts.rises(uint64(len(t.text))), "a table's text")
	return t
}

// openSegment opens bytes that seal made. They are read where they lie, and must
// not change from now on.
func openSegment(b []byte) (*segment, error) {
	r, head, err := readHead(b)
	if err != nil {
		return nil, err
	}
	large(b)
	s := &segment{
		bytes: b, from: head[headFrom], to: head[headTo],
		docs: int(head[headDocs]), tokens: int(head[headTokens]),
		statDocs: head[headStatDocs], statTokens: head[headStatTokens], timeBase: head[headTimeBase],
	}
	s.nums = r.column(secNum, s.docs)
	s.positions = r.column(secPosition, s.docs)
	s.times = r.column(secTime, s.docs)
	s.superseded = r.column(secSuperseded, s.docs)
	s.flags = r.column(secFlags, s.docs)
	s.lengths = r.section(secLength)
	r.check(len(s.lengths) == s.docs, "the lengths")
	s.starts = r.column(secStart, s.docs+1)
	s.forward = r.column(secForward, s.tokens)
	terms := int(head[headTerms])
	s.terms = r.table(secTermTable, terms)
	s.df = r.column(secDF, terms)
	s.statDF = r.column(secStatDF, terms)
	s.listStart = r.column(secListStart, terms+1)
	s.postings = r.section(secPostings)
	s.sessions = r.column(secSessions, s.docs)
	s.sessStart = r.column(secSessStart, int(head[headNames+int(nameSession)])+1)
	s.replaced = r.column(secReplaced, int(head[headReplaced]))
	for k := range nameKinds {
		s.names[k] = r.column(secName+int(k), s.docs)
		s.nameTable[k] = r.table(secNameTables+3*int(k), int(head[headNames+int(k)]))
	}
	if r.err == nil {
		s.groups, r.err = readVectors(r.section(secVectors), int(head[headGroups]), s.docs)
	}
	if r.err == nil {
		r.err = s.validate()
	}
	if r.err != nil {
		return nil, fmt.Errorf("open a segment of the index: %w", r.err)
	}
	s.speakers = speakersOf(&s.nameTable[nameSpeaker])
	if err := s.lookUp(); err != nil {
		return nil, fmt.Errorf("open a segment of the index: %w", err)
	}
	return s, nil
}

// lookUp finds the words of the vocabulary that the terms stand for.
func (s *segment) lookUp() error {
	v, err := static.Words()
	if err != nil {
		return err
	}
	s.words, s.rarities = make([]int32, s.terms.n), make([]float32, s.terms.n)
	unknown := float32(rarityOf(v, -1))
	for i := range s.words {
		s.words[i], s.rarities[i] = -1, unknown
		if word, ok := v.Stem(string(s.terms.string(i))); ok {
			s.words[i], s.rarities[i] = int32(word), float32(rarityOf(v, word))
		}
	}
	return nil
}

// readHead checks the sum and returns the fields of the head and the sections,
// which lie in the bytes and in order.
func readHead(b []byte) (*sectionReader, [headFields]int64, error) {
	var head [headFields]int64
	fail := func(what string) (*sectionReader, [headFields]int64, error) {
		return nil, head, fmt.Errorf("open a segment of the index: %s: %w", what, errCorrupt)
	}
	if len(b) < headSize+sumSize || string(b[:len(magic)]) != magic {
		return fail("the head")
	}
	body := len(b) - sumSize
	if binary.LittleEndian.Uint32(b[body:]) != crc32.Checksum(b[:body], castagnoli) {
		return fail("the checksum")
	}
	at := len(magic)
	for i := range head {
		head[i] = int64(binary.LittleEndian.Uint64(b[at:]))
		at += 8
	}
	for i, v := range head {
		// No list can be longer than the bits of the bytes, but for those whose
		// numbers are all the same; those are bounded by the lengths.
		if i >= headDocs && i != headTimeBase && (v < 0 || v > int64(len(b))*8) {
			return fail("a size in the head")
		}
	}
	r := &sectionReader{bytes: b}
	last := uint64(headSize)
	for i := range r.ends {
		r.ends[i] = binary.LittleEndian.Uint64(b[at:])
		if r.ends[i] < last || r.ends[i] > uint64(body) {
			return fail("a section")
		}
		last = r.ends[i]
		at += 8
	}
	if last != uint64(body) {
		return fail("the end")
	}
	return r, head, nil
}

// validate checks that what refers to a place refers to one that is there, so
// that no bytes, however they came to pass the checksum, make a search fail.
func (s *segment) validate() error {
	docs, terms := uint64(s.docs), uint64(s.terms.n)
	valid := s.from <= s.to && s.starts.rises(uint64(s.tokens)) && s.forward.below(terms) &&
		s.df.below(docs+1) && s.sessions.below(docs) && s.sessStart.rises(docs) && s.ordered() &&
		len(s.postings) >= slack && s.listStart.rises(uint64(len(s.postings)-slack))
	for k := range nameKinds {
		valid = valid && s.names[k].below(uint64(s.nameTable[k].n))
	}
	if !valid {
		return fmt.Errorf("a reference: %w", errCorrupt)
	}
	for t := range s.terms.n {
		if l := s.list(t); !l.valid(uint32(s.docs)) {
			return fmt.Errorf("the list of a term: %w", errCorrupt)
		}
	}
	return nil
}

// ordered reports whether the documents' numbers rise.
func (s *segment) ordered() bool {
	last := int64(-1 << 63)
	for i := range s.docs {
		n := s.num(i)
		if n <= last {
			return false
		}
		last = n
	}
	return true
}

func (s *segment) num(doc int) int64 { return int64(s.nums.at(doc)) }

// find returns the document with the number, and -1 where there is none.
func (s *segment) find(num int64) int {
	lo, hi := 0, s.docs
	for lo < hi {
		if mid := (lo + hi) / 2; s.num(mid) < num {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < s.docs && s.num(lo) == num {
		return lo
	}
	return -1
}

func (s *segment) name(k nameKind, doc int) []byte {
	return s.nameTable[k].string(int(s.names[k].at(doc)))
}

// terms of the document lie in forward from begin to end.
func (s *segment) bounds(doc int) (begin, end int) {
	return int(s.starts.at(doc)), int(s.starts.at(doc + 1))
}
