// Package transcript reads a conversation the way providers want it: in turns,
// every call followed by its output, arguments as objects, images as bytes. It
// knows items and nothing of any provider's wire format.
package transcript

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/stayd/stayd/internal/event"
)

// Turn is a run of items of one side. A user's turn begins with the outputs of
// the calls in the turn before it.
type Turn struct {
	Role  string // event.RoleUser or event.RoleAssistant
	Items []*event.Item
}

// missingOutput is what the model is told of a call whose output is not in the
// conversation: all providers refuse a call without one.
const missingOutput = "No output of this call was recorded."

// Turns orders the items into turns that alternate. Every call is followed, in
// the next turn, by exactly one output: its own, wherever that stands, or one
// that says there is none. An output without a call (the call was compacted
// away) becomes a user's message. Items of other types are left out.
func Turns(items []*event.Item) []Turn {
	outputs, taken := pair(items)
	var turns []Turn
	var owed []*event.Item // outputs of the open assistant's turn
	add := func(role string, item *event.Item) {
		if n := len(turns); n == 0 || turns[n-1].Role != role {
			turns = append(turns, Turn{Role: role})
		}
		last := &turns[len(turns)-1]
		last.Items = append(last.Items, item)
	}
	settle := func() {
		for _, o := range owed {
			add(event.RoleUser, o)
		}
		owed = nil
	}
	for i, item := range items {
		switch item.Type {
		case event.ItemMessage:
			if item.Role == event.RoleAssistant {
				add(event.RoleAssistant, item)
				continue
			}
			settle()
			add(event.RoleUser, item)
		case event.ItemCompaction:
			settle()
			add(event.RoleUser, item)
		case event.ItemReasoning:
			add(event.RoleAssistant, item)
		case event.ItemFunctionCall:
			add(event.RoleAssistant, item)
			owed = append(owed, outputs[i])
		case event.ItemFunctionCallOutput:
			settle()
			if !taken[i] {
				add(event.RoleUser, orphan(item))
			}
		}
	}
	settle()
	return turns
}

// pair finds the output of every call, by the index of the call: the first one
// after it with its call id that no earlier call has. Servers exist that use the
// same ids in every answer.
func pair(items []*event.Item) (outputs map[int]*event.Item, taken map[int]bool) {
	outputs, taken = map[int]*event.Item{}, map[int]bool{}
	byID := map[string][]int{}
	for i, item := range items {
		if item.Type == event.ItemFunctionCallOutput {
			byID[item.CallID] = append(byID[item.CallID], i)
		}
	}
	for i, item := range items {
		if item.Type != event.ItemFunctionCall {
			continue
		}
		queue := byID[item.CallID]
		for len(queue) > 0 && queue[0] < i {
			queue = queue[1:]
		}
		if len(queue) == 0 {
			outputs[i] = &event.Item{
				Type: event.ItemFunctionCallOutput, CallID: item.CallID,
				Status: event.StatusFailed, Error: missingOutput,
			}
			continue
		}
		outputs[i], taken[queue[0]] = items[queue[0]], true
		byID[item.CallID] = queue[1:]
	}
	return outputs, taken
}

func orphan(item *event.Item) *event.Item {
	parts := []event.Content{{Type: event.PartInputText, Text: "Output of an earlier tool call:"}}
	out, _ := Output(item)
	return &event.Item{Type: event.ItemMessage, Role: event.RoleUser, Content: append(parts, out...)}
}

// Input returns the parts of a user's message, or of a compaction, whose summary
// is marked as one.
func Input(item *event.Item) []event.Content {
	if item.Type == event.ItemCompaction {
		return []event.Content{{Type: event.PartInputText, Text: SummaryIntro + item.Text()}}
	}
	return item.Content
}

// SummaryIntro stands before the text of a compaction.
const SummaryIntro = "This is a summary of the earlier part of the conversation, which is no longer shown:\n\n"

