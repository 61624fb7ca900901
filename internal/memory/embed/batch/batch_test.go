package batch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stayd/stayd/internal/memory/embed/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder keeps what it is asked. The vector of a text is its first two bytes.
type recorder struct {
	mu    sync.Mutex
	asked [][]string
}

func (r *recorder) ask(_ context.Context, texts []string) ([]batch.Vector, error) {
	r.mu.Lock()
	r.asked = append(r.asked, append([]string(nil), texts...))
	r.mu.Unlock()
	var out []batch.Vector
	for _, text := range texts {
		out = append(out, batch.Vector{float32(text[0] - '0'), float32(text[1] - '0')})
	}
	return out, nil
}

func TestRequestsKeepTheLimits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits batch.Limits
		texts  []string
		asked  [][]string
		want   [][]float32
	}{
		{"texts", batch.Limits{Texts: 2, Bytes: 100, Text: 10}, []string{"10", "01", "34"}, [][]string{{"10", "01"}, {"34"}}, [][]float32{{1, 0}, {0, 1}, {0.6, 0.8}}},
		{"bytes", batch.Limits{Texts: 9, Bytes: 5, Text: 10}, []string{"10", "01", "345678", "10"}, [][]string{{"10", "01"}, {"345678"}, {"10"}}, [][]float32{{1, 0}, {0, 1}, {0.6, 0.8}, {1, 0}}},
		{"nothing to say", batch.Limits{Texts: 9, Bytes: 100, Text: 10}, []string{"", "10", " \n"}, [][]string{{"10"}}, [][]float32{{0, 0}, {1, 0}, {0, 0}}},
		{"only nothing", batch.Limits{Texts: 9, Bytes: 100, Text: 10}, []string{""}, nil, [][]float32{{0, 0}}},
		{"no texts", batch.Limits{Texts: 9, Bytes: 100, Text: 10}, nil, nil, [][]float32{}},
		{"a long text, cut at a space, in two requests", batch.Limits{Texts: 1, Bytes: 100, Text: 8}, []string{"10 xxx 01 yy"}, [][]string{{"10 xxx"}, {"01 yy"}}, [][]float32{{float32(6 / math.Sqrt(61)), float32(5 / math.Sqrt(61))}}},
		{"no space to cut at, and no character cut", batch.Limits{Texts: 9, Bytes: 100, Text: 4}, []string{"10é00é"}, [][]string{{"10é", "00é"}}, [][]float32{{1, 0}}},
		{"what is no UTF-8", batch.Limits{Texts: 9, Bytes: 100, Text: 9}, []string{"10\xff"}, [][]string{{"10\uFFFD"}}, [][]float32{{1, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r recorder
			tt.limits.Dimensions, tt.limits.Requests = 2, 1
			got, err := batch.Embed(t.Context(), tt.texts, tt.limits, r.ask)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.asked, r.asked); diff != "" {
				t.Errorf("asked: %s", diff)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("vectors: %s", diff)
			}
		})
	}
}

var plain = batch.Limits{Dimensions: 2, Texts: 1, Bytes: 100, Text: 10, Requests: 3}

func TestWrongAnswers(t *testing.T) {
	for want, answer := range map[string][]batch.Vector{
		"embed 1 texts: the endpoint returned 2 vectors for 1 texts":                                                  {{1, 0}, {0, 1}},
		"embed 1 texts: the endpoint returned 0 vectors for 1 texts":                                                  nil,
		"embed 1 texts: the endpoint returned vectors of dimension 3, not 2; set the dimension to what the model has": {{1, 0, 0}},
	} {
		got, err := batch.Embed(t.Context(), []string{"a"}, plain, func(context.Context, []string) ([]batch.Vector, error) { return answer, nil })
		if err == nil || err.Error() != want || got != nil {
			t.Errorf("%v and %v, want %s", got, err, want)
		}
	}
}

