package index

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// errCorrupt is what bytes that are no segment are refused with.
var errCorrupt = errors.New("the segment is corrupt")

// slack is what lies behind packed bits, so that eight bytes can be read at any
// of them.
const slack = 8

// column is a list of numbers, each as wide as the widest of them needs, from
// the smallest of them up.
type column struct {
	base  uint64
	mask  uint64
	width uint
	n     int
	data  []byte
}

// columnHead is the width and the base.
const columnHead = 1 + 8

// fullWidth stands for all widths that do not fit into eight bytes together with
// the bits in front of them.
const (
	maxWidth  = 56
	fullWidth = 64
)

// appendColumn appends the numbers packed.
func appendColumn(dst []byte, values []uint64) []byte {
	var lowest, highest uint64
	if len(values) > 0 {
		lowest, highest = values[0], values[0]
		for _, v := range values {
			lowest, highest = min(lowest, v), max(highest, v)
		}
	}
	width := uint(bits.Len64(highest - lowest))
	if width > maxWidth {
		width = fullWidth
	}
	dst = append(dst, byte(width))
	dst = binary.LittleEndian.AppendUint64(dst, lowest)
	return appendPacked(dst, width, len(values), func(i int) uint64 { return values[i] - lowest }, slack)
}

// appendPacked appends n numbers of width bits, and room behind them.
func appendPacked(dst []byte, width uint, n int, at func(i int) uint64, room int) []byte {
	if width == fullWidth {
		for i := range n {
			dst = binary.LittleEndian.AppendUint64(dst, at(i))
		}
		return append(dst, make([]byte, room)...)
	}
	var word uint64
	var filled uint
	for i := range n {
		word |= at(i) << filled
		for filled += width; filled >= 8; filled -= 8 {
			dst = append(dst, byte(word))
			word >>= 8
		}
	}
	if filled > 0 {
		dst = append(dst, byte(word))
	}
	return append(dst, make([]byte, room)...)
}

func packedSize(width uint, n int) int { return int((uint(n)*width + 7) / 8) }

// readColumn reads a column of n numbers that fills the bytes.
func readColumn(b []byte, n int) (column, error) {
	if len(b) < columnHead+slack {
		return column{}, errCorrupt
	}
	c := column{width: uint(b[0]), base: binary.LittleEndian.Uint64(b[1:]), n: n, data: b[columnHead:]}
	if c.width > maxWidth && c.width != fullWidth || len(c.data) != packedSize(c.width, n)+slack {
		return column{}, errCorrupt
	}
	c.mask = ^uint64(0)
	if c.width < fullWidth {
		c.mask = 1<<c.width - 1
	}
	return c, nil
}

func (c *column) at(i int) uint64 {
	bit := uint(i) * c.width
	return c.base + binary.LittleEndian.Uint64(c.data[bit>>3:])>>(bit&7)&c.mask
}

// below reports whether all numbers of the column are less than n.
func (c *column) below(n uint64) bool {
	if c.n == 0 {
		return true
	}
	if c.base >= n {
		return false
	}
	if c.mask < n-c.base {
		return true
	}
	for i := range c.n {
		if v := c.at(i); v >= n || v < c.base {
			return false
		}
	}
	return true
}

// rises reports whether the column goes up from 0 to end and never down.
func (c *column) rises(end uint64) bool {
	if c.n == 0 || c.at(0) != 0 || c.at(c.n-1) != end {
		return false
	}
	last := uint64(0)
	for i := range c.n {
		v := c.at(i)
		if v < last {
			return false
		}
		last = v
	}
	return true
}
