package vocabulary

import "iter"

// All gives every word with its number, in the order of the alphabet. A broken
// file ends early.
func (v *Vocabulary) All() iter.Seq2[int, string] { return v.words.all() }

func (d *dictionary) all() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		var word, rest []byte
		for i := range d.n {
			if i%blockWords == 0 {
				var first []byte
				if first, rest = d.first(i / blockWords); first == nil {
					return
				}
				word = append(word[:0], first...)
			} else {
				if len(rest) == 0 || int(rest[0]) > len(word) {
					return
				}
				word = word[:rest[0]]
				var suffix []byte
				if suffix, rest = lengthed(rest[1:]); suffix == nil {
					return
				}
				word = append(word, suffix...)
			}
			if !yield(i, string(word)) {
				return
			}
		}
	}
}
