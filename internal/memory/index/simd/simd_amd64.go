//go:build !purego

package simd

import "golang.org/x/sys/cpu"

var accelerated = cpu.X86.HasAVX2

// products sets n numbers of out to the products of rows, of dims numbers each,
// and the query in chunks. There are dims/16 of these and one more; dims is 16 at
// least.
//
//go:noescape
func products(out *int32, rows *byte, n, dims int, query *int16)

// productsAt does the same for the rows at n places.
//
//go:noescape
func productsAt(out *int32, rows *byte, places *int32, n, dims int, query *int16)

// sift does what Agreements does, with sketches of so many bytes.
//
//go:noescape
func sift(agreements *uint16, reached *uint32, sketches *byte, blocks, size int, tables *table, least uint16)
