package agents_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
)

// tree puts files, given as path and content, into a tree on top of another.
func (w *world) tree(root event.Hash, files ...string) event.Hash {
	w.t.Helper()
	tree := snapshot.New(w.store.Blobs(), httpapi.DefaultProject)
	for i := 0; i < len(files); i += 2 {
		next, _, err := tree.WriteFile(w.t.Context(), root, files[i], strings.NewReader(files[i+1]), 0o644)
		if err != nil {
			w.t.Fatal(err)
		}
		root = next
	}
	return root
}

func (w *world) hosted(fields string) string {
	w.t.Helper()
	a := w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"openai_hosted"`+fields+`},"input":"Hi","agent":{"model":"test/m"}}`)
	if a.status != http.StatusOK {
		w.t.Fatalf("create: %d %s", a.status, a.body)
	}
	return idOf(w.t, a)
}

func responded(turn, effect string, items ...event.Item) event.Payload {
	return &event.ModelResponded{EffectID: effect, TurnID: turn, Model: "test/m", Items: items, Usage: event.Usage{InputTokens: 3, OutputTokens: 2}, CostNanoUSD: 7}
}

// forked is a session of two turns: the first ended and left files, the second
// has a call open.
func (w *world) forkable() (id, first, second string) {
	w.t.Helper()
	id = w.hosted("")
	first = w.turn(id)
	root := w.tree(event.Hash{}, "a.txt", "one", "artifacts/report.txt", "the report")
	w.append(id,
		&event.EnvironmentChanged{TurnID: first, Status: session.PlaceReady},
		&event.EnvironmentChanged{TurnID: first, Status: session.PlaceConnected, Epoch: 1},
		responded(first, "eff_1", message("item_1", "Hello.")),
		&event.Snapshot{TurnID: first, Root: root, Files: 2, Bytes: 13, Artifacts: []event.ArtifactFile{{Path: "artifacts/report.txt", Size: 10}}},
		turnEnded(first))
	a := w.do("POST", "/v1/agents/sessions/"+id+"/events", `{"events":[{"type":"agent.session.input.message","input":[{"content":[{"type":"input_text","text":"Go on"}]}]}]}`)
	if a.status != http.StatusAccepted {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
	second = w.turn(id)
	w.append(id, responded(second, "eff_2", call(event.ItemFunctionCall, "item_2", "add", "")))
	return id, first, second
}

func (w *world) fork(id, body string, headers ...string) answer {
	w.t.Helper()
	return w.do("POST", "/v1/agents/sessions/"+id+"/fork", body, headers...)
}

// own are the kinds of the events of a session up to the last of a kind, each of
// which has to have the session's own id.
func (w *world) own(id, last string, times int) []string {
	w.t.Helper()
	var kinds []string
	r := w.follow("/v1/agents/sessions/" + id + "/events?after=0")
	defer r.close()
	for times > 0 {
		g, ok := r.next()
		if !ok {
			w.t.Fatalf("the stream ended after %v", kinds)
		}
		if g.kind == "agent.session."+last {
			times--
		}
		var e struct {
			SessionID string `json:"session_id"`
			Session   struct{ ID string }
		}
		if err := json.Unmarshal([]byte(g.data), &e); err != nil {
			w.t.Fatal(err)
		}
		if e.SessionID != id && e.Session.ID != id {
			w.t.Errorf("an event of another session: %s", g.data)
		}
		kinds = append(kinds, strings.TrimPrefix(g.kind, "agent.session."))
	}
	return kinds
}

// TestForkPoints forks at a record, a turn and an item, and at the end.
func TestForkPoints(t *testing.T) {
	w := newWorld(t)
	id, first, _ := w.forkable()
	tests := []struct {
		name, at string
		record   int64
		status   string
		items    int
	}{
		{"record", `{"at":{"record":5}}`, 5, "in_progress", 2},
		{"turn", `{"at":{"turn":"` + first + `"}}`, 7, "idle", 2},
		{"item", `{"at":{"item":"item_1"}}`, 5, "in_progress", 2},
		{"end", `{}`, 9, "in_progress", 4},
		{"end, turns cancelled", `{"turn":"cancel"}`, 9, "idle", 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := w.fork(id, test.at)
			var s openai.AgentSession
			if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != http.StatusOK {
				t.Fatalf("%d %s: %v", a.status, a.body, err)
			}
			if want := fmt.Sprintf(`"forked_from":{"session_id":"%s","record":%d}`, id, test.record); !strings.Contains(a.body, want) {
				t.Errorf("fork %s, want %s in it", a.body, want)
			}
			if string(s.Status) != test.status || s.ID == id || s.Environment.ID != "env_"+strings.TrimPrefix(s.ID, "sess_") || s.Usage.TotalTokens != 0 {
				t.Errorf("fork %s", a.body)
			}
			items, err := w.sdk.Beta.Agents.Sessions.Items.List(t.Context(), s.ID, openai.BetaAgentSessionItemListParams{Limit: openai.Int(100)})
			if err != nil || len(items.Data) != test.items {
				t.Errorf("items %d, want %d, %v", len(items.Data), test.items, err)
			}
			if v := w.do("POST", "/v1/agents/sessions/"+s.ID+"/verify", "{}"); !strings.Contains(v.body, `"ok":true`) {
				t.Errorf("verify: %s", v.body)
			}
		})
	}
}

// TestForkEvents follows a fork by its stream, from its past on.
func TestForkEvents(t *testing.T) {
	w := newWorld(t)
	id, _, _ := w.forkable()
	fork := idOf(t, w.fork(id, `{"input":"And now?"}`))
	want := []string{
		"created", "environment.pending", "turn.created", "in_progress", "turn.in_progress", "turn.item.added",
		"environment.ready", "environment.connected",
		"turn.item.added", "turn.content_part.added", "turn.output_text.done", "turn.content_part.done", "turn.item.done",
		"turn.completed", "idle",
		"turn.created", "in_progress", "turn.in_progress", "turn.item.added",
		"turn.item.added", "turn.item.done", "requires_action",
		"forked", "environment.pending", "in_progress",
		"turn.created",
	}
	if got := w.own(fork, "turn.created", 3); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("events\n got %v\nwant %v", got, want)
	}
	stream := w.sdk.Beta.Agents.Sessions.Events.StreamStreaming(t.Context(), fork)
	defer stream.Close()
	w.append(fork, responded(w.turn(fork), "eff_9", message("item_9", "Then.")))
	if !stream.Next() || stream.Current().Type != "agent.session.turn.item.added" || stream.Current().SessionID != fork {
		t.Errorf("event %s of %s, %v", stream.Current().Type, stream.Current().SessionID, stream.Err())
	}
}

// TestForkIdempotent forks with a key, again with it when the log has gone on,
// and with it for something else.
func TestForkIdempotent(t *testing.T) {
	w := newWorld(t)
	id, first, second := w.forkable()
	one := w.fork(id, `{"metadata":{"a":"b"}}`, "Idempotency-Key", "k")
	w.append(id, &event.ToolResult{TurnID: second, CallID: "call_item_2", Item: event.Item{Type: event.ItemFunctionCallOutput, ID: "fco_1", CallID: "call_item_2", Status: event.StatusCompleted}})
	two := w.fork(id, `{"metadata":{"a":"b"}}`, "Idempotency-Key", "k")
	if one.status != http.StatusOK || one.body != two.body {
		t.Errorf("forked twice:\n%s\n%s", one.body, two.body)
	}
	other := w.fork(id, `{"at":{"turn":"`+first+`"}}`, "Idempotency-Key", "k")
	if other.status != http.StatusConflict || !strings.Contains(other.body, "idempotency_key_reused") {
		t.Errorf("reused: %d %s", other.status, other.body)
	}
	own := w.fork(id, `{}`)
	if !strings.Contains(one.body, `"metadata":{"a":"b"}`) || !strings.Contains(own.body, `"metadata":{}`) {
		t.Errorf("metadata %s, %s", one.body, own.body)
	}
}

// TestForkOverrides changes what a fork runs with.
func TestForkOverrides(t *testing.T) {
	w := newWorld(t)
	id, _, _ := w.forkable()
	a := w.fork(id, `{"agent":{"model":"test/other","instructions":"Be brief."},"spend_control":{"limit":50},"turn":"cancel"}`)
	var s openai.AgentSession
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatal(err)
	}
	if s.Agent.Model != "test/other" || s.Agent.Instructions != "Be brief." || s.SpendControl.Limit != 50 || s.Status != "idle" {
		t.Errorf("fork %s", a.body)
	}
	if before := w.do("GET", "/v1/agents/sessions/"+id, ""); !strings.Contains(before.body, `"model":"test/m"`) || !strings.Contains(before.body, `"forked_from":null`) {
		t.Errorf("the session itself: %s", before.body)
	}
}

// TestForkRefused has points at which nothing is forked.
func TestForkRefused(t *testing.T) {
	w := newWorld(t)
	id, _, second := w.forkable()
	tests := []struct {
		name, body           string
		status               int
		message, param, code string
	}{
		{"two points", `{"at":{"record":1,"turn":"t"}}`, 400, "Name the point by one of 'record', 'turn' and 'item'.", "at", "invalid_value"},
		{"no point", `{"at":{}}`, 400, "Name the point by one of 'record', 'turn' and 'item'.", "at", "invalid_value"},
		{"record 0", `{"at":{"record":0}}`, 400, "Invalid 'at.record': expected a number of at least 1, but got 0.", "at.record", "invalid_value"},
		{"late record", `{"at":{"record":10}}`, 400, "The log of this session ends with record 9.", "at.record", "invalid_value"},
		{"no turn", `{"at":{"turn":"turn_x"}}`, 404, "No turn found with id 'turn_x'.", "", "not_found"},
		{"turn that runs", `{"at":{"turn":"` + second + `"}}`, 409, "The turn has not ended. Fork at a record or an item of it, or wait until it has.", "at.turn", "not_complete"},
		{"no item", `{"at":{"item":"item_x"}}`, 404, "No item found with id 'item_x'.", "", "not_found"},
		{"item under way", `{"at":{"item":"item_2"}}`, 409, "The item is not complete. Fork at a record, or wait until it is.", "at.item", "not_complete"},
		{"turn", `{"turn":"stop"}`, 400, "Invalid value: 'stop'. Supported values are: 'continue', 'cancel'.", "turn", "invalid_value"},
		{"model", `{"agent":{"model":"other"}}`, 400, "there is no model 'other'", "agent.model", "invalid_value"},
		{"input", `{"input":[]}`, 400, "Give at least one message.", "input", "invalid_value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := w.fork(id, test.body)
			if want := envelope(test.message, test.param, test.code); a.status != test.status || a.body != want {
				t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, test.status, want)
			}
		})
	}
	for name, a := range map[string]answer{
		"nobody's":          w.fork("sess_x", `{}`),
		"another project's": w.fork(id, `{}`, "OpenAI-Project", "other"),
	} {
		if a.status != http.StatusNotFound || !strings.Contains(a.body, "No agent session found with id") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// TestForkOutlivesParent reads a fork, and forks it again, when what it is a fork
// of was deleted.
func TestForkOutlivesParent(t *testing.T) {
	w := newWorld(t)
	id, first, second := w.forkable()
	fork := idOf(t, w.fork(id, `{"turn":"cancel"}`))
	w.append(id, &event.TurnEnded{TurnID: second, Status: session.TurnCancelled})
	if a := w.do("DELETE", "/v1/agents/sessions/"+id, ""); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.journal.Rest()
	items := w.do("GET", "/v1/agents/sessions/"+fork+"/items?order=asc", "")
	if items.status != http.StatusOK || !strings.Contains(items.body, "Hello.") {
		t.Errorf("items: %d %s", items.status, items.body)
	}
	if got := w.own(fork, "idle", 2); got[0] != "created" || len(got) != 27 {
		t.Errorf("events %v", got)
	}
	again := w.fork(fork, `{"at":{"turn":"`+first+`"}}`)
	if again.status != http.StatusOK {
		t.Fatalf("%d %s", again.status, again.body)
	}
	err := w.journal.View(t.Context(), httpapi.DefaultProject, idOf(t, again), func(s *session.State) error {
		if s.Forked.From != id || s.Forked.At != 7 || len(s.Turns) != 1 {
			t.Errorf("forked from %s at %d, %d turns", s.Forked.From, s.Forked.At, len(s.Turns))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	artifacts := w.do("GET", "/v1/agents/sessions/"+idOf(t, again)+"/artifacts", "")
	if !strings.Contains(artifacts.body, `"path":"/workspace/artifacts/report.txt"`) {
		t.Errorf("artifacts %s", artifacts.body)
	}
}

// TestDiff compares a session with a fork of it, and with a stranger.
func TestDiff(t *testing.T) {
	w := newWorld(t)
	c, err := client.Dial(w.url, "")
	if err != nil {
		t.Fatal(err)
	}
	id, first, second := w.forkable()
	made, err := c.Fork(t.Context(), id, client.Fork{Turn: first, Input: "Otherwise"})
	if err != nil {
		t.Fatal(err)
	}
	if from := client.ForkedFrom(made); from == nil || *from != (client.Point{SessionID: id, Record: 7}) {
		t.Errorf("forked from %v", from)
	}
	turn := w.turn(made.ID)
	var before event.Hash
	err = w.journal.Update(t.Context(), httpapi.DefaultProject, made.ID, func(tx *journal.Tx) error {
		before = tx.State.Place.Root
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.append(made.ID, responded(turn, "eff_5", message("item_5", "Other.")),
		&event.Snapshot{TurnID: turn, Root: w.tree(before, "a.txt", "four", "b.txt", "new"), Files: 3, Bytes: 17}, turnEnded(turn))
	d, err := c.Diff(t.Context(), id, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d.Common == nil || *d.Common != (client.Point{SessionID: id, Record: 7}) {
		t.Errorf("common %v", d.Common)
	}
	if d.A.SessionID != id || len(d.A.Turns) != 1 || d.A.Turns[0].ID != second || len(d.A.ItemsAfter) != 2 || d.A.CostNanoUSD != 14 || len(d.A.Files) != 0 {
		t.Errorf("a: %+v", d.A)
	}
	if d.B.SessionID != made.ID || len(d.B.Turns) != 1 || len(d.B.ItemsAfter) != 2 || d.B.CostNanoUSD != 7 || d.B.Usage.TotalTokens != 5 {
		t.Errorf("b: %+v", d.B)
	}
	want := `[{"path":"/workspace/a.txt","kind":"changed","size_before":3,"size_after":4},{"path":"/workspace/b.txt","kind":"added","size_before":null,"size_after":3}]`
	for name, files := range map[string][]client.Change{"both": d.Files, "b": d.B.Files} {
		if got, err := json.Marshal(files); err != nil || string(got) != want {
			t.Errorf("files of %s %s, want %s", name, got, want)
		}
	}
	stranger, err := c.Diff(t.Context(), id, w.create())
	if err != nil || stranger.Common != nil || len(stranger.A.Turns) != 2 || len(stranger.Files) != 2 || stranger.Files[0].Kind != "removed" {
		t.Errorf("stranger %+v, %v", stranger, err)
	}
	if a := w.do("GET", "/v1/agents/sessions/"+id+"/diff?with=sess_x", ""); a.status != http.StatusNotFound || !strings.Contains(a.body, "sess_x") {
		t.Errorf("nobody's: %d %s", a.status, a.body)
	}
	if a := w.do("GET", "/v1/agents/sessions/"+id+"/diff", ""); a.body != envelope("Missing required parameter: 'with'.", "with", "missing_required_parameter") {
		t.Errorf("no other: %s", a.body)
	}
}

// TestForkLog shows whose the records of a fork's log are, so that they verify
// where there is no server.
func TestForkLog(t *testing.T) {
	w := newWorld(t)
	id, _, _ := w.forkable()
	c, err := client.Dial(w.url, "")
	if err != nil {
		t.Fatal(err)
	}
	fork := idOf(t, w.fork(id, `{}`))
	var prev event.Hash
	n := 0
	for r, err := range c.Log(t.Context(), fork, 0) {
		if err != nil {
			t.Fatal(err)
		}
		rec, err := r.Record(fork)
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.Verify(prev); err != nil {
			t.Error(err)
		}
		if owner := map[bool]string{true: id, false: fork}[r.Seq <= 9]; r.SessionID != owner {
			t.Errorf("record %d is of %s, want %s", r.Seq, r.SessionID, owner)
		}
		prev = rec.Hash
		n++
	}
	if n != 10 {
		t.Errorf("%d records", n)
	}
}

// TestListForks lists what was forked from a session itself, page by page, and
// not the forks of its forks. A fork of a fork at a point that both have is one
// of the session.
func TestListForks(t *testing.T) {
	w := newWorld(t)
	id, first, second := w.forkable()
	of := func(id, at string) string { return idOf(t, w.fork(id, `{`+at+`}`)) }
	early := `"at":{"turn":"` + first + `"}`
	a := of(id, early)
	b := of(a, early)
	c := of(a, "")
	w.append(id, &event.TurnEnded{TurnID: second, Status: session.TurnCancelled})

	reach, err := client.Dial(w.url, "")
	if err != nil {
		t.Fatal(err)
	}
	forks := func(of string, limit int) []string {
		var ids []string
		for s, err := range reach.Sessions(t.Context(), client.SessionQuery{ForkedFrom: of, Limit: limit}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, s.ID)
		}
		slices.Sort(ids)
		return ids
	}
	both := []string{a, b}
	slices.Sort(both)
	check := func(what string, got []string, want ...string) {
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("of the session", forks(id, 0), both...)
	check("of a fork", forks(a, 0), c)
	check("of the fork of a fork", forks(c, 0))
	check("of nobody", forks("sess_x", 0))
	if n := len(forks("", 0)); n != 4 {
		t.Errorf("all: %d sessions, want 4", n)
	}
	if n := len(forks(id, 1)); n != 1 {
		t.Errorf("at most one: %d", n)
	}

	page := w.do("GET", "/v1/agents/sessions?order=asc&limit=1&forked_from="+id, "")
	if !strings.Contains(page.body, `"has_more":true`) || !strings.Contains(page.body, `"first_id":"`+both[0]+`"`) {
		t.Errorf("first page %s", page.body)
	}
	page = w.do("GET", "/v1/agents/sessions?order=asc&limit=1&forked_from="+id+"&after="+both[0], "")
	if !strings.Contains(page.body, `"has_more":false`) || !strings.Contains(page.body, `"first_id":"`+both[1]+`"`) {
		t.Errorf("second page %s", page.body)
	}
	if other := w.do("GET", "/v1/agents/sessions?forked_from="+id, "", "OpenAI-Project", "other"); !strings.Contains(other.body, `"data":[]`) {
		t.Errorf("another project: %s", other.body)
	}

	if d := w.do("DELETE", "/v1/agents/sessions/"+id, ""); d.status != http.StatusOK {
		t.Fatalf("%d %s", d.status, d.body)
	}
	check("of the deleted session", forks(id, 0), both...)
}
