// Package crashtest shows that a runtime which is killed at any moment does
// nothing twice, loses nothing that it acknowledged, and comes to an end: it
// kills a server under load, over and over, and compares what the clients were
// told, what the logs say, and what a world outside of it counted. It looks at
// the runtime from outside: what a log has to be is written out here once more,
// and not taken from the code under test.
package crashtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Record is a record of a session's log as the API shows it.
type Record struct {
	Session string
	Seq     int64
	Time    time.Time
	Kind    string
	Version int
	Data    json.RawMessage
	Salt    []byte
	Digest  string // hexadecimal
	Hash    string // hexadecimal
}

// Log is what the records of one session say, as far as effects and turns are
// concerned.
type Log struct {
	Session string
	Turns   map[string]*Turn
	Calls   map[string]*Call // by effect id
	// Keys has the idempotency keys of the inputs that were taken.
	Keys map[string]bool
	// Files has what the calls of read_file returned last, by path.
	Files   map[string]string
	Records int
	// Resumed counts effects that a later process took up again.
	Resumed int
}

func (l *Log) cancelled(turn string) bool {
	t := l.Turns[turn]
	return t != nil && t.Status == "cancelled"
}

// Turn is a turn of a log.
type Turn struct {
	Text   string // of the input
	Status string // empty while it has not ended
}

// Call is a call that a model made.
type Call struct {
	Effect  string
	Turn    string
	Tool    string
	Order   string
	Class   string
	Starts  int
	Unknown bool
	// Outcome is completed or failed, or empty where the log has none.
	Outcome  string
	path     string
	callID   string
	function bool // the client's

	// Doubt is set where the last that was heard of the call is that it may have
	// reached the outside.
	Doubt bool
}

// ReadLog checks the chain of the records and that each may follow those before
// it, and returns what they say. The faults are sentences.
func ReadLog(session string, records []Record) (*Log, []string) {
	l := &Log{Session: session, Turns: map[string]*Turn{}, Calls: map[string]*Call{}, Keys: map[string]bool{}, Files: map[string]string{}, Records: len(records)}
	faults := chain(session, records)
	fault := func(r *Record, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("record %d of %s (%s): ", r.Seq, session, r.Kind)+fmt.Sprintf(format, args...))
	}
	for i := range records {
		r := &records[i]
		var p payload
		if err := json.Unmarshal(r.Data, &p); err != nil {
			fault(r, "is not JSON: %v", err)
			continue
		}
		if p.Key != "" {
			if l.Keys[p.Key] {
				fault(r, "the input with the key %s was taken twice", p.Key)
			}
			l.Keys[p.Key] = true
		}
		l.take(r, &p, func(format string, args ...any) { fault(r, format, args...) })
	}
	for id, t := range l.Turns {
		if t.Status == "" {
			faults = append(faults, fmt.Sprintf("%s: the turn %s (%s) never ended", session, id, t.Text))
		}
	}
	for _, c := range l.Calls {
		if t := l.Turns[c.Turn]; c.Outcome == "" && !c.Unknown && t != nil && t.Status == "completed" {
			faults = append(faults, fmt.Sprintf("%s: the turn %s completed without an outcome of the call %s", session, t.Text, c.Order))
		}
	}
	return l, faults
}

// payload has the fields of all kinds of records that are looked at here.
type payload struct {
	Key       string          `json:"idempotency_key"`
	TurnID    string          `json:"turn_id"`
	CallID    string          `json:"call_id"`
	EffectID  string          `json:"effect_id"`
	What      string          `json:"what"`
	Class     string          `json:"class"`
	Attempt   int             `json:"attempt"`
	Epoch     int64           `json:"epoch"`
	Status    string          `json:"status"`
	RetryAt   *string         `json:"retry_at"`
	Uncertain bool            `json:"uncertain"`
	Output    json.RawMessage `json:"output"`
	Items     []struct {
		Type      string          `json:"type"`
		ID        string          `json:"id"`
		Status    string          `json:"status"`
		CallID    string          `json:"call_id"`
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
		Content   []struct {
			Text string `json:"text"`
		} `json:"content"`
	} `json:"items"`
}

