package openai

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	sdk "github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

func (p *Provider) generateChat(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	params, err := p.chatParams(req)
	if err != nil {
		return nil, err
	}
	stream := p.chat.NewStreaming(ctx, params, perCall(req)...)
	defer stream.Close() //nolint:errcheck // what failed was returned by Err
	a := completion{emit: emit, reasoning: -1, message: -1, byIndex: map[int64]*call{}}
	for stream.Next() {
		chunk := stream.Current()
		a.take(&chunk)
	}
	if err := stream.Err(); err != nil {
		return nil, p.streamError(ctx, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return a.response(p, req)
}

// completion is an answer that comes in as chunks of Chat Completions.
type completion struct {
	emit  func(model.Delta)
	id    string
	model string
	usage event.Usage
	// finish is why the model stopped; empty until it has.
	finish string

	// places in the response's items, -1 where there is none yet
	reasoning, message int
	items              int

	thought, text  strings.Builder
	reasoningField string
	calls          []*call
	byIndex        map[int64]*call
}

type call struct {
	place     int
	id, name  string
	arguments strings.Builder
}

func (a *completion) take(chunk *sdk.ChatCompletionChunk) {
	if a.id == "" {
		a.id = chunk.ID
	}
	if a.model == "" {
		a.model = chunk.Model
	}
	if chunk.JSON.Usage.Valid() {
		a.usage = event.Usage{
			InputTokens:     chunk.Usage.PromptTokens,
			CachedTokens:    chunk.Usage.PromptTokensDetails.CachedTokens,
			OutputTokens:    chunk.Usage.CompletionTokens,
			ReasoningTokens: chunk.Usage.CompletionTokensDetails.ReasoningTokens,
		}
	}
	for i := range chunk.Choices {
		c := &chunk.Choices[i]
		if c.Index != 0 {
			continue
		}
		a.takeReasoning(&c.Delta)
		a.takeText(c.Delta.Content)
		a.takeText(c.Delta.Refusal)
		for j := range c.Delta.ToolCalls {
			a.takeCall(&c.Delta.ToolCalls[j])
		}
		if c.FinishReason != "" {
			a.finish = c.FinishReason
		}
	}
}

// takeReasoning reads the fields in which servers send reasoning: DeepSeek,
// vLLM and llama.cpp have reasoning_content, newer vLLM, Ollama and OpenRouter
// reasoning. A chunk that has both says the same twice.
func (a *completion) takeReasoning(d *sdk.ChatCompletionChunkChoiceDelta) {
	for _, name := range []string{"reasoning_content", "reasoning"} {
		f, ok := d.JSON.ExtraFields[name]
		var text string
		if !ok || json.Unmarshal([]byte(f.Raw()), &text) != nil || text == "" {
			continue
		}
		if a.reasoning < 0 {
			a.reasoning, a.reasoningField = a.place(), name
		}
		a.thought.WriteString(text)
		a.emit(model.Delta{Kind: model.ReasoningDelta, Index: a.reasoning, Text: text})
		return
	}
}

func (a *completion) takeText(text string) {
	if text == "" {
		return
	}
	if a.message < 0 {
		a.message = a.place()
	}
	a.text.WriteString(text)
	a.emit(model.Delta{Kind: model.TextDelta, Index: a.message, Text: text})
}

// takeCall adds a piece of a call. Pieces of one call have the same index; some
// servers give all calls the index 0 and tell them apart by their ids.
func (a *completion) takeCall(d *sdk.ChatCompletionChunkChoiceDeltaToolCall) {
	c := a.byIndex[d.Index]
	if c == nil || (d.ID != "" && c.id != "" && d.ID != c.id) {
		c = &call{place: a.place()}
		a.byIndex[d.Index] = c
		a.calls = append(a.calls, c)
	}
	if d.ID != "" {
		c.id = d.ID
	}
	if c.name == "" {
		c.name = d.Function.Name
	}
	c.arguments.WriteString(d.Function.Arguments)
}

func (a *completion) place() int {
	a.items++
	return a.items - 1
}

func (a *completion) response(p *Provider, req *model.Request) (*model.Response, error) {
	switch a.finish {
	case "":
		return nil, failure.Cut()
	case "error":
		return nil, failure.Refused(0, nil, failure.Detail{Message: "the provider ended the answer with an error"}, time.Now())
	}
	items := make([]event.Item, a.items)
	if a.reasoning >= 0 {
		items[a.reasoning] = event.Item{
			Type: event.ItemReasoning, Status: event.StatusCompleted,
			Summary:  []event.Content{{Type: event.PartSummaryText, Text: a.thought.String()}},
			Provider: kept{Chat: &keptText{Origin: p.origin, Model: req.Model, Field: a.reasoningField}}.encode(),
		}
	}
	if a.message >= 0 {
		items[a.message] = event.Item{
			Type: event.ItemMessage, Status: event.StatusCompleted, Role: event.RoleAssistant,
			Content: []event.Content{{Type: event.PartOutputText, Text: a.text.String()}},
		}
	}
	for i, c := range a.calls {
		if c.id == "" {
			c.id = event.DeriveID("call", req.EffectID, a.id, strconv.Itoa(i))
		}
		items[c.place] = event.Item{
			Type: event.ItemFunctionCall, Status: event.StatusCompleted,
			CallID: c.id, Name: c.name, Arguments: transcript.Arguments(c.arguments.String()),
		}
	}
	if a.finish == "length" || a.finish == "content_filter" {
		items = markIncomplete(items)
	}
	name := a.model
	if name == "" {
		name = req.Model
	}
	return &model.Response{ID: a.id, Model: name, Items: items, Usage: a.usage}, nil
}
