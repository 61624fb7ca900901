package openai

import (
	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/shared"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

func (p *Provider) chatParams(req *model.Request) (sdk.ChatCompletionNewParams, error) {
	params := sdk.ChatCompletionNewParams{
		Model:           req.Model,
		ReasoningEffort: shared.ReasoningEffort(req.Reasoning.Effort),
		Verbosity:       sdk.ChatCompletionNewParamsVerbosity(req.Text.Verbosity),
		ServiceTier:     sdk.ChatCompletionNewParamsServiceTier(req.ServiceTier),
		StreamOptions:   sdk.ChatCompletionStreamOptionsParam{IncludeUsage: param.NewOpt(true)},
	}
	if req.MaxOutputTokens > 0 {
		// OpenAI's reasoning models take only the new name, Ollama only the old.
		if p.openAI {
			params.MaxCompletionTokens = param.NewOpt(req.MaxOutputTokens)
		} else {
			params.MaxTokens = param.NewOpt(req.MaxOutputTokens)
		}
	}
	schema, err := transcript.OutputSchema(&req.Text)
	if err != nil {
		return params, failure.Invalid("%v", err)
	}
	if schema != nil {
		params.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: schemaName, Schema: schema, Strict: param.NewOpt(true)},
		}
	}
	for _, t := range req.Tools {
		schema, err := transcript.ObjectSchema(t.Parameters)
		if err != nil {
			return params, failure.Invalid("tool %s: %v", t.Name, err)
		}
		f := shared.FunctionDefinitionParam{Name: t.Name, Parameters: schema}
		if t.Description != "" {
			f.Description = param.NewOpt(t.Description)
		}
		params.Tools = append(params.Tools, sdk.ChatCompletionToolUnionParam{
			OfFunction: &sdk.ChatCompletionFunctionToolParam{Function: f},
		})
	}
	if req.Instructions != "" {
		params.Messages = append(params.Messages, sdk.SystemMessage(req.Instructions))
	}
	params.Messages = append(params.Messages, p.messages(req)...)
	return params, nil
}

func (p *Provider) messages(req *model.Request) []sdk.ChatCompletionMessageParamUnion {
	turns := transcript.Turns(req.Items)
	// Reasoning goes back only within the run of calls that it belongs to: that is
	// what open models are trained on, and some servers refuse it elsewhere.
	open := 0
	for i, turn := range turns {
		for _, item := range turn.Items {
			if turn.Role == event.RoleUser && item.Type != event.ItemFunctionCallOutput {
				open = i
			}
		}
	}
	var out []sdk.ChatCompletionMessageParamUnion
	for i, turn := range turns {
		if turn.Role == event.RoleUser {
			out = append(out, userMessages(turn.Items)...)
		} else if m := p.assistantMessage(turn.Items, req.Model, i > open); m != nil {
			out = append(out, sdk.ChatCompletionMessageParamUnion{OfAssistant: m})
		}
	}
	return out
}

// assistantMessage makes one message of a turn; nil where it would be empty.
func (p *Provider) assistantMessage(items []*event.Item, model string, reasoning bool) *sdk.ChatCompletionAssistantMessageParam {
	m := &sdk.ChatCompletionAssistantMessageParam{}
	var text, thought, field string
	for _, item := range items {
		switch item.Type {
		case event.ItemMessage:
			text = join(text, item.Text())
		case event.ItemReasoning:
			if k := p.keptOf(item, model).Chat; k != nil && reasoning {
				field, thought = k.Field, join(thought, transcript.Text(item.Summary))
			}
		case event.ItemFunctionCall:
			m.ToolCalls = append(m.ToolCalls, sdk.ChatCompletionMessageToolCallUnionParam{
				OfFunction: &sdk.ChatCompletionMessageFunctionToolCallParam{
					ID: item.CallID,
					Function: sdk.ChatCompletionMessageFunctionToolCallFunctionParam{
						// An object always: servers parse it for their chat templates.
						Name: item.Name, Arguments: string(transcript.Object(item.Arguments)),
					},
				},
			})
		}
	}
	if text == "" && m.ToolCalls == nil {
		return nil
	}
	if text != "" {
		m.Content.OfString = param.NewOpt(text)
	}
	if field != "" && thought != "" {
		m.SetExtraFields(map[string]any{field: thought})
	}
	return m
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n" + b
}

// userMessages makes the tools' messages of a turn, then the user's own. Images
// that tools gave follow in a user's message: a tool's has text only.
func userMessages(items []*event.Item) []sdk.ChatCompletionMessageParamUnion {
	var tools, users []sdk.ChatCompletionMessageParamUnion
	var images []event.Content
	for _, item := range items {
		if item.Type != event.ItemFunctionCallOutput {
			if m, ok := userMessage(transcript.Input(item)); ok {
				users = append(users, m)
			}
			continue
		}
		parts, failed := transcript.Output(item)
		text := outputText(parts, failed)
		if hasImage(parts) {
			text = join(text, "(The image follows in a message of its own.)")
			images = append(images, event.Content{Type: event.PartInputText, Text: "Images from the output of the tool call " + item.CallID + ":"})
			for _, part := range parts {
				if transcript.IsImage(part) {
					images = append(images, part)
				}
			}
		}
		tools = append(tools, sdk.ToolMessage(text, item.CallID))
	}
	if m, ok := userMessage(images); ok {
		tools = append(tools, m)
	}
	return append(tools, users...)
}

// userMessage has its content as a string where it is one text: not every server
// takes parts.
func userMessage(parts []event.Content) (sdk.ChatCompletionMessageParamUnion, bool) {
	var list []sdk.ChatCompletionContentPartUnionParam
	for _, part := range parts {
		switch {
		case transcript.IsImage(part):
			list = append(list, sdk.ImageContentPart(sdk.ChatCompletionContentPartImageImageURLParam{URL: part.ImageURL}))
		case transcript.IsText(part):
			list = append(list, sdk.TextContentPart(part.Text))
		}
	}
	if len(list) == 0 {
		return sdk.ChatCompletionMessageParamUnion{}, false
	}
	if !hasImage(parts) {
		return sdk.UserMessage(transcript.Text(parts)), true
	}
	return sdk.UserMessage(list), true
}
