package embed_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stayd/stayd/internal/memory/embed"
)

func TestEncodeLayout(t *testing.T) {
	got := embed.Encode([]float32{3, -4, 0, 4})
	want := binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(1/math.Sqrt(95*95+127*127+127*127))))
	want = append(want, 95, 0x81, 0, 127)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEncodeNothing(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, v := range [][]float32{{}, {0, 0}, {nan, 1}, {inf, 1}} {
		b := embed.Encode(v)
		if diff := cmp.Diff(make([]byte, 4+len(v)), b); diff != "" {
			t.Errorf("%v: %s", v, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for want, b := range map[string][]byte{
		"a vector has at least 4 bytes, not 3":           {0, 0, 0},
		"the scale of a vector is negative or no number": {0, 0, 0xc0, 0x7f, 1},
	} {
		if _, err := embed.Decode(b); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", b, err, want)
		}
	}
}

// dot is the product of two vectors as they are read back.
func dot(t *rapid.T, a, b []byte) float64 {
	x, err := embed.Decode(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := embed.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i := range x {
		sum += float64(x[i]) * float64(y[i])
	}
	return sum
}

// What is lost in one byte a dimension is small: the cosine of any two vectors
// stays where it was.
func TestEncodingKeepsTheCosine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 200).Draw(t, "dimensions")
		number := rapid.Float32Range(-3, 3)
		a := rapid.SliceOfN(number, n, n).Draw(t, "a")
		b := rapid.SliceOfN(number, n, n).Draw(t, "b")
		a[0], b[0] = 3, 3 // none is zero
		ea, eb := embed.Encode(a), embed.Encode(b)
		embed.Normalise(a)
		embed.Normalise(b)
		exact := 0.0
		for i := range a {
			exact += float64(a[i]) * float64(b[i])
		}
		// Each number is off by at most half of 1/127 of the largest.
		bound := 2*math.Sqrt(float64(n))/254 + 1e-4
		if d := math.Abs(dot(t, ea, eb) - exact); d > bound {
			t.Fatalf("the dot product is off by %v", d)
		}
		if d := dot(t, ea, ea); math.Abs(d-1) > 1e-5 {
			t.Fatalf("the length is %v", d)
		}
		back, err := embed.Decode(ea)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ea, embed.Encode(back)); diff != "" {
			t.Fatalf("decoded and encoded again:\n%s", diff)
		}
	})
}
