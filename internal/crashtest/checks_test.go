package crashtest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/crashtest/outside"
	"github.com/stayd/stayd/internal/event"
)

// logOf seals payloads as the runtime does.
func logOf(t *testing.T, payloads ...event.Payload) []Record {
	t.Helper()
	var prev event.Hash
	out := make([]Record, len(payloads))
	for i, p := range payloads {
		data, err := event.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		r := event.Record{Session: "s", Seq: int64(i + 1), Time: time.Unix(int64(i), 0), Kind: p.Kind(), Version: 1, Data: data, Salt: make([]byte, 16)}
		r.Seal(prev)
		prev = r.Hash
		out[i] = Record{
			Session: "s", Seq: r.Seq, Time: r.Time, Kind: string(r.Kind), Version: 1, Data: data, Salt: r.Salt,
			Digest: r.Digest.String(), Hash: r.Hash.String(),
		}
	}
	return out
}

// The effect ids of the items i0 and i1 of the session s.
const (
	effect0 = "eff_e899952937d8ce3ce2f914b482f9f7b2"
	effect1 = "eff_816b4cf22419b89ab6fc217d9152f174"
)

func made(tools ...string) event.Payload {
	p := &event.ModelResponded{EffectID: "m", TurnID: "t"}
	for i, name := range tools {
		p.Items = append(p.Items, event.Item{
			Type: event.ItemMCPCall, ID: []string{"i0", "i1"}[i], Status: event.StatusInProgress, Name: name,
			Arguments: json.RawMessage(`{"order":"` + name + ` order"}`),
		})
	}
	return p
}

func started(effect string, class event.Class, attempt int) event.Payload {
	return &event.EffectStarted{EffectID: effect, What: event.EffectTool, TurnID: "t", Class: class, Attempt: attempt}
}

func finished(effect string) event.Payload {
	return &event.EffectFinished{EffectID: effect, TurnID: "t", Status: event.StatusCompleted}
}

func failed(uncertain, again bool) event.Payload {
	p := &event.EffectFailed{EffectID: effect0, What: event.EffectTool, TurnID: "t", Uncertain: uncertain}
	if again {
		at := time.Unix(0, 0)
		p.RetryAt = &at
	}
	return p
}

func TestReadLogFindsWhatMayNotBe(t *testing.T) {
	turn := &event.TurnCreated{Input: event.Input{Key: "k"}, TurnID: "t"}
	ended := &event.TurnEnded{TurnID: "t", Status: "completed"}
	tests := []struct {
		name string
		log  []event.Payload
		want string // part of the only fault; empty where there is none
	}{
		{"a call of each kind", []event.Payload{turn, made("pay", "book"), started(effect0, event.Once, 1), finished(effect0), started(effect1, event.Idempotent, 1), started(effect1, event.Idempotent, 2), finished(effect1), ended}, ""},
		{"unknown", []event.Payload{turn, made("pay"), started(effect0, event.Once, 1), &event.EffectUnknown{EffectID: effect0, TurnID: "t"}, ended}, ""},
		{"once again, after it certainly did not start", []event.Payload{turn, made("pay"), started(effect0, event.Once, 1), failed(false, true), started(effect0, event.Once, 2), finished(effect0), ended}, ""},
		{"once again", []event.Payload{turn, made("pay"), started(effect0, event.Once, 1), started(effect0, event.Once, 2), finished(effect0), ended}, "started again"},
		{"once again, in doubt", []event.Payload{turn, made("pay"), started(effect0, event.Once, 1), failed(true, true), started(effect0, event.Once, 2), finished(effect0), ended}, "started again"},
		{"two results", []event.Payload{turn, made("pay"), started(effect0, event.Once, 1), finished(effect0), finished(effect0), ended}, "second outcome"},
		{"a result after unknown", []event.Payload{turn, made("pay"), started(effect0, event.Once, 1), &event.EffectUnknown{EffectID: effect0, TurnID: "t"}, finished(effect0), ended}, "second outcome"},
		{"an attempt after the result", []event.Payload{turn, made("book"), started(effect0, event.Idempotent, 1), finished(effect0), started(effect0, event.Idempotent, 2), ended}, "after its outcome"},
		{"another class", []event.Payload{turn, made("book"), started(effect0, event.Idempotent, 1), started(effect0, event.Reconcilable, 2), finished(effect0), ended}, "was idempotent and is reconcilable"},
		{"an effect of no call", []event.Payload{turn, made("book"), started("eff_other", event.Once, 1), started(effect0, event.Once, 1), finished(effect0), ended}, "no model made"},
		{"an input twice", []event.Payload{turn, &event.TurnCreated{Input: event.Input{Key: "k"}, TurnID: "t2"}, ended, &event.TurnEnded{TurnID: "t2", Status: "completed"}}, "taken twice"},
		{"a turn without an end", []event.Payload{turn}, "never ended"},
		{"a turn with two ends", []event.Payload{turn, ended, ended}, "ended twice"},
		{"no outcome", []event.Payload{turn, made("pay"), started(effect0, event.Once, 1), ended}, "without an outcome"},
		{"the same item twice", []event.Payload{turn, made("look"), made("look"), finished(effect0), ended}, "made twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, faults := ReadLog("s", logOf(t, tt.log...))
			expect(t, faults, tt.want)
		})
	}
}

