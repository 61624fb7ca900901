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

// agreements sets two numbers of out for each of so many pairs of sketches, of so
// many chunks each.
//
//go:noescape
func agreements(out *int32, sketches *byte, pairs, chunks int, query *sketchChunk)
