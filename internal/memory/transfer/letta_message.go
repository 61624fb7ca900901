package transfer

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/memory"
)

// lettaAgent is an agent of an agent file while its messages are read.
type lettaAgent struct {
	im      *importer
	session string
	kind    string          // agent_type
	replies map[string]bool // ids of calls of send_message
}

// message reads one message. The words of the user and of the agent are turns,
// and so is what tools gave back; the rest is reported.
func (a *lettaAgent) message(o *object) error {
	rec := memory.Record{Strategy: memory.Turn, Source: memory.Source{External: o.text("id"), SessionID: a.session, Speaker: o.text("name")}}
	if rec.Source.External == "" {
		rec.Source.External = a.session + "/" + o.at
	}
	role := o.text("role")
	rec.RecordedAt = o.time("created_at")
	rec.Source.Model = o.text("model")
	text := a.content(o)
	calls := o.list("tool_calls")
	if err := o.fault(); err != nil {
		return err
	}
	switch role {
	case "system":
		a.im.lose("system_message", "messages of the system, which the runtime makes anew", o.at)
		return nil
	case "user":
		rec.Origin = memory.OriginUser
		rec.Source.Model = ""
		var notice string
		if text, notice = unpackUser(text); notice != "" {
			a.im.lose("notice", "notices of the runtime among the user's messages", o.at+": "+clip(notice))
			return nil
		}
	case "assistant":
		rec.Origin = memory.OriginAgent
		text = a.reply(text, calls, o.at)
		if text == "" {
			return nil
		}
	case "tool":
		rec.Origin = memory.OriginTool
		if a.replies[o.text("tool_call_id")] {
			return nil
		}
		text = unpackTool(text)
	default:
		a.im.lose("message", "messages that are nobody's words", o.at+": "+clip(role))
		return nil
	}
	if rec.Source.Speaker == "" {
		rec.Source.Speaker = role
	}
	rec.Text = text
	rec.ValidFrom = rec.RecordedAt
	return a.im.draft(rec, o.at)
}

// content takes the text of a message: parts of several types, or as the oldest
// files have it, one text.
func (a *lettaAgent) content(o *object) string {
	if o.has("content") && o.fields["content"][0] == '[' {
		var texts []string
		for i, raw := range o.list("content") {
			part, err := newObject(raw, fmt.Sprintf("%s.content[%d]", o.at, i))
			if err != nil {
				o.err = err
				return ""
			}
			if kind := part.text("type"); kind == "text" {
				texts = append(texts, part.text("text"))
			} else {
				a.im.lose(a.part(kind), "parts of messages that are not text, by their type", part.at)
			}
			if part.err != nil {
				o.err = part.err
			}
		}
		return strings.Join(texts, "\n")
	}
	if text := o.text("content"); text != "" {
		return text
	}
	return o.text("text")
}

func (a *lettaAgent) part(kind string) string {
	switch kind {
	case "image", "reasoning", "tool_call", "tool_return":
		return kind
	case "redacted_reasoning", "omitted_reasoning", "summarized_reasoning":
		return "reasoning"
	}
	return "part"
}

// reply returns what an agent said. Agents of the MemGPT kind speak by a call of
// send_message, and what they write beside a call are thoughts.
func (a *lettaAgent) reply(text string, calls []json.RawMessage, at string) string {
	var said []string
	for _, raw := range calls {
		var call struct {
			ID       string
			Function struct{ Name, Arguments string }
		}
		var args struct{ Message string }
		if json.Unmarshal(raw, &call) == nil && call.Function.Name == "send_message" && json.Unmarshal([]byte(call.Function.Arguments), &args) == nil {
			a.replies[call.ID] = call.ID != ""
			said = append(said, args.Message)
			continue
		}
		a.im.lose("tool_call", "calls of tools", at+": "+clip(call.Function.Name))
	}
	thoughts := len(said) > 0 || len(calls) > 0 && strings.HasPrefix(a.kind, "memgpt")
	if !thoughts {
		return text
	}
	if text != "" {
		a.im.lose("reasoning", "thoughts of an agent", at)
	}
	return strings.Join(said, "\n")
}

// unpackUser returns the words in a message of the user, which older agents wrap
// in JSON, or the type of what is a notice of the runtime.
func unpackUser(text string) (words, notice string) {
	var packed struct {
		Type    string
		Message *string
		Reason  string
	}
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &packed) != nil {
		return text, ""
	}
	switch packed.Type {
	case "user_message":
		if packed.Message != nil {
			return *packed.Message, ""
		}
	case "heartbeat", "login", "system_alert", "system_message":
		return "", packed.Type
	}
	return text, ""
}

// unpackTool returns what a tool gave back, out of the JSON that it is wrapped in.
func unpackTool(text string) string {
	var packed struct {
		Status, Time *string
		Message      *string
	}
	if strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &packed) == nil && packed.Status != nil && packed.Message != nil {
		return *packed.Message
	}
	return text
}