// expect expects one fault with the text, or none where it is empty.
func expect(t *testing.T, faults []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(faults) > 0:
		t.Errorf("faults %q, want none", faults)
	case want != "" && (len(faults) != 1 || !strings.Contains(faults[0], want)):
		t.Errorf("faults %q, want one with %q", faults, want)
	}
}

func TestReadLogFindsAChangedLog(t *testing.T) {
	log := func() []Record {
		return logOf(t, &event.TurnCreated{TurnID: "t"}, &event.SessionUpdated{}, &event.TurnEnded{TurnID: "t", Status: "completed"})
	}
	tests := []struct {
		name   string
		change func([]Record) []Record
	}{
		{"data", func(r []Record) []Record { r[1].Data = json.RawMessage(`{} `); return r }},
		{"salt", func(r []Record) []Record { r[1].Salt[3] = 1; return r }},
		{"time", func(r []Record) []Record { r[1].Time = r[1].Time.Add(time.Microsecond); return r }},
		{"kind", func(r []Record) []Record { r[1].Kind = "session.deleted"; return r }},
		{"a record gone", func(r []Record) []Record { return append(r[:1], r[2]) }},
		{"a record gone and the rest renumbered", func(r []Record) []Record { r[2].Seq = 2; return append(r[:1], r[2]) }},
		{"order", func(r []Record) []Record { r[0], r[1] = r[1], r[0]; return r }},
	}
	if _, faults := ReadLog("s", log()); len(faults) > 0 {
		t.Fatalf("the log as it was written: %q", faults)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, faults := ReadLog("s", tt.change(log())); len(faults) == 0 {
				t.Error("no fault was found")
			}
		})
	}
}

func TestCompareFindsWhatMayNotBe(t *testing.T) {
	call := func(tool, outcome string, unknown bool) *Log {
		return &Log{Calls: map[string]*Call{"e": {Effect: "e", Tool: tool, Order: "o", Starts: 1, Outcome: outcome, Unknown: unknown}}}
	}
	line := func(what, tool, effect, key string) outside.Line {
		return outside.Line{What: what, Tool: tool, Effect: effect, Key: key, Args: json.RawMessage(`{"order":"o"}`)}
	}
	arrived := func(tool string) outside.Line { return line(outside.Arrived, tool, "e", "e") }
	took := func(tool string) outside.Line { return line(outside.Took, tool, "e", "e") }
	tests := []struct {
		name  string
		lines []outside.Line
		log   *Log
		want  string
	}{
		{"paid", []outside.Line{arrived("pay"), took("pay")}, call("pay", "completed", false), ""},
		{"paid, unknown", []outside.Line{arrived("pay"), took("pay")}, call("pay", "", true), ""},
		{"not paid, unknown", []outside.Line{arrived("pay")}, call("pay", "", true), ""},
		{"never arrived", nil, call("pay", "", true), ""},
		{"booked twice under one key", []outside.Line{arrived("book"), took("book"), arrived("book"), took("book")}, call("book", "completed", false), ""},
		{"sent at the second attempt", []outside.Line{arrived("send"), arrived("send"), took("send")}, call("send", "completed", false), ""},
		{"arrived twice", []outside.Line{arrived("pay"), arrived("pay"), took("pay")}, call("pay", "completed", false), "may not be repeated"},
		{"booked under two keys", []outside.Line{took("book"), line(outside.Took, "book", "e", "f")}, call("book", "completed", false), "under the keys"},
		{"booked without a key", []outside.Line{line(outside.Took, "book", "e", "")}, call("book", "completed", false), "under the keys"},
		{"looked under two ids", []outside.Line{took("look"), line(outside.Took, "look", "f", "")}, call("look", "completed", false), "under 2 effect ids"},
		{"sent twice", []outside.Line{took("send"), took("send")}, call("send", "completed", false), "took effect 2 times"},
		{"completed, never took effect", []outside.Line{arrived("pay")}, call("pay", "completed", false), "never took effect"},
		{"completed, never arrived", nil, call("pay", "completed", false), "never reached"},
		{"took effect, failed", []outside.Line{took("book")}, call("book", "failed", false), "says neither"},
		{"took effect, no outcome", []outside.Line{took("send")}, call("send", "", false), "says neither"},
		{"in no log", []outside.Line{took("pay")}, &Log{}, "no log has it"},
		{"without an intention", []outside.Line{took("pay")}, &Log{Calls: map[string]*Call{"e": {Effect: "e", Tool: "pay", Order: "o", Outcome: "completed"}}}, "without an intention"},
		{"under another id", []outside.Line{line(outside.Took, "pay", "f", "f")}, call("pay", "completed", false), "the log has it as e"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, Compare(Tally(tt.lines), []*Log{tt.log}), tt.want)
		})
	}
}
