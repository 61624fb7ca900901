package anthropic

import (
	"encoding/json"
	"strings"

	sdk "github.com/anthropics/anthropic-sdk-go"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

// answer is one that comes in as events of the Messages API.
type answer struct {
	emit   func(model.Delta)
	id     string
	model  string // that was asked
	served string // that answered
	usage  event.Usage
	// stop is why the model stopped, and why it refused where it did.
	stop        string
	explanation string
	done        bool

	parts []*part
	open  map[int64]*part
}

// part is one content block.
type part struct {
	block
	place    int // in Response.Items, -1 where it has none
	id, name string
	text     strings.Builder // of text, thinking or the arguments
}

func (a *answer) take(ev *sdk.MessageStreamEventUnion) error {
	switch ev.Type {
	case "message_start":
		a.id, a.served = ev.Message.ID, ev.Message.Model
		u := &ev.Message.Usage
		a.usage = usage(u.InputTokens, u.CacheCreationInputTokens, u.CacheReadInputTokens, u.OutputTokens, u.OutputTokensDetails.ThinkingTokens)
	case "content_block_start":
		return a.start(ev)
	case "content_block_delta":
		p := a.open[ev.Index]
		if p == nil {
			return failure.Malformed("a delta has no content block", nil)
		}
		a.delta(p, &ev.Delta)
	case "content_block_stop":
		delete(a.open, ev.Index)
	case "message_delta":
		if ev.Delta.StopReason != "" {
			a.stop, a.explanation = string(ev.Delta.StopReason), ev.Delta.StopDetails.Explanation
		}
		a.recount(&ev.Usage)
	case "message_stop":
		a.done = true
	}
	return nil
}

func usage(input, written, read, output, thinking int64) event.Usage {
	return event.Usage{InputTokens: input + written + read, CachedTokens: read, OutputTokens: output, ReasoningTokens: thinking}
}

// recount takes the totals of a message_delta. Older servers leave out the
// input's, which then stay those of the start.
func (a *answer) recount(u *sdk.MessageDeltaUsage) {
	if u.JSON.InputTokens.Valid() && u.InputTokens+u.CacheCreationInputTokens+u.CacheReadInputTokens > 0 {
		in := usage(u.InputTokens, u.CacheCreationInputTokens, u.CacheReadInputTokens, 0, 0)
		a.usage.InputTokens, a.usage.CachedTokens = in.InputTokens, in.CachedTokens
	}
	if u.JSON.OutputTokens.Valid() {
		a.usage.OutputTokens = u.OutputTokens
	}
	if u.OutputTokensDetails.ThinkingTokens > 0 {
		a.usage.ReasoningTokens = u.OutputTokensDetails.ThinkingTokens
	}
}

func (a *answer) start(ev *sdk.MessageStreamEventUnion) error {
	if a.open == nil {
		a.open = map[int64]*part{}
	}
	b := &ev.ContentBlock
	p := &part{block: block{Type: b.Type}, place: -1}
	a.open[ev.Index] = p
	switch b.Type {
	case "text", "thinking", "redacted_thinking", "tool_use":
	default:
		return nil // not asked for
	}
	p.place = len(a.parts)
	a.parts = append(a.parts, p)
	switch b.Type {
	case "text":
		a.grow(p, model.TextDelta, b.Text)
	case "thinking":
		p.Signature = b.Signature
		a.grow(p, model.ReasoningDelta, b.Thinking)
	case "redacted_thinking":
		p.Data = b.Data
	case "tool_use":
		p.id, p.name = b.ID, b.Name
		// Some servers send the whole input at once and no deltas.
		if in, err := json.Marshal(b.Input); err == nil && b.Input != nil && string(in) != "{}" {
			p.text.Write(in)
		}
	}
	return nil
}

func (a *answer) delta(p *part, d *sdk.MessageStreamEventUnionDelta) {
	switch d.Type {
	case "text_delta":
		a.grow(p, model.TextDelta, d.Text)
	case "thinking_delta":
		a.grow(p, model.ReasoningDelta, d.Thinking)
	case "signature_delta":
		p.Signature += d.Signature
	case "input_json_delta":
		p.text.WriteString(d.PartialJSON)
	}
}

func (a *answer) grow(p *part, kind model.DeltaKind, text string) {
	if text == "" || p.place < 0 {
		return
	}
	p.text.WriteString(text)
	a.emit(model.Delta{Kind: kind, Index: p.place, Text: text})
}

func (a *answer) response() *model.Response {
	items := make([]event.Item, 0, len(a.parts))
	for _, p := range a.parts {
		items = append(items, p.item(a.model))
	}
	switch a.stop {
	case "max_tokens", "model_context_window_exceeded":
		if len(items) == 0 {
			items = append(items, event.Item{Type: event.ItemMessage, Role: event.RoleAssistant})
		}
		items[len(items)-1].Status = event.StatusIncomplete
	case "refusal":
		items = a.refused(items)
	}
	served := a.served
	if served == "" {
		served = a.model
	}
	return &model.Response{ID: a.id, Model: served, Items: items, Usage: a.usage}
}

// refused sees to it that a refusal says something: the API may send none of
// the model's own words. What came before it is no answer, and calls in it are
// not to be made.
func (a *answer) refused(items []event.Item) []event.Item {
	text := a.explanation
	if text == "" {
		text = "The model declined to answer."
	}
	kept := items[:0]
	said := false
	for _, it := range items {
		if it.Type == event.ItemFunctionCall {
			continue
		}
		said = said || it.Type == event.ItemMessage && it.Text() != ""
		kept = append(kept, it)
	}
	if said && a.explanation == "" {
		return kept
	}
	return append(kept, event.Item{
		Type: event.ItemMessage, Status: event.StatusCompleted, Role: event.RoleAssistant,
		Content: []event.Content{{Type: event.PartOutputText, Text: text}},
	})
}

func (p *part) item(asked string) event.Item {
	text := p.text.String()
	switch p.Type {
	case "text":
		return event.Item{
			Type: event.ItemMessage, Status: event.StatusCompleted, Role: event.RoleAssistant,
			Content: []event.Content{{Type: event.PartOutputText, Text: text}},
		}
	case "tool_use":
		return event.Item{
			Type: event.ItemFunctionCall, Status: event.StatusCompleted,
			CallID: p.id, Name: p.name, Arguments: transcript.Arguments(text),
		}
	}
	it := event.Item{Type: event.ItemReasoning, Status: event.StatusCompleted}
	if text != "" {
		it.Summary = []event.Content{{Type: event.PartSummaryText, Text: text}}
	}
	b := p.block
	b.Thinking = text
	// A block that was cut off has no signature, and could not go back.
	if b.Signature != "" || b.Data != "" {
		it.Provider = kept{Anthropic: &keptThinking{Model: asked, Blocks: []block{b}}}.encode()
	}
	return it
}

func (k kept) encode() json.RawMessage {
	raw, err := json.Marshal(k)
	if err != nil {
		panic("anthropic: encode what is kept: " + err.Error()) // strings only
	}
	return raw
}
