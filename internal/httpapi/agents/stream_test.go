package agents_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/session"
)

// got is an event as it came.
type got struct {
	id, kind, data string
}

func (g got) eventID(t *testing.T) string {
	t.Helper()
	var e struct {
		EventID string `json:"event_id"`
		Type    string `json:"type"`
	}
	if err := json.Unmarshal([]byte(g.data), &e); err != nil || e.EventID == "" || e.Type != g.kind {
		t.Fatalf("event %q: %q: %v", g.kind, g.data, err)
	}
	return e.EventID
}

// reader reads one stream.
type reader struct {
	t     testing.TB
	lines *bufio.Scanner
	close func()
	// at is the last id without an event.
	at string
}

func (w *world) follow(path string, headers ...string) *reader {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // by close
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		w.t.Fatalf("stream: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	r := &reader{t: w.t, lines: bufio.NewScanner(resp.Body)}
	r.close = func() {
		cancel()
		resp.Body.Close()
	}
	w.t.Cleanup(r.close)
	return r
}

// next returns the next event, or false at the end of the stream.
func (r *reader) next() (got, bool) {
	var g got
	for r.lines.Scan() {
		name, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch name {
		case "id":
			g.id = value
		case "event":
			g.kind = value
		case "data":
			g.data = value
		case "":
			if g.data != "" {
				return g, true
			}
			if g.id != "" {
				r.at, g.id = g.id, ""
			}
		}
	}
	return g, false
}

// untilIdle reads up to where the session is idle.
func (r *reader) untilIdle() []got {
	r.t.Helper()
	var all []got
	for {
		g, ok := r.next()
		if !ok {
			r.t.Fatalf("the stream ended after %v", kinds(all))
		}
		all = append(all, g)
		if g.kind == "agent.session.idle" {
			return all
		}
	}
}

func kinds(all []got) []string {
	out := make([]string, len(all))
	for i, g := range all {
		out[i] = strings.TrimPrefix(g.kind, "agent.session.")
	}
	return out
}

// story plays a session with calls of all sorts, a queued turn, a failure and an
// update.
func (w *world) story() string {
	w.t.Helper()
	id := w.create()
	turn := w.turn(id)
	reasoning := event.Item{
		Type: event.ItemReasoning, ID: "item_r", Status: event.StatusCompleted,
		Summary: []event.Content{{Type: event.PartSummaryText, Text: "Think."}}, Provider: json.RawMessage(`{"secret":1}`),
	}
	comment := message("item_m", "I will add.")
	comment.Phase = event.PhaseCommentary
	w.append(id, &event.ModelResponded{
		EffectID: "eff_1", TurnID: turn, Model: "test/m",
		Items: []event.Item{reasoning, comment, call(event.ItemFunctionCall, "item_f", "add", ""), call(event.ItemMCPCall, "item_c", "read", "files")},
	})
	pay := session.CallEffectID(id, "item_c")
	w.append(id, &event.EffectStarted{EffectID: pay, What: event.EffectTool, TurnID: turn, Class: event.Once, Attempt: 1, Epoch: 1})
	w.append(id, &event.EffectFinished{EffectID: pay, TurnID: turn, Status: event.StatusCompleted, Output: event.TextOutput("<found>")})
	w.mustPost(id, `{"type":"agent.session.input.tool_result","call_id":"call_item_f","turn_id":"`+turn+`","success":true,"output":"2"}`)
	w.mustPost(id, `{"type":"agent.session.input.message","input":[{"role":"user","content":[{"type":"input_text","text":"More"}]}]}`)
	w.append(id, &event.ModelResponded{EffectID: "eff_2", TurnID: turn, Model: "test/m", Items: []event.Item{message("item_a", "Done.")}, Usage: event.Usage{InputTokens: 7, OutputTokens: 2}})
	w.append(id, turnEnded(turn))
	second := w.turn(id)
	w.append(id, &event.ContextCompacted{EffectID: "eff_3", TurnID: second, Model: "test/m", Item: event.Item{
		Type: event.ItemCompaction, ID: "item_s", Status: event.StatusCompleted, Covers: []string{"item_r", "item_m"},
		Content: []event.Content{{Type: event.PartSummaryText, Text: "So far."}},
	}})
	w.append(id, &event.TurnEnded{TurnID: second, Status: session.TurnFailed, Error: &event.TurnError{Code: "server_error", Message: "No."}})
	return id
}

func (w *world) mustPost(id, input string) {
	w.t.Helper()
	if a := w.do("POST", "/v1/agents/sessions/"+id+"/events", `{"events":[`+input+`]}`); a.status != http.StatusAccepted {
		w.t.Fatalf("post: %d %s", a.status, a.body)
	}
}

// storyEvents are the types of the events of the story, record by record.
var storyEvents = []string{
	"created", // session.created
	"turn.created", "in_progress", "turn.in_progress", "turn.item.added",
	// model.responded
	"turn.item.added", "turn.reasoning_summary_part.added", "turn.reasoning_summary_text.done", "turn.reasoning_summary_part.done", "turn.item.done",
	"turn.item.added", "turn.content_part.added", "turn.output_text.done", "turn.content_part.done", "turn.item.done",
	"turn.item.added", "turn.item.done", // the function call
	"turn.item.added", // the MCP call
	"requires_action",
	"turn.item.done",                 // effect.finished
	"turn.item.added", "in_progress", // tool_result.submitted
	"turn.created", // queued
	"turn.item.added", "turn.content_part.added", "turn.output_text.done", "turn.content_part.done", "turn.item.done",
	"turn.completed", "in_progress", "turn.in_progress", "turn.item.added", // the queued turn starts
	"turn.item.added", "turn.item.done", // context.compacted
	"turn.failed", "idle",
}

func (w *world) replay(id string) []got {
	w.t.Helper()
	r := w.follow("/v1/agents/sessions/" + id + "/events?after=0")
	defer r.close()
	return r.untilIdle()
}

// TestReplay reads a whole session from its log.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	all := w.replay(w.story())
	if diff := cmp.Diff(storyEvents, kinds(all)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	seen := map[string]bool{}
	for _, g := range all {
		id := g.eventID(t)
		if seen[id] {
			t.Errorf("event_id %s comes twice", id)
		}
		seen[id] = true
		if strings.Contains(g.data, "secret") {
			t.Errorf("what is the provider's is shown: %s", g.data)
		}
	}
}

// TestResume takes up the stream after every event, and gets each of the others
// once.
func TestResume(t *testing.T) {
	w := newWorld(t)
	id := w.story()
	all := w.replay(id)
	for i := range all[:len(all)-1] {
		r := w.follow("/v1/agents/sessions/"+id+"/events?after=0", "Last-Event-ID", all[i].id)
		rest := r.untilIdle()
		r.close()
		if diff := cmp.Diff(all[i+1:], rest, cmp.AllowUnexported(got{})); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", all[i].id, diff)
		}
	}
}

