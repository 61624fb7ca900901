package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// detectBytes is how much of a file says what it is.
const detectBytes = 64 << 10

// Detect finds out the format from the first 64 KiB, and returns a reader of the
// whole. What a file claims there is checked when it is imported.
func Detect(r io.Reader) (Format, io.Reader, error) {
	br := bufio.NewReaderSize(r, detectBytes)
	head, err := br.Peek(detectBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", br, err
	}
	if len(bytes.TrimSpace(head)) == 0 {
		return "", br, errors.New("the file is empty: give what was exported")
	}
	f := recognise(outline(head))
	if f == "" {
		return "", br, errors.New("this is no export that is known: it is neither our own, nor Mem0's get_all or history, nor a Letta agent file, " +
			"nor items of a LangGraph store, nor events or memory records of AgentCore. If it is one of them, name its format")
	}
	return f, br, nil
}

// outline returns the keys of the first object, or of the first in a list, and
// the keys of the first object in the first list that it has.
func outline(head []byte) (top, inner map[string]bool) {
	top, inner = map[string]bool{}, map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(head, []byte("\uFEFF"))))
	type level struct{ object, key bool }
	var stack []level
	objects := 0 // of the outline that began
	var into []map[string]bool
	for {
		tok, err := dec.Token()
		if err != nil {
			return top, inner
		}
		at := len(stack) - 1
		if s, ok := tok.(string); ok && at >= 0 && stack[at].object && stack[at].key {
			if into[at] != nil {
				into[at][s] = true
			}
			stack[at].key = false
			continue
		}
		if at >= 0 {
			stack[at].key = true
		}
		switch tok {
		case json.Delim('{'):
			var keys map[string]bool
			switch {
			case objects == 0:
				keys = top
			case len(inner) == 0 && at >= 1 && !stack[at].object && into[at-1] != nil:
				keys = inner
			}
			objects++
			stack, into = append(stack, level{object: true, key: true}), append(into, keys)
		case json.Delim('['):
			stack, into = append(stack, level{}), append(into, nil)
		case json.Delim('}'), json.Delim(']'):
			stack, into = stack[:at], into[:at]
			if objects > 0 && (len(stack) == 0 || len(stack) == 1 && !stack[0].object) {
				return top, inner
			}
		}
	}
}

func recognise(top, inner map[string]bool) Format {
	all := func(keys map[string]bool, names ...string) bool {
		for _, n := range names {
			if !keys[n] {
				return false
			}
		}
		return true
	}
	either := func(names ...string) bool { return all(top, names...) || all(inner, names...) }
	switch {
	case all(top, "format", "version"):
		return Stayd
	case either("eventId", "payload"), either("memoryRecordId"), top["events"], top["event"], top["memoryRecordSummaries"], top["memoryRecord"]:
		if !top["memory"] && !top["new_memory"] && !top["old_memory"] {
			return AgentCore
		}
		return Mem0
	case top["agents"], top["core_memory"], all(top, "agent_type", "llm_config"):
		return Letta
	case either("namespace", "key", "value"), either("prefix", "key", "value"), top["items"]:
		return LangGraph
	case either("memory", "id"), either("new_memory"), either("old_memory"), top["results"]:
		return Mem0
	}
	return ""
}
