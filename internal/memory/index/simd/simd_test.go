package simd_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stayd/stayd/internal/memory/index/simd"
)

func TestKnown(t *testing.T) {
	q := simd.NewQuery([]int8{127, -127, 64, 0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 100, -100})
	row := func(of ...int8) []byte {
		out := make([]byte, 18)
		for i, x := range of {
			out[i] = byte(x)
		}
		return out
	}
	own := row(127, -127, 64, 0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 100, -100)
	other := row(-128, 127, -1, 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1)
	out := make([]int32, 3)
	q.Products(out, slices.Concat(own, other, row()))
	// 2*127² + 64² + 2*(1+4+9+16+25+36) + 2*100²; -128*127 - 127² - 64 + 100 - 100; nothing.
	if want := []int32{56536, -32449, 0}; !slices.Equal(out, want) {
		t.Errorf("products are %v, want %v", out, want)
	}

	sketches := simd.AppendSketches(nil, slices.Concat(own, other, row()), 18)
	agreements, reached := make([]uint16, simd.Block), make([]uint32, 1)
	q.Agreements(agreements, reached, sketches, 17)
	// Numbers count as sevenths of 127: 127s count 7, 64 counts 4, 100s count 6, all others 0.
	if want := []uint16{7 + 7 + 4 + 6 + 6, 6, 7 + 4 + 6}; !slices.Equal(agreements[:3], want) {
		t.Errorf("agreements are %v, want %v", agreements[:3], want)
	}
	if reached[0]&7 != 0b101 {
		t.Errorf("%b reach 17, want 101", reached[0]&7)
	}
}

// Vectors of every length, in every number, are compared as one number after the
// other is.
func TestAgainstOneByOne(t *testing.T) {
	for _, dims := range []int{1, 2, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 256, 300, 384, 1536, 1 << 14} {
		t.Run(strconv.Itoa(dims), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(dims), 1))
			for _, n := range []int{0, 1, 2, 3, 8, 32, 33, 65} {
				query, rows := make([]int8, dims), make([]byte, dims*n)
				for i := range query {
					query[i] = int8(r.IntN(255) - 127)
				}
				for i := range rows {
					rows[i] = byte(r.IntN(256))
				}
				compare(t, query, rows, n)
			}
		})
	}
}

func TestAgreementsSaturate(t *testing.T) {
	query, rows := make([]int8, 1<<14), make([]byte, 1<<14)
	for i := range query {
		query[i], rows[i] = 127, 127
	}
	compare(t, query, rows, 1)
}

// FuzzCompare takes the first number of bytes as the query and the rest as what it
// is compared with.
func FuzzCompare(f *testing.F) {
	f.Add(uint16(3), []byte("abcdefghi"))
	f.Add(uint16(16), slices.Repeat([]byte{0x80, 0x7f}, 40))
	f.Add(uint16(130), slices.Repeat([]byte{0x81}, 130*4))
	f.Fuzz(func(t *testing.T, dims uint16, data []byte) {
		if dims == 0 || int(dims) > len(data) {
			return
		}
		query := make([]int8, dims)
		for i := range query {
			query[i] = max(int8(data[i]), -127)
		}
		rows := data[dims:]
		compare(t, query, rows, len(rows)/int(dims))
	})
}

func compare(t *testing.T, query []int8, rows []byte, n int) {
	t.Helper()
	q, dims := simd.NewQuery(query), len(query)
	largest := 1
	for _, x := range query {
		largest = max(largest, int(x), -int(x))
	}
	products, agreements := make([]int32, n), make([]uint16, n)
	for i := range n {
		row, agreement := rows[i*dims:][:dims], 0
		for d, x := range query {
			products[i] += int32(x) * int32(int8(row[d]))
			if (x < 0) == (int8(row[d]) < 0) {
				size := float64(max(int(x), -int(x)))
				agreement += int(size*7/float64(largest) + 0.5)
			}
		}
		agreements[i] = uint16(min(agreement, 65535))
	}
	got := make([]int32, n)
	if q.Products(got, rows); !slices.Equal(got, products) {
		t.Fatalf("%d products of %d numbers are %v, want %v", n, dims, got, products)
	}
	places, at := make([]int32, n), make([]int32, n)
	for i := range places {
		places[i] = int32((i*7 + 3) % n)
		at[i] = products[places[i]]
	}
	if q.ProductsAt(got, rows, places); !slices.Equal(got, at) {
		t.Fatalf("%d products of %d numbers at %v are %v, want %v", n, dims, places, got, at)
	}
	sketches := simd.AppendSketches(nil, rows[:n*dims], dims)
	if len(sketches) != simd.SketchSize(dims, n) {
		t.Fatalf("%d sketches of %d numbers have %d bytes", n, dims, len(sketches))
	}
	blocks := (n + simd.Block - 1) / simd.Block
	room, reached := make([]uint16, blocks*simd.Block), make([]uint32, blocks)
	least := uint16(0)
	if n > 0 {
		least = agreements[n/2]
	}
	if q.Agreements(room, reached, sketches, least); !slices.Equal(room[:n], agreements) {
		t.Fatalf("%d agreements of %d numbers are %v, want %v", n, dims, room[:n], agreements)
	}
	for i, agreement := range agreements {
		if got := reached[i/simd.Block]>>(i%simd.Block)&1 == 1; got != (agreement >= least) {
			t.Fatalf("of %d agreements of %d numbers, %d is %d and reaches %d: %t", n, dims, i, agreement, least, got)
		}
	}
}

func BenchmarkQuery(b *testing.B) {
	const n = 4096
	for _, dims := range []int{100, 1536} {
		r := rand.New(rand.NewPCG(1, 2))
		query, rows := make([]int8, dims), make([]byte, dims*n)
		for i := range query {
			query[i] = int8(r.IntN(255) - 127)
		}
		for i := range rows {
			rows[i] = byte(r.IntN(256))
		}
		sketches := simd.AppendSketches(nil, rows, dims)
		q, out, agreements, reached := simd.NewQuery(query), make([]int32, n), make([]uint16, n), make([]uint32, n/simd.Block)
		for name, run := range map[string]func(){
			"products":   func() { q.Products(out, rows) },
			"agreements": func() { q.Agreements(agreements, reached, sketches, 1) },
		} {
			b.Run(fmt.Sprintf("%s/dims=%d", name, dims), func(b *testing.B) {
				for b.Loop() {
					run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/vector")
			})
		}
	}
}