// Output returns what a call gave back, as parts, and whether it failed. A
// failed call's error is the first of its parts.
func Output(item *event.Item) (parts []event.Content, failed bool) {
	failed = item.Status == event.StatusFailed || item.Status == event.StatusIncomplete
	if failed || item.Error != "" {
		text := item.Error
		if text == "" && len(item.Output) == 0 {
			text = "The call failed."
		}
		if text != "" {
			parts = append(parts, event.Content{Type: event.PartInputText, Text: text})
		}
	}
	return append(parts, decodeOutput(item.Output)...), failed
}

// decodeOutput reads an Output. What is neither a string nor an array of text
// and images is given as its JSON.
func decodeOutput(raw json.RawMessage) []event.Content {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return []event.Content{{Type: event.PartInputText, Text: s}}
	}
	var parts []event.Content
	if json.Unmarshal(raw, &parts) == nil && allKnown(parts) {
		return parts
	}
	return []event.Content{{Type: event.PartInputText, Text: string(raw)}}
}

func allKnown(parts []event.Content) bool {
	for _, p := range parts {
		if !IsText(p) && !IsImage(p) {
			return false
		}
	}
	return true
}

// IsText reports whether the part is text, of either side.
func IsText(p event.Content) bool {
	switch p.Type {
	case event.PartInputText, event.PartOutputText, event.PartSummaryText, "text":
		return true
	}
	return false
}

// IsImage reports whether the part is an image.
func IsImage(p event.Content) bool { return p.Type == event.PartInputImage && p.ImageURL != "" }

// Text joins the text parts, one a line.
func Text(parts []event.Content) string {
	var lines []string
	for _, p := range parts {
		if IsText(p) {
			lines = append(lines, p.Text)
		}
	}
	return strings.Join(lines, "\n")
}

// Object returns a call's arguments as a JSON object. Where the model wrote none,
// what it wrote is the object's only field, invalid_arguments.
func Object(arguments json.RawMessage) json.RawMessage {
	raw := bytes.TrimSpace(arguments)
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	if raw[0] == '{' && json.Valid(raw) {
		return raw
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return object("invalid_arguments", text)
}

// Arguments turns what a model wrote as arguments into an item's Arguments: the
// object, {} where it wrote nothing, or a JSON string of what is no object.
func Arguments(written string) json.RawMessage {
	written = strings.ToValidUTF8(written, "\uFFFD")
	s := strings.TrimSpace(written)
	switch {
	case s == "":
		return json.RawMessage("{}")
	case s[0] == '{' && json.Valid([]byte(s)):
		return json.RawMessage(s)
	}
	return event.TextOutput(written)
}

// Written is the reverse of Arguments: what the model wrote.
func Written(arguments json.RawMessage) string {
	var s string
	if json.Unmarshal(arguments, &s) == nil {
		return s
	}
	if len(arguments) == 0 {
		return "{}"
	}
	return string(arguments)
}

func object(key, text string) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	b.Write(event.TextOutput(key))
	b.WriteByte(':')
	b.Write(event.TextOutput(text))
	b.WriteByte('}')
	return b.Bytes()
}

// SafeCallID returns the call id where it has only letters, digits, _ and -, and
// is no longer than limit bytes; else an id made from it that keeps to that. A
// call and its output get the same one.
func SafeCallID(id string, limit int) string {
	ok := id != "" && len(id) <= limit
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if ok {
		return id
	}
	return event.DeriveID("call", id)
}

// Called returns the names of the functions that were called, each once, in
// order. Providers that want every called tool to be declared are given them
// where a request has no tools of its own.
func Called(items []*event.Item) []string {
	var names []string
	seen := map[string]bool{}
	for _, item := range items {
		if item.Type == event.ItemFunctionCall && !seen[item.Name] {
			seen[item.Name] = true
			names = append(names, item.Name)
		}
	}
	return names
}
