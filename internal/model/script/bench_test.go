package script_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/event"
)

const small = `
steps:
  - when: {output: {name: lookup, failed: true}}
    reply: It failed.
  - when: {count: 100}
    reply: Done after a hundred calls.
  - when: {user: go}
    reply: {calls: [{name: lookup, args: {n: "{{count}}"}}]}
`

// BenchmarkGenerate is one call of a small script at the start of a turn, and
// near the end of a turn of 100 calls over 200,000 tokens.
func BenchmarkGenerate(b *testing.B) {
	s := parse(b, small)
	long := []*event.Item{user("go")}
	for i := range 99 {
		id := fmt.Sprint("call_", i)
		long = append(long, call(id, "lookup", `{"n":1}`), output(id, strings.Repeat("eight by", 1000)))
	}
	for name, items := range map[string][]*event.Item{"first": long[:1], "hundredth": long} {
		b.Run(name, func(b *testing.B) {
			req := request(items...)
			for b.Loop() {
				generate(b, s, req)
			}
		})
	}
}

// BenchmarkReplay finds the answer to the last request of a recorded run of 100
// calls over 200,000 tokens, which it must hash.
func BenchmarkReplay(b *testing.B) {
	var text strings.Builder
	text.WriteString("steps:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  - {when: {request: %064x}, reply: x}\n", i)
	}
	text.WriteString("  - {when: {always: true}, reply: x}\n")
	s := parse(b, text.String())
	items := []*event.Item{user("go")}
	for i := range 99 {
		id := fmt.Sprint("call_", i)
		items = append(items, call(id, "lookup", `{"n":1}`), output(id, strings.Repeat("eight by", 1000)))
	}
	req := request(items...)
	for b.Loop() {
		generate(b, s, req)
	}
}