// One request that fails ends the others, and its error is the one that is told.
func TestFirstErrorEndsTheRest(t *testing.T) {
	broken := errors.New("broken")
	got, err := batch.Embed(t.Context(), []string{"a", "b", "c"}, plain, func(ctx context.Context, texts []string) ([]batch.Vector, error) {
		if texts[0] == "b" {
			return nil, broken
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if !errors.Is(err, broken) || got != nil {
		t.Errorf("%v and %v", got, err)
	}
}

func TestCancelledWithin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	got, err := batch.Embed(ctx, []string{"a"}, plain, func(context.Context, []string) ([]batch.Vector, error) {
		cancel()
		return nil, errors.New("the connection was closed")
	})
	if !errors.Is(err, context.Canceled) || got != nil {
		t.Errorf("%v and %v", got, err)
	}
}

func TestVector(t *testing.T) {
	for body, want := range map[string]batch.Vector{
		`[0.5,-1,1e-3]`: {0.5, -1, 0.001},
		`[]`:            {},
		`[1,null]`:      nil,
		`null`:          nil,
		`[1e39]`:        nil,
		`["1"]`:         nil,
		`{"a":1}`:       nil,
		`"AACAPw=="`:    nil,
	} {
		var got batch.Vector
		err := json.Unmarshal([]byte(body), &got)
		if (err != nil) != (want == nil) || err == nil && cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v and %v", body, got, err)
		}
	}
}

func TestMessage(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":{"message":"no such model","type":"x"}}`: "no such model",
		`{"error":"model \"x\" not found"}`:                `model "x" not found`,
		`{"message":"too many"}`:                           "too many",
		`{"detail":"Not Found"}`:                           "Not Found",
		`{"detail":[1],"error":{"message":7}}`:             "",
		`{"error":{"message":"the key sk-1 is wrong"}}`:    "the key [redacted] is wrong",
		`{"message":"` + strings.Repeat("é", 300) + `"}`:   strings.Repeat("é", 250) + "…",
		`<html>`: "",
		``:       "",
	} {
		if got := batch.Message([]byte(body), "sk-1", ""); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestUnanswered(t *testing.T) {
	u := &url.URL{Scheme: "https", Host: "models.example", RawQuery: "key=secret"}
	err := batch.Unanswered(u, &url.Error{Op: "Post", URL: u.String(), Err: io.ErrUnexpectedEOF})
	if want := "the connection to models.example failed: unexpected EOF; check the base URL"; err.Error() != want || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want %s", err, want)
	}
}

// An answer without an end is not read for good.
func TestBound(t *testing.T) {
	n, err := io.Copy(io.Discard, plain.Bound(io.NopCloser(endless{})))
	var long *http.MaxBytesError
	if !errors.As(err, &long) || n > 2<<20 {
		t.Errorf("%d bytes and %v", n, err)
	}
	if got, want := batch.Unanswered(&url.URL{Host: "h"}, err).Error(), "h answered with more than "; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// FuzzEmbed: whatever a text is and a server answers, the vectors are of length 1
// or 0, and the pieces keep their limit and lose nothing but spaces.
func FuzzEmbed(f *testing.F) {
	f.Add("10 xxx 01 yy", []byte(`[1,2]`), 8)
	f.Add("é\xff東京 ", []byte(`[1e-45,-3e38]`), 4)
	f.Add("long text", []byte(`[0,0]`), 5)
	f.Fuzz(func(t *testing.T, text string, vector []byte, most int) {
		if most < utf8.UTFMax || most > 100 {
			t.Skip("limits that are not of use")
		}
		var v batch.Vector
		if json.Unmarshal(vector, &v) != nil {
			return
		}
		var asked []string
		l := batch.Limits{Dimensions: 2, Texts: 3, Bytes: 100, Text: most, Requests: 1}
		got, err := batch.Embed(t.Context(), []string{text}, l, func(_ context.Context, texts []string) ([]batch.Vector, error) {
			asked = append(asked, texts...)
			out := make([]batch.Vector, len(texts))
			for i := range out {
				out[i] = v
			}
			return out, nil
		})
		for _, piece := range asked {
			if piece == "" || len(piece) > most || !utf8.ValidString(piece) {
				t.Errorf("%q was asked", piece)
			}
		}
		bare := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if a, b := bare(strings.ToValidUTF8(text, "\uFFFD")), bare(strings.Join(asked, "")); a != b && err == nil {
			t.Errorf("%q became %q", a, b)
		}
		if err != nil {
			return
		}
		n := math.Hypot(float64(got[0][0]), float64(got[0][1]))
		if zero := bytes.Equal([]byte(bare(text)), nil) || v[0] == 0 && v[1] == 0; zero && n != 0 || !zero && math.Abs(n-1) > 1e-4 {
			t.Errorf("the length is %v", n)
		}
	})
}
