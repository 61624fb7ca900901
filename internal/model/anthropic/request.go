package anthropic

import (
	"encoding/base64"
	"encoding/json"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/packages/param"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/claude"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

func messageParams(req *model.Request) (sdk.MessageNewParams, error) {
	params := sdk.MessageNewParams{Model: req.Model, MaxTokens: req.MaxOutputTokens}
	if params.MaxTokens <= 0 {
		params.MaxTokens = claude.MaxTokens(req.Model)
	}
	switch req.ServiceTier {
	case "":
	case "auto":
		params.ServiceTier = sdk.MessageNewParamsServiceTierAuto
	case "default":
		params.ServiceTier = sdk.MessageNewParamsServiceTierStandardOnly
	default:
		return params, failure.Invalid("service_tier %q is not offered by Anthropic: it is auto or default", req.ServiceTier)
	}
	if err := setTools(&params, req); err != nil {
		return params, err
	}
	if text := system(req); text != "" {
		params.System = []sdk.TextBlockParam{{Text: text, CacheControl: sdk.NewCacheControlEphemeralParam()}}
	}
	schema, err := transcript.OutputSchema(&req.Text)
	if err != nil {
		return params, failure.Invalid("%v", err)
	}
	if schema != nil {
		params.OutputConfig.Format = sdk.JSONOutputFormatParam{Schema: schema}
	}
	turns := transcript.Turns(req.Items)
	if err := setThinking(&params, req, turns); err != nil {
		return params, err
	}
	messages, err := messageList(req.Model, turns)
	if err != nil {
		return params, err
	}
	params.Messages = messages
	markMessages(params.Messages)
	return params, nil
}

// system is the instructions. The API has no setting for verbosity, so it is
// asked for in words.
func system(req *model.Request) string {
	text := req.Instructions
	switch req.Text.Verbosity {
	case "low":
		text = paragraph(text, "Keep your answers short: say what is needed and no more.")
	case "high":
		text = paragraph(text, "Give detailed, thorough answers.")
	}
	return text
}

func paragraph(a, b string) string {
	if a == "" {
		return b
	}
	return a + "\n\n" + b
}

// setTools declares the request's tools. Where it has none, but the conversation
// has calls, the API still wants them declared; they are, and not to be called.
func setTools(params *sdk.MessageNewParams, req *model.Request) error {
	tools := req.Tools
	if len(tools) == 0 {
		for _, name := range transcript.Called(req.Items) {
			tools = append(tools, model.Tool{Name: name})
			params.ToolChoice.OfNone = &sdk.ToolChoiceNoneParam{}
		}
	}
	for _, t := range tools {
		schema, err := transcript.ObjectSchema(t.Parameters)
		if err != nil {
			return failure.Invalid("tool %s: %v", t.Name, err)
		}
		delete(schema, "type")
		in := sdk.ToolInputSchemaParam{Properties: schema["properties"]}
		delete(schema, "properties")
		if len(schema) > 0 {
			in.ExtraFields = schema
		}
		tool := &sdk.ToolParam{Name: t.Name, InputSchema: in}
		if t.Description != "" {
			tool.Description = param.NewOpt(t.Description)
		}
		params.Tools = append(params.Tools, sdk.ToolUnionParam{OfTool: tool})
	}
	if n := len(params.Tools); n > 0 {
		params.Tools[n-1].OfTool.CacheControl = sdk.NewCacheControlEphemeralParam()
	}
	return nil
}

func setThinking(params *sdk.MessageNewParams, req *model.Request, turns []transcript.Turn) error {
	effort := req.Reasoning.Effort
	if !claude.Effort(effort) {
		return failure.Invalid("reasoning.effort %q is not known", effort)
	}
	if effort != "" && effort != "none" && !claude.Thinks(req.Model) {
		return failure.Invalid("reasoning.effort: the model %s does not reason", req.Model)
	}
	summary := req.Reasoning.Summary != ""
	t := claude.ForEffort(req.Model, effort, summary, params.MaxTokens)
	switch t.Mode {
	case claude.Default:
	case claude.Off:
		params.Thinking.OfDisabled = &sdk.ThinkingConfigDisabledParam{}
	case claude.Budget:
		// With a budget, a run of calls that is still open has to begin with
		// thinking; one that another model began does not.
		if beginsWithThinking(req.Model, turns) {
			params.Thinking = sdk.ThinkingConfigParamOfEnabled(t.Budget)
		}
	case claude.Adaptive:
		params.Thinking.OfAdaptive = &sdk.ThinkingConfigAdaptiveParam{}
		if summary {
			params.Thinking.OfAdaptive.Display = sdk.ThinkingConfigAdaptiveDisplaySummarized
		}
		params.OutputConfig.Effort = sdk.OutputConfigEffort(t.Effort)
	}
	return nil
}

// beginsWithThinking reports whether the last assistant's turn, where its calls
// were just answered, begins with thinking of this model.
func beginsWithThinking(model string, turns []transcript.Turn) bool {
	n := len(turns)
	if n < 2 || turns[n-1].Role != event.RoleUser || turns[n-1].Items[0].Type != event.ItemFunctionCallOutput {
		return true
	}
	first := turns[n-2].Items[0]
	return first.Type == event.ItemReasoning && len(keptBlocks(first, model)) > 0
}

func messageList(model string, turns []transcript.Turn) ([]sdk.MessageParam, error) {
	var out []sdk.MessageParam
	add := func(role sdk.MessageParamRole, blocks []sdk.ContentBlockParamUnion) {
		if len(blocks) == 0 {
			return
		}
		if n := len(out); n > 0 && out[n-1].Role == role {
			out[n-1].Content = append(out[n-1].Content, blocks...)
			return
		}
		out = append(out, sdk.MessageParam{Role: role, Content: blocks})
	}
	for _, turn := range turns {
		if turn.Role == event.RoleAssistant {
			if len(out) == 0 {
				// The API wants a user's message first.
				add(sdk.MessageParamRoleUser, []sdk.ContentBlockParamUnion{sdk.NewTextBlock("(The conversation begins here.)")})
			}
			add(sdk.MessageParamRoleAssistant, assistantBlocks(model, turn.Items))
			continue
		}
		blocks, err := userBlocks(turn.Items)
		if err != nil {
			return nil, err
		}
		add(sdk.MessageParamRoleUser, blocks)
	}
	if len(out) == 0 {
		return nil, failure.Invalid("the conversation is empty")
	}
	return out, nil
}

func assistantBlocks(model string, items []*event.Item) []sdk.ContentBlockParamUnion {
	var blocks []sdk.ContentBlockParamUnion
	for _, item := range items {
		switch item.Type {
		case event.ItemReasoning:
			for _, b := range keptBlocks(item, model) {
				blocks = append(blocks, b.param())
			}
		case event.ItemMessage:
			// Empty text is refused.
			if text := item.Text(); text != "" {
				blocks = append(blocks, sdk.NewTextBlock(text))
			}
		case event.ItemFunctionCall:
			blocks = append(blocks, sdk.ContentBlockParamUnion{OfToolUse: &sdk.ToolUseBlockParam{
				ID: callID(item.CallID), Name: item.Name, Input: transcript.Object(item.Arguments),
			}})
		}
	}
	// The API refuses an assistant's message that is nothing but thinking.
	for i := range blocks {
		if blocks[i].OfThinking == nil && blocks[i].OfRedactedThinking == nil {
			return blocks
		}
	}
	return nil
}

func userBlocks(items []*event.Item) ([]sdk.ContentBlockParamUnion, error) {
	var blocks []sdk.ContentBlockParamUnion
	for _, item := range items {
		if item.Type == event.ItemFunctionCallOutput {
			r, err := toolResult(item)
			if err != nil {
				return nil, err
			}
			blocks = append(blocks, sdk.ContentBlockParamUnion{OfToolResult: r})
			continue
		}
		for _, part := range transcript.Input(item) {
			switch {
			case transcript.IsImage(part):
				image, err := imageBlock(part.ImageURL)
				if err != nil {
					return nil, err
				}
				blocks = append(blocks, sdk.ContentBlockParamUnion{OfImage: image})
			case transcript.IsText(part) && part.Text != "":
				blocks = append(blocks, sdk.NewTextBlock(part.Text))
			}
		}
	}
	return blocks, nil
}

func toolResult(item *event.Item) (*sdk.ToolResultBlockParam, error) {
	parts, failed := transcript.Output(item)
	r := &sdk.ToolResultBlockParam{ToolUseID: callID(item.CallID)}
	if failed {
		r.IsError = param.NewOpt(true)
	}
	for _, part := range parts {
		switch {
		case transcript.IsImage(part):
			image, err := imageBlock(part.ImageURL)
			if err != nil {
				return nil, err
			}
			r.Content = append(r.Content, sdk.ToolResultBlockParamContentUnion{OfImage: image})
		case part.Text != "":
			r.Content = append(r.Content, sdk.ToolResultBlockParamContentUnion{OfText: &sdk.TextBlockParam{Text: part.Text}})
		}
	}
	return r, nil
}

func imageBlock(u string) (*sdk.ImageBlockParam, error) {
	if !transcript.IsDataURL(u) {
		return &sdk.ImageBlockParam{Source: sdk.ImageBlockParamSourceUnion{OfURL: &sdk.URLImageSourceParam{URL: u}}}, nil
	}
	image, err := transcript.ParseDataURL(u)
	if err != nil {
		return nil, failure.Invalid("%v", err)
	}
	return &sdk.ImageBlockParam{Source: sdk.ImageBlockParamSourceUnion{OfBase64: &sdk.Base64ImageSourceParam{
		MediaType: sdk.Base64ImageSourceMediaType(image.MediaType),
		Data:      base64.StdEncoding.EncodeToString(image.Data),
	}}}, nil
}

// callID makes a call id of another provider one that the API takes:
// ^[a-zA-Z0-9_-]+$.
func callID(id string) string { return transcript.SafeCallID(id, 128) }

// markMessages sets the two of the four cache breakpoints that tools and system
// leave: at the end of the conversation, so that the next request finds it, and
// at the end of the user's message before, where this one finds what the last
// wrote.
func markMessages(messages []sdk.MessageParam) {
	marks := 2
	for i := len(messages) - 1; i >= 0 && marks > 0; i-- {
		if messages[i].Role != sdk.MessageParamRoleUser && i != len(messages)-1 {
			continue
		}
		blocks := messages[i].Content
		for j := len(blocks) - 1; j >= 0; j-- {
			if c := blocks[j].GetCacheControl(); c != nil {
				*c = sdk.NewCacheControlEphemeralParam()
				marks--
				break
			}
		}
	}
}

// kept is what Item.Provider of a reasoning item holds.
type kept struct {
	Anthropic *keptThinking `json:"anthropic,omitempty"`
}

type keptThinking struct {
	Model  string  `json:"model"`
	Blocks []block `json:"blocks"`
}

// block is a thinking block, or a redacted one, as the API sent it.
type block struct {
	Type      string `json:"type"`
	Thinking  string `json:"thinking,omitempty"`
	Signature string `json:"signature,omitempty"`
	Data      string `json:"data,omitempty"`
}

func (b block) param() sdk.ContentBlockParamUnion {
	if b.Type == "redacted_thinking" {
		return sdk.NewRedactedThinkingBlock(b.Data)
	}
	return sdk.NewThinkingBlock(b.Signature, b.Thinking)
}

// keptBlocks are the item's blocks where this model wrote them.
func keptBlocks(item *event.Item, model string) []block {
	var k kept
	if len(item.Provider) == 0 || json.Unmarshal(item.Provider, &k) != nil || k.Anthropic == nil || k.Anthropic.Model != model {
		return nil
	}
	return k.Anthropic.Blocks
}
