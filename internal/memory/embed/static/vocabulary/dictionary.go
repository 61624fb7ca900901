package vocabulary

import "encoding/binary"

// dictionary is a sorted list of words in blocks of sixteen. A block begins with
// its first word; each of the others says how many bytes it shares with the one
// before it and what follows them. Lengths are one byte.
//
//	size of the blocks        uint32
//	where each block begins   uint32 each
//	blocks
type dictionary struct {
	n      int
	starts []byte
	blocks []byte
}

const (
	blockWords = 16
	maxWord    = 255
)

func (r *sections) dictionary(n int) dictionary {
	head := r.take(1, 4)
	if head == nil {
		return dictionary{}
	}
	d := dictionary{n: n, starts: r.take((n+blockWords-1)/blockWords, 4)}
	d.blocks = r.take(int(binary.LittleEndian.Uint32(head)), 1)
	return d
}

func appendDictionary(b []byte, words []string) []byte {
	var starts, blocks []byte
	for i, w := range words {
		shared := 0
		if i%blockWords == 0 {
			starts = binary.LittleEndian.AppendUint32(starts, uint32(len(blocks)))
		} else {
			shared = commonPrefix(words[i-1], w)
			blocks = append(blocks, byte(shared))
		}
		blocks = append(append(blocks, byte(len(w)-shared)), w[shared:]...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(blocks)))
	return append(append(b, starts...), blocks...)
}

func commonPrefix[T string | []byte](a T, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// find returns the place of a word. In a broken file it finds nothing.
func (d *dictionary) find(word string) (int, bool) {
	low, high := 0, len(d.starts)/4 // the block before low begins with the word or one before it
	for low < high {
		mid := (low + high) / 2
		first, _ := d.first(mid)
		if string(first) <= word {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return 0, false
	}
	i, ok := d.inBlock(low-1, word)
	return (low-1)*blockWords + i, ok
}

// first returns the first word of a block and what follows it.
func (d *dictionary) first(block int) (word, rest []byte) {
	at := int(binary.LittleEndian.Uint32(d.starts[4*block:]))
	if at >= len(d.blocks) {
		return nil, nil
	}
	return lengthed(d.blocks[at:])
}

func lengthed(b []byte) (word, rest []byte) {
	if len(b) == 0 || int(b[0]) >= len(b) {
		return nil, nil
	}
	return b[1 : 1+int(b[0])], b[1+int(b[0]):]
}

// inBlock follows how many bytes the words of a block have in common with the one
// that is looked for, so that none of them is put together.
func (d *dictionary) inBlock(block int, word string) (int, bool) {
	first, rest := d.first(block)
	same := commonPrefix(first, word)
	if same == len(word) && same == len(first) {
		return 0, true
	}
	for i := 1; i < blockWords && block*blockWords+i < d.n && len(rest) > 1; i++ {
		shared := int(rest[0])
		var suffix []byte
		suffix, rest = lengthed(rest[1:])
		switch {
		case shared < same:
			return 0, false // the words are past the one looked for
		case shared == same:
			same += commonPrefix(suffix, word[same:])
			if same == len(word) && same == shared+len(suffix) {
				return i, true
			}
		}
	}
	return 0, false
}
