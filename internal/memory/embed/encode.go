package embed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// header is the length of the scale in front of an encoded vector.
const header = 4

// Encode returns the form in which a vector is kept: four bytes of scale, a
// little-endian float32, and then one signed byte for each dimension, from -127
// to 127, which times the scale is its value. The vector is brought to length 1;
// one that is zero, or holds what is no number, has scale 0.
func Encode(v []float32) []byte {
	b := make([]byte, header+len(v))
	sum, largest := 0.0, 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
		largest = max(largest, math.Abs(float64(x)))
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return b
	}
	total := 0.0
	for i, x := range v {
		q := math.Round(float64(x) / largest * 127)
		total += q * q
		b[header+i] = byte(int8(q))
	}
	// The length that counts is the one after rounding.
	binary.LittleEndian.PutUint32(b, math.Float32bits(float32(1/math.Sqrt(total))))
	return b
}

// Decode returns the vector that was encoded, as exact as it was kept.
func Decode(b []byte) ([]float32, error) {
	if len(b) < header {
		return nil, fmt.Errorf("a vector has at least %d bytes, not %d", header, len(b))
	}
	scale := scaleOf(b)
	if !(scale >= 0 && scale <= math.MaxFloat32) {
		return nil, errors.New("the scale of a vector is negative or no number")
	}
	v := make([]float32, len(b)-header)
	for i, x := range b[header:] {
		v[i] = scale * float32(int8(x))
	}
	return v, nil
}

func scaleOf(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// Normalise brings the vector to length 1 where it has a length.
func Normalise(v []float32) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return
	}
	scale := float32(1 / math.Sqrt(sum))
	for i := range v {
		v[i] *= scale
	}
}
