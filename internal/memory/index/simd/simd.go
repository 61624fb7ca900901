// Package simd compares one vector with many: by their numbers, and by sketches,
// which are only the signs of these. On amd64 processors with AVX2 it takes
// sixteen numbers or thirty-two sketches at a time; elsewhere one after another,
// with the same results.
package simd

import (
	"fmt"
	"slices"
)

// chunk is how many numbers are multiplied at once.
const chunk = 16

// Query is a vector, made ready for being compared with many of as many numbers.
type Query struct {
	numbers []int8
	// chunks are the numbers in chunks, and one more chunk: where the last numbers
	// fill none, it is the last sixteen, less those that are in a chunk before.
	chunks []int16
	tables []table
}

// NewQuery makes the numbers ready, which must not change afterwards.
func NewQuery(numbers []int8) *Query {
	q := &Query{numbers: numbers, tables: newTables(numbers)}
	if len(numbers) < chunk {
		return q
	}
	whole := len(numbers) / chunk * chunk
	q.chunks = make([]int16, whole+chunk)
	for i, n := range numbers[:whole] {
		q.chunks[i] = int16(n)
	}
	for i := whole; i < len(numbers); i++ {
		q.chunks[whole+chunk-len(numbers)+i] = int16(numbers[i])
	}
	return q
}

// Products sets out[i] to the inner product of the query and row i of rows, of
// which there are as many as out has room for, one directly behind the other.
// Each is int8 numbers, as many as the query's.
func (q *Query) Products(out []int32, rows []byte) {
	dims := len(q.numbers)
	if dims == 0 || len(out) == 0 {
		clear(out)
		return
	}
	rows = rows[:dims*len(out)]
	if accelerated && q.chunks != nil {
		products(&out[0], &rows[0], len(out), dims, &q.chunks[0])
		return
	}
	for i := range out {
		out[i] = product(q.numbers, rows[i*dims:][:dims])
	}
}

// ProductsAt sets out[i] to the inner product of the query and the row of rows at
// places[i]. There is a place for each that out has room for, and a row for each
// place; rows are as those of Products.
func (q *Query) ProductsAt(out []int32, rows []byte, places []int32) {
	dims := len(q.numbers)
	if dims == 0 || len(out) == 0 {
		clear(out)
		return
	}
	places = places[:len(out)]
	if lowest, highest := slices.Min(places), slices.Max(places); lowest < 0 || int(highest) >= len(rows)/dims {
		panic(fmt.Sprintf("simd: places from %d to %d in %d rows", lowest, highest, len(rows)/dims))
	}
	if accelerated && q.chunks != nil {
		productsAt(&out[0], &rows[0], &places[0], len(out), dims, &q.chunks[0])
		return
	}
	for i, place := range places {
		out[i] = product(q.numbers, rows[int(place)*dims:][:dims])
	}
}

func product(a []int8, b []byte) int32 {
	var sum, sum1, sum2, sum3 int32
	for len(a) >= 4 && len(b) >= 4 {
		sum += int32(a[0]) * int32(int8(b[0]))
		sum1 += int32(a[1]) * int32(int8(b[1]))
		sum2 += int32(a[2]) * int32(int8(b[2]))
		sum3 += int32(a[3]) * int32(int8(b[3]))
		a, b = a[4:], b[4:]
	}
	for i, x := range a {
		sum += int32(x) * int32(int8(b[i]))
	}
	return sum + sum1 + sum2 + sum3
}
