package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
)

const (
	// longTokens is the length of the conversation that a long turn is added to.
	longTokens = 200_000
	longCalls  = 100
	longResult = 4000 // bytes
)

// bytes adds a turn of 100 tool calls to a conversation of 200,000 tokens, and
// finds the bytes that the store grew by for each byte that was new: the results,
// the arguments and the answer. The text does not repeat itself. The store is
// closed before it is measured, so that nothing is counted that is only in its
// write-ahead log.
func (o *Options) bytes(ctx context.Context, r *Result) error {
	o.Progress("what is stored of a turn of 100 tool calls on 200,000 tokens")
	id := "sess_long_" + o.Run
	words := wordList()
	l := newLoad()
	before, err := o.grow(ctx, l, func(e *engine) error {
		return e.turn(ctx, id, agent(), sentence(words, 1, longTokens*4))
	})
	if err != nil {
		return err
	}
	var fresh atomic.Int64
	l.calls = longCalls
	l.result = func(n int) string {
		size := longResult
		if n < 0 {
			size = 100 // what the model writes
		}
		text := sentence(words, uint64(n)+1<<32, size)
		fresh.Add(int64(len(text)))
		return text
	}
	after, err := o.grow(ctx, l, func(e *engine) error { return e.next(ctx, id, "Take a hundred steps.") })
	if err != nil {
		return err
	}
	r.BytesPerNewByte = float64(after-before) / float64(fresh.Load())
	return nil
}

// grow runs do on an engine over the store, and returns how large the store is
// after that.
func (o *Options) grow(ctx context.Context, l *load, do func(*engine) error) (int64, error) {
	st, err := o.Open(ctx, "bytes")
	if err != nil {
		return 0, err
	}
	e, err := start(ctx, st, o.Run+"_bytes", l)
	if err != nil {
		return 0, err
	}
	if err := do(e); err != nil {
		return 0, errors.Join(err, e.stop())
	}
	if err := e.stop(); err != nil {
		return 0, err
	}
	if st, err = o.Open(ctx, "bytes"); err != nil {
		return 0, err
	}
	u, err := st.Usage(ctx)
	return u.Bytes, errors.Join(err, st.Close())
}

// wordList makes words that look like words, so that the text compresses as text
// does.
func wordList() []string {
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // made text needs no secrecy
	syllables := strings.Fields("ta ri mo sen ka lo ver ti na pe du gra sta fi or an el ing con pro")
	words := make([]string, 4000)
	for i := range words {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteString(syllables[r.IntN(len(syllables))])
		}
		words[i] = b.String()
	}
	return words
}

func sentence(words []string, seed uint64, size int) string {
	r := rand.New(rand.NewPCG(seed, 11)) //nolint:gosec // made text needs no secrecy
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:size]
}