func (l *Log) take(r *Record, p *payload, fault func(string, ...any)) {
	switch r.Kind {
	case "turn.created":
		if l.Turns[p.TurnID] != nil {
			fault("the turn %s was created twice", p.TurnID)
		}
		t := &Turn{}
		for i := range p.Items {
			for j := range p.Items[i].Content {
				t.Text += p.Items[i].Content[j].Text
			}
		}
		l.Turns[p.TurnID] = t
	case "turn.ended":
		switch t := l.Turns[p.TurnID]; {
		case t == nil:
			fault("the turn %s was never created", p.TurnID)
		case t.Status != "":
			fault("the turn %s ended twice", p.TurnID)
		default:
			t.Status = p.Status
		}
	case "model.responded":
		l.responded(p, fault)
	case "tool_result.submitted":
		for _, c := range l.Calls {
			if c.Turn == p.TurnID && c.function && c.callID == p.CallID {
				c.end("completed", fault)
			}
		}
	case "effect.started":
		if p.What == "tool" {
			l.started(p, fault)
		}
	case "effect.failed":
		if c := l.Calls[p.EffectID]; c != nil {
			c.Doubt = p.Uncertain
			if p.RetryAt == nil {
				c.end("failed", fault)
			}
		}
	case "effect.finished", "effect.unknown":
		c := l.Calls[p.EffectID]
		switch {
		case c == nil:
			fault("no model made a call with the effect %s", p.EffectID)
		case r.Kind == "effect.unknown":
			c.end("", fault)
			c.Unknown = true
		default:
			c.end(p.Status, fault)
			c.Doubt = false
			if c.Tool == "read_file" {
				l.Files[c.path] = text(p.Output)
			}
		}
	}
}

// text is an output that is a JSON string.
func text(output json.RawMessage) string {
	var s string
	if json.Unmarshal(output, &s) != nil {
		return string(output)
	}
	return s
}

// responded takes the calls of a model's answer. The effect id of a call follows
// from its item, as docs/architecture.md has it.
func (l *Log) responded(p *payload, fault func(string, ...any)) {
	for i := range p.Items {
		it := &p.Items[i]
		switch it.Type {
		case "function_call", "mcp_call", "command_execution":
		default:
			continue
		}
		if it.Status != "in_progress" {
			continue
		}
		c := &Call{Effect: effectID(l.Session, it.ID), Turn: p.TurnID, Tool: it.Name, callID: it.CallID, function: it.Type == "function_call"}
		var args struct {
			Order string `json:"order"`
			Path  string `json:"path"`
		}
		if err := json.Unmarshal(it.Arguments, &args); err != nil {
			fault("the arguments of %s are no object: %v", it.Name, err)
		}
		c.Order, c.path = args.Order, args.Path
		if l.Calls[c.Effect] != nil {
			fault("the item %s was made twice", it.ID)
		}
		l.Calls[c.Effect] = c
	}
}

// started checks that an attempt was allowed.
func (l *Log) started(p *payload, fault func(string, ...any)) {
	c := l.Calls[p.EffectID]
	if c == nil {
		fault("no model made a call with the effect %s", p.EffectID)
		return
	}
	if c.Outcome != "" || c.Unknown {
		fault("the call %s was started after its outcome was known", c.Order)
	}
	if c.Starts > 0 && c.Class != p.Class {
		fault("the call %s was %s and is %s", c.Order, c.Class, p.Class)
	}
	switch p.Class {
	case "once":
		if c.Starts > 0 && c.Doubt {
			fault("the call %s, which may not be repeated, was started again", c.Order)
		}
	case "idempotent", "reconcilable":
	default:
		fault("the call %s has an intention of the class %q", c.Order, p.Class)
	}
	if c.Starts > 0 {
		l.Resumed++
	}
	c.Starts++
	c.Class, c.Doubt = p.Class, true
}

func (c *Call) end(outcome string, fault func(string, ...any)) {
	if c.Outcome != "" || c.Unknown {
		fault("the call %s has a second outcome", c.Order)
	}
	c.Outcome = outcome
}

// effectID is "eff_" and half of the SHA-256 of the session's and the item's id,
// each with its length in front of it.
func effectID(session, item string) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(len(session)) + ":" + session + strconv.Itoa(len(item)) + ":" + item))
	return "eff_" + hex.EncodeToString(sum[:16])
}

// chain checks that the records are all there, in order, and unchanged.
func chain(session string, records []Record) []string {
	var faults []string
	prev := make([]byte, 32)
	for i := range records {
		r := &records[i]
		if r.Seq != int64(i+1) || r.Session != session {
			return append(faults, fmt.Sprintf("record %d of %s stands where record %d of %s should", r.Seq, r.Session, i+1, session))
		}
		digest := sha256.Sum256(append(bytes.Clone(r.Salt), r.Data...))
		if got := hex.EncodeToString(digest[:]); got != r.Digest {
			faults = append(faults, fmt.Sprintf("record %d of %s: the digest is %s, want %s", r.Seq, session, r.Digest, got))
		}
		var b bytes.Buffer
		b.Write(prev)
		number := func(v any) { binary.Write(&b, binary.BigEndian, v) } // a buffer takes everything
		number(uint32(len(r.Session)))
		b.WriteString(r.Session)
		number(r.Seq)
		number(r.Time.UnixMicro())
		number(uint32(len(r.Kind)))
		b.WriteString(r.Kind)
		number(uint32(r.Version))
		b.Write(digest[:])
		sum := sha256.Sum256(b.Bytes())
		if got := hex.EncodeToString(sum[:]); got != r.Hash {
			faults = append(faults, fmt.Sprintf("record %d of %s: the hash is %s, want %s", r.Seq, session, r.Hash, got))
		}
		prev = sum[:]
	}
	return faults
}
