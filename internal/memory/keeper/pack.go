package keeper

import (
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/memory"
)

// bytesPerToken is how many bytes of text one token stands for, about.
const bytesPerToken = 4

// Pack puts hits into words for a model, each with the number that it is cited
// by, the best first, as far as they fit: one that does not is left out, and a
// shorter one after it may still be in. No bound is none. It returns the text,
// how many hits are in it, and its tokens, about. Numbers are places in hits,
// from 1.
func Pack(hits []memory.Hit, maxTokens int) (text string, packed, tokens int) {
	var b strings.Builder
	for i := range hits {
		line := Line(i+1, &hits[i].Record)
		n := (len(line) + bytesPerToken - 1) / bytesPerToken
		if maxTokens > 0 && tokens+n > maxTokens {
			continue
		}
		b.WriteString(line)
		tokens += n
		packed++
	}
	return b.String(), packed, tokens
}

// Line is one record in words, with its number in front.
func Line(n int, r *memory.Record) string { return fmt.Sprintf("[%d] ", n) + Words(r) }

// Words is one record in words, with when it is true, who said it, and whether
// that is to be doubted.
func Words(r *memory.Record) string {
	var b strings.Builder
	if !r.ValidFrom.IsZero() {
		b.WriteString(r.ValidFrom.Format("2006-01-02"))
		if !r.ValidTo.IsZero() {
			b.WriteString(" to " + r.ValidTo.Format("2006-01-02"))
		}
		b.WriteString(" ")
	}
	if r.Source.Speaker != "" {
		b.WriteString(r.Source.Speaker + ": ")
	}
	if r.Origin.Foreign() {
		b.WriteString("(from a tool or another person, not verified) ")
	}
	b.WriteString(strings.Join(strings.Fields(r.Text), " ") + "\n")
	return b.String()
}
