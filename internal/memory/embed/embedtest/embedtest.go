// Package embedtest is the suite that every embedder passes.
package embedtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory/embed"
)

// Run tests an embedder, which the function makes for each test. It may be a
// model of its own whose vectors mean nothing, as long as equal texts have equal
// ones and texts without a common word have others.
func Run(t *testing.T, open func(t *testing.T) embed.Embedder) {
	t.Run("vectors are as many and as long as they are said to be", func(t *testing.T) { testShape(t, open(t)) })
	t.Run("a text has the same vector in any company", func(t *testing.T) { testOrder(t, open(t)) })
	t.Run("texts that say nothing", func(t *testing.T) { testNothing(t, open(t)) })
	t.Run("many texts", func(t *testing.T) { testMany(t, open(t)) })
	t.Run("a cancelled call is an error", func(t *testing.T) { testCancelled(t, open(t)) })
	t.Run("several calls at once", func(t *testing.T) { testParallel(t, open(t)) })
}

var texts = []string{
	"the cat sleeps on the sofa",
	"Quarterly revenue grew",
	"Zyxorbia Quenth",
	"caffè, Übung, 東京, \xff, " + strings.Repeat("long ", 500),
}

func testShape(t *testing.T, e embed.Embedder) {
	model := e.Model()
	dims, err := strconv.Atoi(model[strings.LastIndex(model, "@")+1:])
	if !strings.Contains(model, "@") || err != nil || dims < 1 {
		t.Fatalf("the model %q does not end with its dimension, as in static/1@100", model)
	}
	for i, v := range vectors(t, e, texts...) {
		if len(v) != dims {
			t.Errorf("%.20q has %d dimensions, and the model %q", texts[i], len(v), model)
		}
		if n := dot(v, v); math.Abs(n-1) > 1e-4 {
			t.Errorf("%.20q has length %v", texts[i], math.Sqrt(n))
		}
	}
	if got := vectors(t, e); len(got) != 0 {
		t.Errorf("no texts have %d vectors", len(got))
	}
	if e.Model() != model {
		t.Errorf("the model was %q and is %q", model, e.Model())
	}
}

// A batch may have texts that say nothing, which some endpoints refuse.
func testNothing(t *testing.T, e embed.Embedder) {
	got := vectors(t, e, "", texts[0], " \n\t")
	for i, v := range got {
		if n, want := dot(v, v), float64(i%2); len(v) != len(got[1]) || math.Abs(n-want) > 1e-4 {
			t.Errorf("text %d has %d dimensions and the length %v, want %d and %v", i, len(v), math.Sqrt(n), len(got[1]), want)
		}
	}
}

func testOrder(t *testing.T, e embed.Embedder) {
	together := vectors(t, e, texts...)
	for i, text := range texts {
		alone := vectors(t, e, text)[0]
		for j, v := range together {
			if same := dot(alone, v) > 0.999; same != (i == j) {
				t.Errorf("%.20q and %.20q: their dot product is %v", text, texts[j], dot(alone, v))
			}
		}
	}
}

func testMany(t *testing.T, e embed.Embedder) {
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("%s %d", texts[i%2], i))
	}
	got := vectors(t, e, many...)
	for _, i := range []int{0, 95, 96, 127, 128, 299} {
		if d := dot(got[i], vectors(t, e, many[i])[0]); d < 0.999 {
			t.Errorf("text %d is not at its place: the dot product is %v", i, d)
		}
	}
}

func testCancelled(t *testing.T, e embed.Embedder) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := e.Embed(ctx, texts)
	if !errors.Is(err, context.Canceled) || got != nil {
		t.Errorf("%d vectors and the error %v, want only %v", len(got), err, context.Canceled)
	}
}

func testParallel(t *testing.T, e embed.Embedder) {
	want := vectors(t, e, texts...)
	done := make(chan error)
	for range 4 {
		go func() {
			got, err := e.Embed(t.Context(), texts)
			if err == nil && !slices.EqualFunc(got, want, slices.Equal[[]float32]) {
				err = errors.New("other vectors than alone")
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Vector is the vector that a server gives a text where it stands for a model in
// tests: any one, but always the same. It is not of length 1.
func Vector(text string, dimensions int) []float32 {
	h := fnv.New64a()
	h.Write([]byte(text))                    //nolint:gosec // a hash never fails
	r := rand.New(rand.NewPCG(h.Sum64(), 1)) //nolint:gosec // nothing is to be kept secret
	v := make([]float32, dimensions)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func vectors(t *testing.T, e embed.Embedder, texts ...string) [][]float32 {
	t.Helper()
	got, err := e.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(texts) {
		t.Fatalf("%d texts have %d vectors", len(texts), len(got))
	}
	return got
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i := range min(len(a), len(b)) {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
