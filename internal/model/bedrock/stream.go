package bedrock

import (
	"encoding/json"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

// answer is one that comes in as events of ConverseStream.
type answer struct {
	emit  func(model.Delta)
	model string
	usage event.Usage
	stop  types.StopReason // empty until the model has stopped

	parts []*part
	open  map[int32]*part
}

// part is one content block. Only calls are announced; of the others the first
// delta says what they are.
type part struct {
	kind      string // an item type
	place     int
	id, name  string
	text      strings.Builder // of text, reasoning or the arguments
	signature string
	redacted  []byte
}

func (a *answer) take(ev types.ConverseStreamOutput) error {
	switch ev := ev.(type) {
	case *types.ConverseStreamOutputMemberContentBlockStart:
		if tool, ok := ev.Value.Start.(*types.ContentBlockStartMemberToolUse); ok {
			p := a.part(ev.Value.ContentBlockIndex, event.ItemFunctionCall)
			p.id, p.name = aws.ToString(tool.Value.ToolUseId), aws.ToString(tool.Value.Name)
		}
	case *types.ConverseStreamOutputMemberContentBlockDelta:
		return a.delta(&ev.Value)
	case *types.ConverseStreamOutputMemberContentBlockStop:
		delete(a.open, aws.ToInt32(ev.Value.ContentBlockIndex))
	case *types.ConverseStreamOutputMemberMessageStop:
		a.stop = ev.Value.StopReason
	case *types.ConverseStreamOutputMemberMetadata:
		if u := ev.Value.Usage; u != nil {
			read, written := int64(aws.ToInt32(u.CacheReadInputTokens)), int64(aws.ToInt32(u.CacheWriteInputTokens))
			a.usage = event.Usage{
				InputTokens:  int64(aws.ToInt32(u.InputTokens)) + read + written,
				CachedTokens: read,
				OutputTokens: int64(aws.ToInt32(u.OutputTokens)),
			}
		}
	}
	return nil
}

// part returns the open block at the index, which is a new one where there was
// none.
func (a *answer) part(index *int32, kind string) *part {
	i := aws.ToInt32(index)
	if p := a.open[i]; p != nil {
		return p
	}
	if a.open == nil {
		a.open = map[int32]*part{}
	}
	p := &part{kind: kind, place: len(a.parts)}
	a.open[i] = p
	a.parts = append(a.parts, p)
	return p
}

func (a *answer) delta(ev *types.ContentBlockDeltaEvent) error {
	switch d := ev.Delta.(type) {
	case *types.ContentBlockDeltaMemberText:
		a.grow(a.part(ev.ContentBlockIndex, event.ItemMessage), model.TextDelta, d.Value)
	case *types.ContentBlockDeltaMemberToolUse:
		p := a.open[aws.ToInt32(ev.ContentBlockIndex)]
		if p == nil || p.kind != event.ItemFunctionCall {
			return failure.Malformed("the input of a call came before the call", nil)
		}
		p.text.WriteString(aws.ToString(d.Value.Input))
	case *types.ContentBlockDeltaMemberReasoningContent:
		p := a.part(ev.ContentBlockIndex, event.ItemReasoning)
		switch r := d.Value.(type) {
		case *types.ReasoningContentBlockDeltaMemberText:
			a.grow(p, model.ReasoningDelta, r.Value)
		case *types.ReasoningContentBlockDeltaMemberSignature:
			p.signature += r.Value
		case *types.ReasoningContentBlockDeltaMemberRedactedContent:
			p.redacted = append(p.redacted, r.Value...)
		}
	}
	return nil
}

func (a *answer) grow(p *part, kind model.DeltaKind, text string) {
	if text == "" {
		return
	}
	p.text.WriteString(text)
	a.emit(model.Delta{Kind: kind, Index: p.place, Text: text})
}

func (a *answer) response() (*model.Response, error) {
	items := make([]event.Item, 0, len(a.parts))
	for _, p := range a.parts {
		items = append(items, p.item(a.model))
	}
	switch a.stop {
	case "":
		return nil, failure.Cut()
	case types.StopReasonMalformedModelOutput, types.StopReasonMalformedToolUse:
		return nil, failure.Malformed("the model wrote what Bedrock could not read ("+string(a.stop)+")", nil)
	case types.StopReasonMaxTokens, types.StopReasonModelContextWindowExceeded, types.StopReasonContentFiltered:
		if len(items) == 0 {
			items = append(items, event.Item{Type: event.ItemMessage, Role: event.RoleAssistant})
		}
		items[len(items)-1].Status = event.StatusIncomplete
	case types.StopReasonEndTurn, types.StopReasonToolUse, types.StopReasonStopSequence:
	case types.StopReasonGuardrailIntervened:
		if len(items) == 0 {
			items = append(items, message("A guardrail blocked the answer."))
		}
	}
	// The API gives answers no ids, and repeats no name of the model.
	return &model.Response{Model: a.model, Items: items, Usage: a.usage}, nil
}

func message(text string) event.Item {
	return event.Item{
		Type: event.ItemMessage, Status: event.StatusCompleted, Role: event.RoleAssistant,
		Content: []event.Content{{Type: event.PartOutputText, Text: text}},
	}
}

func (p *part) item(asked string) event.Item {
	text := p.text.String()
	switch p.kind {
	case event.ItemMessage:
		return message(text)
	case event.ItemFunctionCall:
		return event.Item{
			Type: event.ItemFunctionCall, Status: event.StatusCompleted,
			CallID: p.id, Name: p.name, Arguments: transcript.Arguments(text),
		}
	}
	it := event.Item{Type: event.ItemReasoning, Status: event.StatusCompleted}
	if text != "" {
		it.Summary = []event.Content{{Type: event.PartSummaryText, Text: text}}
	}
	if p.signature != "" || p.redacted != nil {
		it.Provider = kept{Bedrock: &reasoning{Model: asked, Text: text, Signature: p.signature, Redacted: p.redacted}}.encode()
	}
	return it
}

func (k kept) encode() json.RawMessage {
	raw, err := json.Marshal(k)
	if err != nil {
		panic("bedrock: encode what is kept: " + err.Error()) // strings and bytes only
	}
	return raw
}
