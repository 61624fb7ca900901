package index_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/index"
	"github.com/stayd/stayd/internal/memory/language"
)

const model = "test/100"

var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// encode makes a vector as records have it.
func encode(v []float64) []byte {
	largest := 0.0
	for _, x := range v {
		largest = max(largest, math.Abs(x))
	}
	scale := float32(largest / 127)
	out := binary.LittleEndian.AppendUint32(nil, math.Float32bits(scale))
	for _, x := range v {
		out = append(out, byte(int8(math.Round(x/float64(scale)))))
	}
	return out
}

// product is what the vectors' product is, read back from their encoding.
func product(a, b []byte) float64 {
	sum := 0
	for i := 4; i < len(a); i++ {
		sum += int(int8(a[i])) * int(int8(b[i]))
	}
	scale := func(v []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(v))) }
	return float64(sum) * scale(a) * scale(b)
}

func unit(r *rand.Rand, dims int) []float64 {
	v, sum := make([]float64, dims), 0.0
	for i := range v {
		v[i] = r.NormFloat64()
		sum += v[i] * v[i]
	}
	for i := range v {
		v[i] /= math.Sqrt(sum)
	}
	return v
}

// corpus makes chat turns: sessions of about twenty turns by two speakers, of
// words that are as frequent as words are.
type corpus struct {
	r     *rand.Rand
	zipf  *rand.Zipf
	dims  int
	words []string
}

func newCorpus(seed uint64, vocabulary, dims int) *corpus {
	r := rand.New(rand.NewPCG(seed, 7))
	c := &corpus{r: r, zipf: rand.NewZipf(r, 1.07, 8, uint64(vocabulary-1)), dims: dims}
	for i := range vocabulary {
		c.words = append(c.words, word(i))
	}
	return c
}

// word gives numbers distinct names of syllables that stemming leaves apart.
func word(n int) string {
	var b strings.Builder
	for ; ; n /= 60 {
		b.WriteString(string("bdfgklmnprtv"[n%12]) + string("aiou"[n/12%4]) + "k")
		if n < 60 {
			return b.String() + "o"
		}
	}
}

func (c *corpus) text(least, most int) string {
	n := least + c.r.IntN(most-least+1)
	out := make([]string, n)
	for i := range out {
		out[i] = c.words[c.zipf.Uint64()]
	}
	return strings.Join(out, " ")
}

func (c *corpus) record(num int64) memory.Record {
	r := memory.Record{
		Num: num, Change: num, Space: "/actors/a", Namespace: "/actors/a/turns", Strategy: memory.Turn,
		Actor: "a", Text: c.text(5, 40), Origin: memory.OriginUser,
		ValidFrom: epoch.Add(time.Duration(num) * time.Minute),
		Source: memory.Source{
			SessionID: fmt.Sprintf("session-%d", (num-1)/20), Position: (num-1)%20 + 1,
			Speaker: []string{"Ada", "Bela"}[num%2],
		},
	}
	if c.dims > 0 {
		r.Vector, r.VectorModel = encode(unit(c.r, c.dims)), model
	}
	return r
}

func (c *corpus) records(n int) []memory.Record {
	out := make([]memory.Record, n)
	for i := range out {
		out[i] = c.record(int64(i + 1))
	}
	return out
}

// plan asks a question of so many words, common and rare ones.
func (c *corpus) plan(least, most int) *index.Plan {
	p := &index.Plan{Text: language.Analyse(c.text(least, most)), Now: epoch.Add(365 * 24 * time.Hour)}
	if c.dims > 0 {
		p.Vector, p.VectorModel = encode(unit(c.r, c.dims)), model
	}
	return p
}

func ask(text string) *index.Plan { return &index.Plan{Text: language.Analyse(text)} }

func apply(t testing.TB, s *index.Space, records ...memory.Record) {
	t.Helper()
	if err := s.Apply(records); err != nil {
		t.Fatal(err)
	}
}

func search(t testing.TB, p *index.Plan, limit int, o index.Options, spaces ...*index.Space) []index.Candidate {
	t.Helper()
	found, err := index.Search(context.Background(), spaces, p, limit, o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func nums(found []index.Candidate) []int64 {
	out := []int64{}
	for _, c := range found {
		out = append(out, c.Num)
	}
	return out
}

// resum puts the checksum right.
func resum(data []byte) {
	body := len(data) - 4
	binary.LittleEndian.PutUint32(data[body:], crc32.Checksum(data[:body], crc32.MakeTable(crc32.Castagnoli)))
}
