package index

import (
	"encoding/binary"
	"math/bits"
)

// A term's list says which documents have it and how often. It is blocks of 128
// documents, packed: the gaps between the documents, then how often less one.
// Lists of more than one block have a directory in front, so that a search can
// skip blocks and knows how much one can matter before it reads it.
const (
	blockDocs   = 128
	maxFreq     = 8 // what is more frequent counts as this
	blockHead   = 2 // the two widths
	impactSize  = 4
	blockEntry  = 4 + 4 + impactSize // last document, end of the block, impact
	noLength    = 255
	maxDocWidth = 32
)

// impact bounds what the documents of a list can score for its term, whatever
// the parameters: the lowest length code among those that have the term once,
// twice, and more often, and the most often.
type impact struct {
	freq    uint8
	lengths [3]uint8
}

func noImpact() impact { return impact{lengths: [3]uint8{noLength, noLength, noLength}} }

func (m *impact) add(freq, length uint8) {
	m.freq = max(m.freq, freq)
	i := min(freq, 3) - 1
	m.lengths[i] = min(m.lengths[i], length)
}

func (m *impact) merge(o impact) {
	m.freq = max(m.freq, o.freq)
	for i := range m.lengths {
		m.lengths[i] = min(m.lengths[i], o.lengths[i])
	}
}

func (m impact) put(b []byte) {
	b[0], b[1], b[2], b[3] = m.freq, m.lengths[0], m.lengths[1], m.lengths[2]
}

func readImpact(b []byte) impact {
	return impact{freq: b[0], lengths: [3]uint8{b[1], b[2], b[3]}}
}

// appendList appends the list of a term.
func appendList(dst []byte, docs []uint32, freqs, lengths []uint8) []byte {
	blocks := (len(docs) + blockDocs - 1) / blockDocs
	directory := len(dst)
	whole := noImpact()
	if blocks > 1 {
		dst = append(dst, make([]byte, impactSize+blocks*blockEntry)...)
	}
	begin := len(dst)
	next := uint32(0) // the lowest document that may come
	for b := range blocks {
		first, end := b*blockDocs, min((b+1)*blockDocs, len(docs))
		dst = appendBlock(dst, docs[first:end], freqs[first:end], next)
		next = docs[end-1] + 1
		if blocks == 1 {
			break
		}
		m := noImpact()
		for i := first; i < end; i++ {
			m.add(freqs[i], lengths[docs[i]])
		}
		whole.merge(m)
		entry := dst[directory+impactSize+b*blockEntry:]
		binary.LittleEndian.PutUint32(entry, docs[end-1])
		binary.LittleEndian.PutUint32(entry[4:], uint32(len(dst)-begin))
		m.put(entry[8:])
	}
	if blocks > 1 {
		whole.put(dst[directory:])
	}
	return dst
}

func appendBlock(dst []byte, docs []uint32, freqs []uint8, next uint32) []byte {
	var gaps [blockDocs]uint32
	var allGaps uint32
	var allFreqs uint8
	for i, d := range docs {
		gaps[i] = d - next
		next = d + 1
		allGaps |= gaps[i]
		allFreqs |= freqs[i] - 1
	}
	docWidth, freqWidth := uint(bits.Len32(allGaps)), uint(bits.Len8(allFreqs))
	dst = append(dst, byte(docWidth), byte(freqWidth))
	dst = appendPacked(dst, docWidth, len(docs), func(i int) uint64 { return uint64(gaps[i]) }, 0)
	return appendPacked(dst, freqWidth, len(docs), func(i int) uint64 { return uint64(freqs[i] - 1) }, 0)
}

// list is where a term's list lies. The bytes go on behind it for the slack.
type list struct {
	df        int
	blocks    int
	directory []byte // nil where there is one block
	data      []byte
	size      int // of the list in data, without slack
}