// TestLive follows the story as it happens, and gets what a replay gives.
func TestLive(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	r := w.follow("/v1/agents/sessions/" + id + "/events")
	turn := w.turn(id)
	w.append(id, &event.ModelResponded{EffectID: "eff_1", TurnID: turn, Model: "test/m", Items: []event.Item{message("item_1", "Hello.")}})
	w.append(id, turnEnded(turn))
	live := r.untilIdle()
	if r.at != "2" {
		t.Errorf("the stream began at %q", r.at)
	}
	all := w.replay(id)
	if diff := cmp.Diff(all[5:], live, cmp.AllowUnexported(got{})); diff != "" {
		t.Errorf("live (-replayed +live):\n%s", diff)
	}
}

// TestDeltas sends pieces before their item, which then come without a repetition
// of what was sent early.
func TestDeltas(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	r := w.follow("/v1/agents/sessions/" + id + "/events")
	r.lines.Scan() // the place where it begins: it has subscribed
	turn := w.turn(id)
	delta := func(n int, text string) {
		w.feed.Delta(id, feed.Delta{Kind: feed.TextDelta, TurnID: turn, ItemID: "item_1", N: n, Text: text})
	}
	delta(0, "Hel")
	delta(1, "lo.")
	delta(0, "Hel") // the answer is asked for anew
	delta(2, "!")
	w.feed.Delta(id, feed.Delta{Kind: feed.TextDelta, TurnID: turn, ItemID: "item_2", N: 3, Text: "half"})
	w.append(id, &event.ModelResponded{EffectID: "eff_1", TurnID: turn, Model: "test/m", Items: []event.Item{message("item_1", "Hello."), message("item_2", "half")}})
	w.append(id, turnEnded(turn))
	live := r.untilIdle()
	want := []string{
		"turn.item.added", "turn.content_part.added", "turn.output_text.delta", "turn.output_text.delta",
		"turn.output_text.done", "turn.content_part.done", "turn.item.done",
		"turn.item.added", "turn.content_part.added", "turn.output_text.done", "turn.content_part.done", "turn.item.done",
		"turn.completed", "idle",
	}
	if diff := cmp.Diff(want, kinds(live)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for _, g := range live[:4] {
		if g.id != "2" {
			t.Errorf("%s has the id %s, want that of the last durable event, 2", g.kind, g.id)
		}
	}
	durable := map[string]string{}
	for _, g := range w.replay(id) {
		durable[g.eventID(t)] = g.data
	}
	for _, g := range live {
		if strings.HasSuffix(g.kind, ".delta") {
			continue
		}
		if durable[g.eventID(t)] != g.data {
			t.Errorf("live and durable differ:\n%s\n%s", g.data, durable[g.eventID(t)])
		}
	}
	if diff := cmp.Diff(`{"event_id":"evt_item_1_d1","type":"agent.session.turn.output_text.delta","session_id":"`+id+`","turn_id":"`+turn+
		`","item_id":"item_1","output_index":0,"content_index":0,"delta":"lo."}`, live[3].data); diff != "" {
		t.Errorf("delta (-want +got):\n%s", diff)
	}
}

// TestOtherDeltas has the pieces of a reasoning's summary and of what a command
// prints.
func TestOtherDeltas(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	r := w.follow("/v1/agents/sessions/" + id + "/events")
	r.lines.Scan() // it has subscribed
	turn := w.turn(id)
	for n, part := range []int{0, 0, 1} {
		w.feed.Delta(id, feed.Delta{Kind: feed.ReasoningDelta, TurnID: turn, ItemID: "item_r", Part: part, N: n, Text: "x"})
	}
	run := call(event.ItemCommandExecution, "item_x", "run", event.EnvironmentLabel)
	summary := event.Content{Type: event.PartSummaryText, Text: "xx"}
	w.append(id, &event.ModelResponded{EffectID: "eff_1", TurnID: turn, Model: "test/m", Items: []event.Item{
		{Type: event.ItemReasoning, ID: "item_r", Status: event.StatusCompleted, Summary: []event.Content{summary, summary}}, run,
	}})
	w.feed.Delta(id, feed.Delta{Kind: feed.CommandDelta, TurnID: turn, ItemID: "item_x", OutputIndex: 1, Text: "out"})
	w.append(id, &event.EffectFinished{EffectID: session.CallEffectID(id, "item_x"), TurnID: turn, Status: event.StatusCompleted, Output: event.TextOutput("out")})
	w.feed.Delta(id, feed.Delta{Kind: feed.CommandDelta, TurnID: turn, ItemID: "item_x", OutputIndex: 1, N: 1, Text: "too late"})
	w.append(id, turnEnded(turn))
	live := r.untilIdle()
	want := []string{
		"turn.item.added", "turn.reasoning_summary_part.added", "turn.reasoning_summary_text.delta", "turn.reasoning_summary_text.delta",
		"turn.reasoning_summary_part.added", "turn.reasoning_summary_text.delta",
		"turn.reasoning_summary_text.done", "turn.reasoning_summary_part.done", "turn.reasoning_summary_text.done", "turn.reasoning_summary_part.done", "turn.item.done",
		"turn.item.added", "agent.output.command_execution_output.delta", "turn.item.done",
		"turn.completed", "idle",
	}
	if diff := cmp.Diff(want, kinds(live)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestLostMessages has more happen than the feed keeps for a reader.
func TestLostMessages(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	turn := w.turn(id)
	sub := w.feed.Subscribe(id) // so that the backlog is known to be too short
	defer sub.Close()
	r := w.follow("/v1/agents/sessions/" + id + "/events?after=0")
	var payloads []event.Payload
	for n := range 300 {
		payloads = append(payloads, &event.ModelResponded{
			EffectID: "eff_" + strconv.Itoa(n), TurnID: turn, Model: "test/m", Items: []event.Item{message("item_"+strconv.Itoa(n), "x")},
		})
	}
	w.append(id, payloads...)
	w.append(id, turnEnded(turn))
	if _, lost := sub.Take(); !lost {
		t.Fatal("the feed kept everything")
	}
	done := 0
	for _, g := range r.untilIdle() {
		if g.kind == "agent.session.turn.item.done" {
			done++
		}
	}
	if done != 300 {
		t.Errorf("%d items were done, want 300", done)
	}
}

// TestBadCursors are refused before the stream begins.
func TestBadCursors(t *testing.T) {
	w := newWorld(t)
	id := w.create() // 2 records; the second has 4 events
	for _, after := range []string{"x", "-1", "3", "2.4", "1.1", "0.0", "2.", ".1", "2.x", "99999999999999999999"} {
		a := w.do("GET", "/v1/agents/sessions/"+id+"/events?after="+after, "")
		want := envelope("'"+after+"' is not a place in this session's events. Give the id of an event of its stream, or 0 for all events.", "after", "invalid_value")
		if a.status != http.StatusBadRequest || a.body != want {
			t.Errorf("after %s: %d %s", after, a.status, a.body)
		}
	}
}

// TestStreamsEnd has the ways in which a stream ends from this side.
func TestStreamsEnd(t *testing.T) {
	t.Run("deleted", func(t *testing.T) {
		w := newWorld(t)
		id := w.create()
		w.append(id, turnEnded(w.turn(id)))
		r := w.follow("/v1/agents/sessions/" + id + "/events?after=0")
		r.untilIdle()
		if a := w.do("DELETE", "/v1/agents/sessions/"+id, ""); a.body != `{"id":"`+id+`","object":"agent.session.deleted","deleted":true}` {
			t.Errorf("deleted: %d %s", a.status, a.body)
		}
		if g, more := r.next(); more {
			t.Errorf("after the deletion: %v", g)
		}
		if a := w.do("GET", "/v1/agents/sessions/"+id+"/events", ""); a.status != http.StatusNotFound {
			t.Errorf("followed after the deletion: %d", a.status)
		}
	})
	t.Run("stopping", func(t *testing.T) {
		w := newWorld(t)
		id := w.create()
		r := w.follow("/v1/agents/sessions/" + id + "/events")
		close(w.stopping)
		if g, more := r.next(); more {
			t.Errorf("after the stop: %v", g)
		}
	})
	t.Run("store", func(t *testing.T) {
		w := newWorld(t)
		id := w.create()
		r := w.follow("/v1/agents/sessions/" + id + "/events")
		r.lines.Scan()
		w.store.onRead = errAny
		// A gap in what the feed brings sends the stream to the log.
		w.feed.Committed(id, []event.Record{{Session: id, Seq: 9}})
		g, more := r.next()
		if !more || g.kind != "error" || !strings.Contains(g.data, `"type":"server_error"`) || strings.Contains(g.data, errAny.Error()) {
			t.Errorf("got %v, %v", g, more)
		}
		if g, more := r.next(); more {
			t.Errorf("after the error: %v", g)
		}
	})
}

// TestEnvironmentAndApproval shows what waits for a person and how the
// environment is.
func TestEnvironmentAndApproval(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	turn := w.turn(id)
	w.append(id,
		&event.EnvironmentChanged{TurnID: turn, Status: "failed", Error: &event.TurnError{Code: "sandbox_error", Message: "No room."}},
		&event.ModelResponded{EffectID: "eff_1", TurnID: turn, Model: "test/m", Items: []event.Item{call(event.ItemMCPCall, "item_p", "pay", "files")}})
	pay := session.CallEffectID(id, "item_p")
	path := "/v1/agents/sessions/" + id
	action := `{"type":"effect_approval","effect_id":"` + pay + `","turn_id":"` + turn + `","name":"pay","server_label":"files","arguments":{"a":1},"reason":null}`
	if a := w.do("GET", path, ""); !strings.Contains(a.body, `"required_actions":[`+action+`],"status":"requires_action"`) {
		t.Errorf("session %s", a.body)
	}
	if a := w.do("POST", path+"/effects/"+pay+"/resolve", `{"decision":"retry"}`); a.status != http.StatusConflict {
		t.Errorf("retry: %d %s", a.status, a.body)
	}
	if a := w.do("POST", path+"/effects/eff_9/resolve", `{"decision":"approve"}`); a.status != http.StatusNotFound {
		t.Errorf("unknown: %d %s", a.status, a.body)
	}
	for range 2 {
		a := w.do("POST", path+"/effects/"+pay+"/resolve", `{"decision":"approve"}`, "Idempotency-Key", "k")
		if a.status != http.StatusOK || !strings.Contains(a.body, `"status":"pending","open":true`) {
			t.Errorf("approve: %d %s", a.status, a.body)
		}
	}
	w.append(id,
		&event.EffectStarted{EffectID: pay, What: event.EffectTool, TurnID: turn, Class: event.Once, Attempt: 1, Epoch: 1},
		&event.EffectUnknown{EffectID: pay, TurnID: turn, Reason: "the runtime was stopped"},
		&event.TurnEnded{TurnID: turn, Status: session.TurnCancelled})
	all := w.replay(id)
	want := []string{
		"created", "turn.created", "in_progress", "turn.in_progress", "turn.item.added", "environment.failed",
		"turn.item.added", "requires_action", "in_progress", "turn.item.done", "turn.cancelled", "idle",
	}
	if diff := cmp.Diff(want, kinds(all)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if i := slices.IndexFunc(all, func(g got) bool { return strings.HasSuffix(g.kind, "item.done") }); i < 0 || !strings.Contains(all[i].data, `"status":"incomplete"`) {
		t.Errorf("the call whose outcome nobody knows is not done as incomplete")
	}
	effects := w.do("GET", path+"/effects?order=asc", "")
	if !strings.Contains(effects.body, `"id":"`+pay+`"`) || !strings.Contains(effects.body, `"status":"unknown","open":false`) {
		t.Errorf("effects %s", effects.body)
	}
}
