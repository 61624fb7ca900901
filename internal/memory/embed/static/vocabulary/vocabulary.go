// Package vocabulary is a file of words and their vectors that is read where it
// lies: nothing of it is unpacked but its codebooks, so it is open at once and
// takes no memory beyond its bytes.
//
// A vector is product-quantised (Jégou, Douze and Schmid 2011): cut into parts,
// each of which is one of 256 that occur in the part's codebook, so that a part
// takes a byte. The words are sorted, and each says only in what it differs from
// the one before it.
package vocabulary

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The layout, all numbers little-endian:
//
//	magic, dimension, parts, words, stems    five uint32
//	codebooks      for each part 256 x its dimensions float32
//	codes          for each word a byte for each part
//	ranks          for each word a byte: logRank times the logarithm of its rank
//	stemWords      for each stem a uint32: the word that it stands for
//	words          a dictionary
//	stems          a dictionary
const (
	magic     = 0x31435653
	headLen   = 5 * 4
	centroids = 256
	logRank   = 20
)

const (
	// smooth is the a of the weight, as in the paper.
	smooth = 1e-3
	// The probability of the word at a rank is zipf/(rank+shift), by the law of
	// Zipf and Mandelbrot; zipf makes those of the whole list one.
	zipf  = 0.075
	shift = 2.7
)

// Vocabulary is an open file. It is not changed and may be used by several
// goroutines.
type Vocabulary struct {
	dims, parts int
	codebooks   []float32
	longest     []float32 // by part: the squared norm of its longest centroid
	lengths     []float32 // by word
	codes       []byte
	ranks       []byte
	stemWords   []byte
	words       dictionary
	stems       dictionary
}

// Open reads the head of a file and checks that the rest is of the size that it
// says. The bytes must not change afterwards.
func Open(b []byte) (*Vocabulary, error) {
	r := sections{b: b}
	head := r.take(1, headLen)
	if head == nil || binary.LittleEndian.Uint32(head) != magic {
		return nil, errors.New("it is no vocabulary")
	}
	number := func(i int) int { return int(binary.LittleEndian.Uint32(head[4*i:])) }
	v := &Vocabulary{dims: number(1), parts: number(2)}
	words, stems := number(3), number(4)
	if v.parts < 1 || v.parts > v.dims {
		return nil, fmt.Errorf("a vocabulary of %d dimensions in %d parts", v.dims, v.parts)
	}
	books := r.take(v.dims, centroids*4)
	v.codes = r.take(words, v.parts)
	v.ranks = r.take(words, 1)
	v.stemWords = r.take(stems, 4)
	v.words = r.dictionary(words)
	v.stems = r.dictionary(stems)
	if r.short || len(r.b) > 0 {
		return nil, errors.New("the vocabulary is cut off, or something follows it")
	}
	v.codebooks = make([]float32, v.dims*centroids)
	for i := range v.codebooks {
		v.codebooks[i] = math.Float32frombits(binary.LittleEndian.Uint32(books[4*i:]))
	}
	v.measure(words)
	return v, nil
}

// measure works out how long the words are.
func (v *Vocabulary) measure(words int) {
	squares := make([]float32, v.parts*centroids) // by part and code
	v.longest, v.lengths = make([]float32, v.parts), make([]float32, words)
	for p := range v.parts {
		from, to := part(p, v.parts, v.dims)
		for code := range centroids {
			square := float32(0)
			for _, x := range v.codebooks[from*centroids+code*(to-from):][:to-from] {
				square += x * x
			}
			squares[p*centroids+code] = square
			v.longest[p] = max(v.longest[p], square)
		}
	}
	for w := range v.lengths {
		square := float32(0)
		for p, code := range v.codes[w*v.parts : (w+1)*v.parts] {
			square += squares[p*centroids+int(code)]
		}
		v.lengths[w] = float32(math.Sqrt(float64(square)))
	}
}

// sections takes a file apart from its front.
type sections struct {
	b     []byte
	short bool
}

func (r *sections) take(n, size int) []byte {
	if r.short || n > len(r.b)/size {
		r.short = true
		return nil
	}
	s := r.b[:n*size]
	r.b = r.b[n*size:]
	return s
}

// Dimension is that of the vectors.
func (v *Vocabulary) Dimension() int { return v.dims }

// Words is how many there are.
func (v *Vocabulary) Words() int { return v.words.n }

// Word returns the number of a word, and false where it is not known.
func (v *Vocabulary) Word(word string) (int, bool) { return v.words.find(word) }

// Stem returns the number of the most frequent word with the stem.
func (v *Vocabulary) Stem(stem string) (int, bool) {
	i, ok := v.stems.find(stem)
	if !ok {
		return v.Word(stem) // a stem that is its word is not in the table
	}
	w := int(binary.LittleEndian.Uint32(v.stemWords[4*i:]))
	return w, w < v.words.n
}

// Rank is the place of a word by its frequency, from 1, within three in a
// hundred.
func (v *Vocabulary) Rank(word int) float64 { return math.Exp(float64(v.ranks[word]) / logRank) }

// Rarity is 1 for words that are rare in English and near 0 for the most frequent
// ones: the weight a/(a+p) of smooth inverse frequency (Arora, Liang and Ma 2017),
// where the probability p of a word is by its rank.
func (v *Vocabulary) Rarity(word int) float64 {
	return smooth / (smooth + zipf/(v.Rank(word)+shift))
}

// Add adds the vector of a word, times the weight, to the vector dst.
func (v *Vocabulary) Add(dst []float32, word int, weight float32) {
	code := v.codes[word*v.parts : (word+1)*v.parts]
	for p, c := range code {
		from, to := part(p, v.parts, v.dims)
		book := v.codebooks[from*centroids+int(c)*(to-from):]
		for i := range dst[from:to] {
			dst[from+i] += weight * book[i]
		}
	}
}

// part returns the dimensions of a part, whose codebook begins at the first of
// them times centroids.
func part(p, parts, dims int) (from, to int) { return p * dims / parts, (p + 1) * dims / parts }
