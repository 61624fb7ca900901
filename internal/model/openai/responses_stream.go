package openai

import (
	"context"
	"time"

	"github.com/openai/openai-go/v3/responses"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

func (p *Provider) generateResponses(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	params, err := p.responsesParams(req)
	if err != nil {
		return nil, err
	}
	stream := p.responses.NewStreaming(ctx, params, perCall(req)...)
	defer stream.Close() //nolint:errcheck // what failed was returned by Err
	a := answer{p: p, model: req.Model, emit: emit, index: map[int64]int{}}
	for stream.Next() {
		ev := stream.Current()
		done, err := a.take(&ev)
		if err != nil {
			return nil, err
		}
		if done {
			return a.response, nil
		}
	}
	if err := stream.Err(); err != nil {
		return nil, p.streamError(ctx, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, failure.Cut()
}

// answer is one that comes in as events of the Responses API.
type answer struct {
	p     *Provider
	model string
	emit  func(model.Delta)
	// index is the place in Response.Items of an output index: items of types
	// that were not asked for have none.
	index    map[int64]int
	items    []event.Item
	response *model.Response
}

// take handles one event and reports whether it was the last.
func (a *answer) take(ev *responses.ResponseStreamEventUnion) (done bool, err error) {
	switch ev.Type {
	case "response.output_item.added":
		a.place(ev.OutputIndex, ev.Item.Type)
	case "response.output_text.delta", "response.refusal.delta":
		a.delta(model.TextDelta, ev, ev.ContentIndex)
	case "response.reasoning_summary_text.delta":
		a.delta(model.ReasoningDelta, ev, ev.SummaryIndex)
	case "response.reasoning_text.delta":
		a.delta(model.ReasoningDelta, ev, ev.ContentIndex)
	case "response.output_item.done":
		if i, ok := a.place(ev.OutputIndex, ev.Item.Type); ok {
			a.items[i] = a.p.item(&ev.Item, a.model)
		}
	case "response.completed", "response.incomplete":
		a.finish(&ev.Response, ev.Type == "response.incomplete")
		return true, nil
	case "response.failed":
		e := ev.Response.Error
		return false, failure.Refused(0, nil, failure.Detail{Code: string(e.Code), Type: e.Type, Message: e.Message}, time.Now(), a.p.key)
	case "error":
		return false, failure.Refused(0, nil, failure.Detail{Code: ev.Code, Message: ev.Message}, time.Now(), a.p.key)
	}
	return false, nil
}

// place returns where in the items an output index is.
func (a *answer) place(output int64, itemType string) (int, bool) {
	if i, ok := a.index[output]; ok {
		return i, true
	}
	switch itemType {
	case "message", "reasoning", "function_call":
	default:
		return 0, false
	}
	i := len(a.items)
	a.index[output] = i
	a.items = append(a.items, event.Item{})
	return i, true
}

func (a *answer) delta(kind model.DeltaKind, ev *responses.ResponseStreamEventUnion, part int64) {
	if i, ok := a.index[ev.OutputIndex]; ok && ev.Delta != "" {
		a.emit(model.Delta{Kind: kind, Index: i, Part: int(part), Text: ev.Delta})
	}
}

// finish makes the response. The items are those of the final event; some
// servers leave them out there, and then they are those that came one by one.
func (a *answer) finish(r *responses.Response, incomplete bool) {
	var items []event.Item
	for i := range r.Output {
		switch r.Output[i].Type {
		case "message", "reasoning", "function_call":
			items = append(items, a.p.item(&r.Output[i], a.model))
		}
	}
	if len(items) < len(a.items) {
		items = nil
		for _, it := range a.items {
			if it.Type != "" {
				items = append(items, it)
			}
		}
	}
	if incomplete {
		items = markIncomplete(items)
	}
	name := r.Model
	if name == "" {
		name = a.model
	}
	a.response = &model.Response{
		ID: r.ID, Model: name, Items: items,
		Usage: event.Usage{
			InputTokens:     r.Usage.InputTokens,
			CachedTokens:    r.Usage.InputTokensDetails.CachedTokens,
			OutputTokens:    r.Usage.OutputTokens,
			ReasoningTokens: r.Usage.OutputTokensDetails.ReasoningTokens,
		},
	}
}

// markIncomplete says of the last item that it is not all that the model had to
// say. An answer that has none gets an empty message.
func markIncomplete(items []event.Item) []event.Item {
	if len(items) == 0 {
		items = []event.Item{{Type: event.ItemMessage, Role: event.RoleAssistant}}
	}
	items[len(items)-1].Status = event.StatusIncomplete
	return items
}

// item maps an output item of the types message, reasoning and function_call.
func (p *Provider) item(o *responses.ResponseOutputItemUnion, model string) event.Item {
	it := event.Item{Type: o.Type, Status: event.StatusCompleted}
	if o.Status == event.StatusIncomplete {
		it.Status = event.StatusIncomplete
	}
	switch o.Type {
	case "message":
		it.Role = event.RoleAssistant
		it.Phase = string(o.Phase)
		for i := range o.Content {
			text := o.Content[i].Text
			if o.Content[i].Type == "refusal" {
				text = o.Content[i].Refusal
			}
			it.Content = append(it.Content, event.Content{Type: event.PartOutputText, Text: text})
		}
	case "function_call":
		it.CallID, it.Name = o.CallID, o.Name
		it.Arguments = transcript.Arguments(o.Arguments.OfString)
	case "reasoning":
		k := keptReasoning{Origin: p.origin, Model: model, ID: o.ID, Encrypted: o.EncryptedContent}
		for _, s := range o.Summary {
			k.Summary = append(k.Summary, s.Text)
		}
		for i := range o.Content {
			k.Content = append(k.Content, o.Content[i].Text)
		}
		shown := k.Summary
		if len(shown) == 0 {
			shown = k.Content
		}
		for _, s := range shown {
			it.Summary = append(it.Summary, event.Content{Type: event.PartSummaryText, Text: s})
		}
		it.Provider = kept{OpenAI: &k}.encode()
	}
	return it
}
