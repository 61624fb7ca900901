package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestSpend runs a session to the end of its budget: a turn that could cost more
// than is left fails before anything is spent, and a higher limit lets the next
// one go on.
func TestSpend(t *testing.T) {
	n, calls := priced(t)
	var made struct{ ID string }
	// A turn costs 1,000 tokens of input at 10 USD for a million and 90 of output
	// at 1,000 USD: 10 cents.
	n.must(&made, "POST", sessions, `{"environment":{"type":"none"},"agent":{"model":"script/priced"},"input":"one","spend_control":{"limit":12}}`)
	id := made.ID
	n.spent(id, 10, 12, "completed")

	n.must(nil, "POST", sessions+"/"+id+"/events", message("two"))
	n.spent(id, 10, 12, "completed", "session_budget_exceeded: The session has spent 10 of 12 cents, and the next model call could go beyond that.")
	seen := 0
	for _, r := range n.log(id) {
		if r.Kind == "turn.created" {
			seen++
		}
		if seen == 2 && r.Kind != "turn.created" && r.Kind != "turn.ended" {
			t.Errorf("the turn that failed has a record %s: %s", r.Kind, r.Data)
		}
	}

	var updated session
	n.must(&updated, "POST", sessions+"/"+id, `{"spend_control":{"limit":50}}`)
	if updated.SpendControl.Limit != 50 || updated.SpendControl.Consumed != 10 {
		t.Errorf("after the update: %+v", updated.SpendControl)
	}
	n.must(nil, "POST", sessions+"/"+id+"/events", message("three"))
	n.spent(id, 20, 50, "completed", "session_budget_exceeded: The session has spent 10 of 12 cents, and the next model call could go beyond that.", "completed")
	n.verify(id)

	// A model without a price cannot be held to a limit, and is not called.
	n.must(&made, "POST", sessions, `{"environment":{"type":"none"},"agent":{"model":"local/unpriced"},"input":"one","spend_control":{"limit":1000}}`)
	n.spent(made.ID, 0, 1000, "invalid_request: The session has a spend limit and no price is known for local/unpriced. Add its price to the models file.")
	if calls.Load() != 0 {
		t.Errorf("a model without a price was called %d times", calls.Load())
	}
}

// priced starts a runtime with a model of a known price and one of none, and
// counts the calls of the latter.
func priced(t *testing.T) (*node, *atomic.Int64) {
	t.Helper()
	calls := &atomic.Int64{}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(provider.Close)
	cfg := config(t)
	cfg.Models = filepath.Join(t.TempDir(), "models.yaml")
	models := `
providers:
  local: {type: openai_chat, base_url: "` + provider.URL + `/v1"}
models:
  script/priced: {price: {input: 10, output: 1000}}
  local/unpriced: {}
`
	if err := os.WriteFile(cfg.Models, []byte(models), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, cfg), calls
}

// spent waits for the session to be idle and checks what it has consumed and how
// its turns ended: completed, or with an error.
func (n *node) spent(id string, consumed, limit int64, outcomes ...string) {
	n.t.Helper()
	var turns []turn
	wait(n.t, fmt.Sprintf("turn %d to end", len(outcomes)), func() bool {
		turns = n.turns(id)
		last := turns[len(turns)-1].Status
		return len(turns) == len(outcomes) && (last == "completed" || last == "failed")
	})
	if c := n.session(id).SpendControl; c.Consumed != consumed || c.Limit != limit {
		n.t.Errorf("consumed %d of %d cents, want %d of %d", c.Consumed, c.Limit, consumed, limit)
	}
	var got []string
	for _, turn := range turns {
		if turn.Error != nil {
			got = append(got, turn.Error.Code+": "+turn.Error.Message)
		} else {
			got = append(got, turn.Status)
		}
	}
	if strings.Join(got, "\n") != strings.Join(outcomes, "\n") {
		n.t.Errorf("the turns ended so:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(outcomes, "\n"))
	}
}

// TestSpendOnMemory has what a model draws from a conversation count towards the
// session's limit: beyond it nothing is drawn, and nothing fails.
func TestSpendOnMemory(t *testing.T) {
	n, _ := priced(t)
	var made struct{ ID string }
	n.must(&made, "POST", sessions, `{"actor":"ana","environment":{"type":"none"},"agent":{"model":"script/priced","memory":{"strategies":["semantic"],"rest_seconds":0}},`+
		`"input":"one","spend_control":{"limit":12}}`)
	refused := func() bool {
		failed := n.recordsOf(made.ID, "effect.failed")
		return len(failed) == 1 && strings.Contains(string(failed[0]), "session_budget_exceeded") && strings.Contains(string(failed[0]), `"extract"`)
	}
	wait(t, "the extraction to be refused", refused)
	n.spent(made.ID, 10, 12, "completed")
	if drawn := n.recordsOf(made.ID, "memory.extracted"); len(drawn) != 0 {
		t.Errorf("drawn beyond the limit: %s", drawn)
	}
	n.must(nil, "POST", sessions+"/"+made.ID, `{"spend_control":{"limit":100}}`)
	n.must(nil, "POST", sessions+"/"+made.ID+"/events", message("two"))
	wait(t, "the extraction", func() bool { return len(n.recordsOf(made.ID, "memory.extracted")) == 1 })
	n.spent(made.ID, 30, 100, "completed", "completed")
	n.verify(made.ID)
}
