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

// Dot returns the dot product of two encoded vectors, which is the cosine of the
// angle between them. Of vectors of different dimensions it is 0.
func Dot(a, b []byte) float32 {
	if len(a) != len(b) || len(a) < header {
		return 0
	}
	scale := scaleOf(a) * scaleOf(b)
	a, b = a[header:], b[header:]
	var s0, s1, s2, s3 int32
	for len(a) >= 8 && len(b) >= 8 {
		s0 += int32(int8(a[0]))*int32(int8(b[0])) + int32(int8(a[4]))*int32(int8(b[4]))
		s1 += int32(int8(a[1]))*int32(int8(b[1])) + int32(int8(a[5]))*int32(int8(b[5]))
		s2 += int32(int8(a[2]))*int32(int8(b[2])) + int32(int8(a[6]))*int32(int8(b[6]))
		s3 += int32(int8(a[3]))*int32(int8(b[3])) + int32(int8(a[7]))*int32(int8(b[7]))
		a, b = a[8:], b[8:]
	}
	for i := range min(len(a), len(b)) {
		s0 += int32(int8(a[i])) * int32(int8(b[i]))
	}
	return scale * float32(s0+s1+s2+s3)
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
