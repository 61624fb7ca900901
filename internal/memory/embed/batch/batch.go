// Package batch lets an embedder take any number of texts of any length, where
// its endpoint takes only so much at once: it cuts texts into requests, and puts
// the vectors that come back together again. It knows nothing of wire forms but
// that a vector is a list of numbers.
package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
)

// Timeout bounds one request with its retries: an endpoint that says nothing
// holds nobody up for good.
const Timeout = 2 * time.Minute

// Limits say what an endpoint takes and what it gives.
type Limits struct {
	Dimensions int // of every vector
	Texts      int // at most in one request
	Bytes      int // at most of all texts of a request
	// Text is how many bytes one text has at most, at least utf8.UTFMax. A longer
	// one is cut at spaces; its vector is the mean of those of its pieces, weighted
	// by their lengths.
	Text     int
	Requests int // at most under way at once
}

// Ask makes one request and returns a vector for each text, in order.
type Ask func(ctx context.Context, texts []string) ([]Vector, error)

// Vector is a vector as it comes in JSON.
type Vector []float32

// UnmarshalJSON takes a list of numbers and nothing else: null, which
// encoding/json takes for 0, is how some servers write what is no number.
func (v *Vector) UnmarshalJSON(b []byte) error {
	if bytes.Contains(b, []byte("null")) {
		return errors.New("a vector has null in it, where numbers are expected")
	}
	var list []float32
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("a vector is no list of numbers: %w", err)
	}
	*v = list
	return nil
}

// Embed implements embed.Embedder.Embed with requests that keep the limits. It
// asks nothing of a text that is empty or has only spaces: its vector is zero.
func Embed(ctx context.Context, texts []string, l Limits, ask Ask) ([][]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embed %d texts: %w", len(texts), err)
	}
	var pieces []string
	var of []int // which text a piece is of
	for i, text := range texts {
		for _, piece := range cut(text, l.Text) {
			pieces, of = append(pieces, piece), append(of, i)
		}
	}
	vectors, err := l.embed(ctx, pieces, ask)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("embed %d texts: %w", len(texts), err)
	}
	out := make([][]float32, len(texts))
	next := 0
	for i := range out {
		sum := make([]float64, l.Dimensions)
		for ; next < len(pieces) && of[next] == i; next++ {
			add(sum, vectors[next], float64(len(pieces[next])))
		}
		out[i] = unit(sum)
	}
	return out, nil
}

// embed returns the vectors of pieces that are no longer than they may be.
func (l Limits) embed(ctx context.Context, pieces []string, ask Ask) ([]Vector, error) {
	vectors := make([]Vector, len(pieces))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(l.Requests)
	for start, end := 0, 0; start < len(pieces); start = end {
		size := 0
		for end < len(pieces) && end-start < l.Texts && (end == start || size+len(pieces[end]) <= l.Bytes) {
			size += len(pieces[end])
			end++
		}
		request, into := pieces[start:end], vectors[start:end]
		g.Go(func() error {
			got, err := l.request(ctx, request, ask)
			copy(into, got)
			return err
		})
	}
	return vectors, g.Wait()
}

// request asks once, and checks what comes back.
func (l Limits) request(ctx context.Context, texts []string, ask Ask) ([]Vector, error) {
	bounded, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	got, err := ask(bounded, texts)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && bounded.Err() != nil:
		return nil, fmt.Errorf("the endpoint did not answer within %s", Timeout)
	case err != nil:
		return nil, err
	case len(got) != len(texts):
		return nil, fmt.Errorf("the endpoint returned %d vectors for %d texts", len(got), len(texts))
	}
	for _, v := range got {
		if len(v) != l.Dimensions {
			return nil, fmt.Errorf("the endpoint returned vectors of dimension %d, not %d; set the dimension to what the model has", len(v), l.Dimensions)
		}
	}
	return got, nil
}

// cut returns the pieces of a text, none of them empty or longer than most. It
// prefers spaces to cut at, and never cuts a character.
func cut(text string, most int) []string {
	var pieces []string
	text = strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
	for len(text) > most {
		at := most
		for !utf8.RuneStart(text[at]) {
			at--
		}
		if space := strings.LastIndexFunc(text[:at], unicode.IsSpace); space > at/2 {
			at = space
		}
		pieces = append(pieces, strings.TrimSpace(text[:at]))
		text = strings.TrimSpace(text[at:])
	}
	if text != "" {
		pieces = append(pieces, text)
	}
	return pieces
}

// add adds the vector, brought to the length weight, to the sum.
func add(sum []float64, v Vector, weight float64) {
	squares := 0.0
	for _, x := range v {
		squares += float64(x) * float64(x)
	}
	if squares == 0 {
		return
	}
	weight /= math.Sqrt(squares)
	for i, x := range v {
		sum[i] += weight * float64(x)
	}
}

// unit returns the vector brought to length 1, where it has a length.
func unit(v []float64) []float32 {
	squares := 0.0
	for _, x := range v {
		squares += x * x
	}
	out := make([]float32, len(v))
	if squares == 0 {
		return out
	}
	length := math.Sqrt(squares)
	for i, x := range v {
		out[i] = float32(x / length)
	}
	return out
}
