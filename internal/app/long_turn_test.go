package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLongTurn makes 100 tool calls on a conversation of 200,000 tokens, and
// shows by the log that they stored about their own bytes, and nothing of the
// conversation again.
func TestLongTurn(t *testing.T) {
	const (
		calls = 100
		// What is new is 100 times the arguments {"code":"'result '.repeat(143)"}
		// and 143 times "result ", and the answer.
		content = calls*(32+1001) + 28
		// perRecord is for the ids, the hashes and the names of a record.
		perRecord = 320
	)
	n := start(t, config(t))
	book := strings.Repeat("Every word of this book is four tokens of input. ", 800_000/49)
	began := time.Now()
	var made struct{ ID string }
	n.must(&made, "POST", sessions, `{"environment":{"type":"openai_hosted"},"agent":{"model":"script/long"},"input":"`+book+`"}`)
	n.until(made.ID, "idle")
	took := time.Since(began)

	var answer string
	done := 0
	for _, it := range n.items(made.ID) {
		switch {
		case it.Type == "command_execution" && it.Status == "completed":
			done++
		case it.Type == "message" && it.Role == "assistant":
			answer = it.text()
		}
	}
	if answer != "A hundred results were read." || done != calls {
		t.Errorf("the answer is %q after %d calls", answer, done)
	}
	var total struct {
		Usage struct {
			InputTokens int64 `json:"input_tokens"`
		}
	}
	n.must(&total, "GET", sessions+"/"+made.ID, "")
	if total.Usage.InputTokens < (calls+1)*200_000 {
		t.Errorf("%d tokens of input, want at least 101 times 200,000", total.Usage.InputTokens)
	}

	fresh, before, records := 0, 0, 0
	kinds := map[string]int{}
	inTurn := false
	for _, r := range n.log(made.ID) {
		if !inTurn {
			before += len(r.Data)
			inTurn = r.Kind == "turn.created"
			continue
		}
		records++
		fresh += len(r.Data)
		kinds[r.Kind]++
	}
	if before < 800_000 {
		t.Errorf("the input takes %d bytes, less than it has", before)
	}
	limit := content*13/10 + records*perRecord
	t.Logf("%d calls on %d bytes of input in %s: %d records %s with %d bytes of data, of which %d are new content (limit %d)",
		calls, before, took.Round(time.Millisecond), records, kindsOf(kinds), fresh, content, limit)
	if fresh > limit || fresh < content {
		t.Errorf("100 calls stored %d bytes, want between %d and %d", fresh, content, limit)
	}
	n.verify(made.ID)
}

func kindsOf(kinds map[string]int) string {
	data, err := json.Marshal(kinds)
	if err != nil {
		return fmt.Sprint(kinds)
	}
	return string(data)
}
