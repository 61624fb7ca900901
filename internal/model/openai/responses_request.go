package openai

import (
	"strings"

	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

// schemaName is the name of the format that structured output is asked for by.
const schemaName = "response"

func (p *Provider) responsesParams(req *model.Request) (responses.ResponseNewParams, error) {
	params := responses.ResponseNewParams{
		Model:       req.Model,
		Store:       param.NewOpt(false),
		ServiceTier: responses.ResponseNewParamsServiceTier(req.ServiceTier),
		Reasoning: shared.ReasoningParam{
			Effort:  shared.ReasoningEffort(req.Reasoning.Effort),
			Summary: shared.ReasoningSummary(req.Reasoning.Summary),
		},
		Text: responses.ResponseTextConfigParam{Verbosity: responses.ResponseTextConfigVerbosity(req.Text.Verbosity)},
	}
	if req.Instructions != "" {
		params.Instructions = param.NewOpt(req.Instructions)
	}
	if req.MaxOutputTokens > 0 {
		params.MaxOutputTokens = param.NewOpt(req.MaxOutputTokens)
	}
	if reasons(req.Model) {
		params.Include = []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent}
	}
	schema, err := transcript.OutputSchema(&req.Text)
	if err != nil {
		return params, failure.Invalid("%v", err)
	}
	if schema != nil {
		params.Text.Format.OfJSONSchema = &responses.ResponseFormatTextJSONSchemaConfigParam{
			Name: schemaName, Schema: schema, Strict: param.NewOpt(true),
		}
	}
	for _, t := range req.Tools {
		schema, err := transcript.ObjectSchema(t.Parameters)
		if err != nil {
			return params, failure.Invalid("tool %s: %v", t.Name, err)
		}
		// Strict would refuse most schemas that tools come with.
		f := &responses.FunctionToolParam{Name: t.Name, Parameters: schema, Strict: param.NewOpt(false)}
		if t.Description != "" {
			f.Description = param.NewOpt(t.Description)
		}
		params.Tools = append(params.Tools, responses.ToolUnionParam{OfFunction: f})
	}
	params.Input.OfInputItemList = p.input(req)
	return params, nil
}

// reasons reports whether the model may be asked for encrypted reasoning.
// OpenAI's models before the o-series refuse the question; no newer one does.
func reasons(model string) bool {
	for _, prefix := range []string{"gpt-3.5", "gpt-4", "chatgpt-4o"} {
		if strings.HasPrefix(model, prefix) {
			return false
		}
	}
	return true
}

func (p *Provider) input(req *model.Request) responses.ResponseInputParam {
	var in responses.ResponseInputParam
	for _, turn := range transcript.Turns(req.Items) {
		last := len(turn.Items) - 1
		for last >= 0 && turn.Items[last].Type == event.ItemReasoning {
			last-- // OpenAI refuses a reasoning that nothing follows
		}
		for i, item := range turn.Items {
			switch item.Type {
			case event.ItemReasoning:
				if r := p.reasoningParam(item, req.Model); r != nil && i < last {
					in = append(in, responses.ResponseInputItemUnionParam{OfReasoning: r})
				}
			case event.ItemFunctionCall:
				in = append(in, responses.ResponseInputItemUnionParam{OfFunctionCall: &responses.ResponseFunctionToolCallParam{
					CallID: item.CallID, Name: item.Name, Arguments: transcript.Written(item.Arguments),
				}})
			case event.ItemFunctionCallOutput:
				in = append(in, responses.ResponseInputItemUnionParam{OfFunctionCallOutput: outputParam(item)})
			default:
				if m := messageParam(item); m != nil {
					in = append(in, responses.ResponseInputItemUnionParam{OfMessage: m})
				}
			}
		}
	}
	return in
}

// reasoningParam is the item as it came from this endpoint and model, or nil.
func (p *Provider) reasoningParam(item *event.Item, model string) *responses.ResponseReasoningItemParam {
	k := p.keptOf(item, model).OpenAI
	// An id alone would be looked up in the provider's memory.
	if k == nil || (k.Encrypted == "" && len(k.Content) == 0) {
		return nil
	}
	r := &responses.ResponseReasoningItemParam{ID: k.ID, Summary: []responses.ResponseReasoningItemSummaryParam{}}
	for _, s := range k.Summary {
		r.Summary = append(r.Summary, responses.ResponseReasoningItemSummaryParam{Text: s})
	}
	for _, c := range k.Content {
		r.Content = append(r.Content, responses.ResponseReasoningItemContentParam{Text: c})
	}
	if k.Encrypted != "" {
		r.EncryptedContent = param.NewOpt(k.Encrypted)
	}
	return r
}

// messageParam is a message or a compaction; nil where it is empty.
func messageParam(item *event.Item) *responses.EasyInputMessageParam {
	m := &responses.EasyInputMessageParam{Type: responses.EasyInputMessageTypeMessage}
	if item.Role == event.RoleAssistant {
		text := item.Text()
		if text == "" {
			return nil
		}
		m.Role = responses.EasyInputMessageRoleAssistant
		m.Phase = responses.EasyInputMessagePhase(item.Phase)
		m.Content.OfString = param.NewOpt(text)
		return m
	}
	m.Role = responses.EasyInputMessageRoleUser
	for _, part := range transcript.Input(item) {
		switch {
		case transcript.IsImage(part):
			m.Content.OfInputItemContentList = append(m.Content.OfInputItemContentList, responses.ResponseInputContentUnionParam{
				OfInputImage: &responses.ResponseInputImageParam{
					ImageURL: param.NewOpt(part.ImageURL), Detail: responses.ResponseInputImageDetailAuto,
				},
			})
		case transcript.IsText(part):
			m.Content.OfInputItemContentList = append(m.Content.OfInputItemContentList, responses.ResponseInputContentUnionParam{
				OfInputText: &responses.ResponseInputTextParam{Text: part.Text},
			})
		}
	}
	if m.Content.OfInputItemContentList == nil {
		return nil
	}
	return m
}

// outputParam is an output: a string, or parts where there are images in it.
func outputParam(item *event.Item) *responses.ResponseInputItemFunctionCallOutputParam {
	parts, failed := transcript.Output(item)
	o := &responses.ResponseInputItemFunctionCallOutputParam{CallID: param.NewOpt(item.CallID)}
	if !hasImage(parts) {
		o.Output.OfString = param.NewOpt(outputText(parts, failed))
		return o
	}
	list := responses.ResponseFunctionCallOutputItemListParam{}
	if failed {
		list = append(list, responses.ResponseFunctionCallOutputItemUnionParam{OfInputText: &responses.ResponseInputTextContentParam{Text: failedIntro}})
	}
	for _, part := range parts {
		u := responses.ResponseFunctionCallOutputItemUnionParam{}
		if transcript.IsImage(part) {
			u.OfInputImage = &responses.ResponseInputImageContentParam{ImageURL: param.NewOpt(part.ImageURL)}
		} else {
			u.OfInputText = &responses.ResponseInputTextContentParam{Text: part.Text}
		}
		list = append(list, u)
	}
	o.Output.OfResponseFunctionCallOutputItemArray = list
	return o
}

// failedIntro stands before the output of a failed call: OpenAI's APIs have no
// field that says so.
const failedIntro = "Error:"

func outputText(parts []event.Content, failed bool) string {
	text := transcript.Text(parts)
	if failed {
		return failedIntro + " " + text
	}
	return text
}

func hasImage(parts []event.Content) bool {
	for _, p := range parts {
		if transcript.IsImage(p) {
			return true
		}
	}
	return false
}
