package show_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
)

// play prints events, given as their JSON.
func play(t *testing.T, events ...string) string {
	t.Helper()
	var out bytes.Buffer
	p := show.NewPrinter(&out, 60, func() time.Time { return time.Time{} })
	for _, raw := range events {
		e, err := show.Parse([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		p.Event(&e)
	}
	return out.String()
}

const (
	delta   = `{"type":"agent.session.turn.output_text.delta","item_id":"i1","delta":"`
	done    = `{"type":"agent.session.turn.item.done","item":{"type":"message","id":"i1","role":"assistant","content":[{"type":"output_text","text":"`
	printed = `{"type":"agent.output.command_execution_output.delta","item_id":"c1","delta":"`
	ended   = `{"type":"agent.session.turn.item.done","item":{"type":"command_execution","id":"c1","status":"completed","output":"`
)

func TestPrinter(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events []string
		want   string
	}{
		{"text as it comes in is not printed again", []string{delta + `Hel"}`, delta + `lo."}`, done + `Hello."}]}}`}, "Hello.\n"},
		{"text that did not come in is printed", []string{done + `Hello."}]}}`}, "Hello.\n"},
		{"the item is the truth", []string{delta + `Hel"}`, done + `Goodbye."}]}}`}, "Hel\nGoodbye.\n"},
		{"a call and its answer", []string{
			`{"type":"agent.session.turn.item.added","item":{"type":"mcp_call","id":"m1","name":"send","server_label":"mail","arguments":{"to":"ann"}}}`,
			`{"type":"agent.session.turn.item.done","item":{"type":"mcp_call","id":"m1","name":"send","server_label":"mail","status":"completed","output":"sent"}}`,
		}, "→ mail.send {\"to\":\"ann\"}\n← mail.send sent\n"},
		{"a call that failed", []string{
			`{"type":"agent.session.turn.item.done","item":{"type":"mcp_call","id":"m1","name":"send","status":"failed","error":"no such person"}}`,
		}, "✗ send no such person\n"},
		{"a call of which nobody knows", []string{
			`{"type":"agent.session.turn.item.done","item":{"type":"mcp_call","id":"m1","name":"send","status":"incomplete","output":"?"}}`,
		}, "? send ?\n"},
		{"much output is cut", []string{printed + `1\n2\n3\n4\n5\n"}`, printed + `6\n7\n8\n9\n10\n"}`, ended + `..."}}`}, "1\n2\n3\n4\n5\n6\n7\n8\n← done, 2 more lines\n"},
		{"output that did not come in is printed", []string{ended + `1\n2"}}`}, "1\n2\n← done\n"},
		{"little output is not", []string{printed + `1\n2"}`, ended + `1\n2"}}`}, "1\n2\n← done\n"},
		{"nothing commands the terminal", []string{done + `a\u001b[2Jb\u0007\tc"}]}}`}, "a[2Jb c\n"},
		{"a turn that failed", []string{`{"type":"agent.session.turn.failed","turn":{"error":{"code":"c","message":"No."}}}`}, "failed: No. (c)\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := play(t, tc.events...); got != tc.want {
				t.Errorf("printed\n%q, want\n%q", got, tc.want)
			}
		})
	}
}

func TestShorten(t *testing.T) {
	if got := show.Shorten("one\n  two\tthree", 9); got != "one two …" {
		t.Errorf("got %q", got)
	}
	if got := show.Shorten(strings.Repeat("ä", 5), 5); got != "äääää" {
		t.Errorf("got %q", got)
	}
}
