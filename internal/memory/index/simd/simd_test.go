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

	var sketches []byte
	for _, r := range [][]byte{own, other, row()} {
		sketches = simd.AppendSketch(sketches, r)
	}
	q.Agreements(out, sketches)
	// Numbers count as sevenths of 127: 127s count 7, 64 counts 4, 100s count 6, all others 0.
	if want := []int32{7 + 7 + 4 + 6 + 6, 6, 7 + 4 + 6}; !slices.Equal(out, want) {
		t.Errorf("agreements are %v, want %v", out, want)
	}
}

// Vectors of every length, in every number, are compared as one number after the
// other is.
func TestAgainstOneByOne(t *testing.T) {
	for _, dims := range []int{1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 256, 300, 384, 1536, 1 << 14} {
		t.Run(strconv.Itoa(dims), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(dims), 1))
			for _, n := range []int{0, 1, 2, 3, 8, 33} {
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
	var sketches []byte
	products, agreements := make([]int32, n), make([]int32, n)
	for i := range n {
		row := rows[i*dims:][:dims]
		sketches = simd.AppendSketch(sketches, row)
		for d, x := range query {
			products[i] += int32(x) * int32(int8(row[d]))
			if (x < 0) == (int8(row[d]) < 0) {
				size := float64(max(int(x), -int(x)))
				agreements[i] += int32(size*7/float64(largest) + 0.5)
			}
		}
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
	if q.Agreements(got, sketches); !slices.Equal(got, agreements) {
		t.Fatalf("%d agreements of %d numbers are %v, want %v", n, dims, got, agreements)
	}
}

func BenchmarkQuery(b *testing.B) {
	const n = 4096
	for _, dims := range []int{100, 1536} {
		r := rand.New(rand.NewPCG(1, 2))
		query, rows, sketches := make([]int8, dims), make([]byte, dims*n), []byte(nil)
		for i := range query {
			query[i] = int8(r.IntN(255) - 127)
		}
		for i := range rows {
			rows[i] = byte(r.IntN(256))
		}
		for i := range n {
			sketches = simd.AppendSketch(sketches, rows[i*dims:][:dims])
		}
		q, out := simd.NewQuery(query), make([]int32, n)
		for name, run := range map[string]func(){
			"products":   func() { q.Products(out, rows) },
			"agreements": func() { q.Agreements(out, sketches) },
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
