//go:build !amd64 || purego

package simd

const accelerated = false

func products(*int32, *byte, int, int, *int16) { panic("simd: products without AVX2") }

func productsAt(*int32, *byte, *int32, int, int, *int16) { panic("simd: products without AVX2") }

func sift(*uint16, *uint32, *byte, int, int, *table, uint16) { panic("simd: agreements without AVX2") }