// list returns that of the term.
func (s *segment) list(term int) list {
	begin, end := s.listStart.at(term), s.listStart.at(term+1)
	l := list{df: int(s.df.at(term)), data: s.postings[begin:], size: int(end - begin)}
	l.blocks = (l.df + blockDocs - 1) / blockDocs
	if head := impactSize + l.blocks*blockEntry; l.blocks > 1 && head <= l.size {
		l.directory, l.data, l.size = l.data[:head], l.data[head:], l.size-head
	}
	return l
}

// last returns the last document of the block of a list with a directory.
func (l *list) last(block int) uint32 {
	return binary.LittleEndian.Uint32(l.directory[impactSize+block*blockEntry:])
}

func (l *list) end(block int) int {
	if l.directory == nil {
		return l.size
	}
	return int(binary.LittleEndian.Uint32(l.directory[impactSize+block*blockEntry+4:]))
}

func (l *list) begin(block int) int {
	if block == 0 {
		return 0
	}
	return l.end(block - 1)
}

func (l *list) impact(block int) impact {
	return readImpact(l.directory[impactSize+block*blockEntry+8:])
}

func (l *list) count(block int) int { return min(blockDocs, l.df-block*blockDocs) }

// decode reads the documents of a block and returns how many there are, and how
// often they have the term.
func (l *list) decode(block int, docs *[blockDocs]uint32) (int, frequencies) {
	n := l.count(block)
	next := uint32(0)
	if block > 0 {
		next = l.last(block-1) + 1
	}
	data := l.data[l.begin(block):]
	width, freqWidth := uint(data[0]), uint(data[1])
	data = data[blockHead:]
	mask := uint64(1)<<width - 1
	bit := uint(0)
	for i := range n {
		next += uint32(binary.LittleEndian.Uint64(data[bit>>3:]) >> (bit & 7) & mask)
		docs[i&(blockDocs-1)] = next
		next++
		bit += width
	}
	return n, frequencies{width: freqWidth, data: data[packedSize(width, n):]}
}

// frequencies says how often each document of a block has the term.
type frequencies struct {
	width uint
	data  []byte
}

func (f *frequencies) at(i int) uint8 {
	bit := uint(i) * f.width
	return uint8(binary.LittleEndian.Uint64(f.data[bit>>3:])>>(bit&7)&(1<<f.width-1)) + 1
}

// valid reports whether the list can be read, names only documents below docs,
// and is as its directory says, whose impacts are of frequencies that there are.
func (l *list) valid(docs uint32) bool {
	if l.df == 0 {
		return l.size == 0
	}
	if l.blocks > 1 && (l.directory == nil || readImpact(l.directory).freq > maxFreq) {
		return false
	}
	var ids [blockDocs]uint32
	next := uint64(0)
	for b := range l.blocks {
		begin, end, n := l.begin(b), l.end(b), l.count(b)
		if begin < 0 || end > l.size || end-begin < blockHead {
			return false
		}
		docWidth, freqWidth := uint(l.data[begin]), uint(l.data[begin+1])
		if docWidth > maxDocWidth || freqWidth > 3 ||
			end-begin != blockHead+packedSize(docWidth, n)+packedSize(freqWidth, n) {
			return false
		}
		l.decode(b, &ids)
		for _, d := range ids[:n] {
			if d >= docs || uint64(d) < next {
				return false
			}
			next = uint64(d) + 1
		}
		if l.directory != nil && (l.last(b) != ids[n-1] || l.impact(b).freq > maxFreq) {
			return false
		}
	}
	return l.end(l.blocks-1) == l.size
}

// lengthCode is the length of a document in terms in one byte: itself below 64,
// then in steps of an eighth of the power of two below it.
func lengthCode(terms int) uint8 {
	if terms < 64 {
		return uint8(terms)
	}
	power := bits.Len(uint(terms)) - 7
	return uint8(min(64+power*8+terms>>(power+3)&7, noLength-1))
}

// codeLength returns the least length with the code.
func codeLength(code uint8) int {
	if code < 64 {
		return int(code)
	}
	power, eighths := int(code-64)/8, int(code-64)%8
	return (8 + eighths) << (power + 3)
}
