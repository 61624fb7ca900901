package index

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
)

// table is a list of distinct strings in the order of their hashes, so that one
// is found by guessing where its hash must stand: the dictionary of terms, and
// the names that records share.
type table struct {
	n      int
	hashes column
	starts column
	text   []byte
}

// hashOf is FNV-1a with a mixing step, folded to 32 bits; it is part of the
// format of a segment.
func hashOf[T string | []byte](s T) uint32 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	return uint32(h >> 32)
}

func (t *table) string(i int) []byte {
	return t.text[t.starts.at(i):t.starts.at(i+1)]
}

// find returns the place of the string, and -1 where it is not there. The hash
// is the string's.
func (t *table) find(hash uint32, s []byte) int {
	lo, hi := t.near(hash)
	for lo < hi {
		if mid := (lo + hi) / 2; uint32(t.hashes.at(mid)) < hash {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for ; lo < t.n && uint32(t.hashes.at(lo)) == hash; lo++ {
		if bytes.Equal(t.string(lo), s) {
			return lo
		}
	}
	return -1
}

// near returns bounds of the place where the hash begins. Hashes are spread
// evenly: a guess by proportion lands near, and steps that double from there find
// the other bound.
func (t *table) near(hash uint32) (lo, hi int) {
	if t.n == 0 {
		return 0, 0
	}
	high, _ := bits.Mul64(uint64(hash)<<32, uint64(t.n))
	guess := int(high)
	if uint32(t.hashes.at(guess)) < hash {
		lo = guess
		for step := 4; guess+step < t.n; step *= 2 {
			if uint32(t.hashes.at(guess+step)) >= hash {
				return lo, guess + step
			}
			lo = guess + step
		}
		return lo, t.n
	}
	hi = guess
	for step := 4; guess-step >= 0; step *= 2 {
		if uint32(t.hashes.at(guess-step)) < hash {
			return guess - step, hi
		}
		hi = guess - step
	}
	return 0, hi
}

// interner gives distinct strings numbers in the order of their coming.
type interner struct {
	ids     map[string]uint32
	strings []string
}

func newInterner() *interner { return &interner{ids: map[string]uint32{}} }

func (in *interner) id(s string) uint32 {
	id, ok := in.ids[s]
	if !ok {
		id = in.add(s)
	}
	return id
}

func (in *interner) idOf(s []byte) uint32 {
	id, ok := in.ids[string(s)]
	if !ok {
		id = in.add(string(s))
	}
	return id
}

func (in *interner) add(s string) uint32 {
	id := uint32(len(in.strings))
	in.ids[s] = id
	in.strings = append(in.strings, s)
	return id
}

// sorted returns the strings in the order of a table, and the place there of
// each number that was given out.
func (in *interner) sorted() (ordered []string, places []uint32) {
	type entry struct {
		hash, id uint32
	}
	entries := make([]entry, len(in.strings))
	for i, s := range in.strings {
		entries[i] = entry{hashOf(s), uint32(i)}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Compare(in.strings[a.id], in.strings[b.id])
	})
	ordered, places = make([]string, len(entries)), make([]uint32, len(entries))
	for i, e := range entries {
		ordered[i] = in.strings[e.id]
		places[e.id] = uint32(i)
	}
	return ordered, places
}
