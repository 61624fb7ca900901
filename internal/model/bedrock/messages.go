package bedrock

import (
	"encoding/json"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

func messageList(model string, f family, turns []transcript.Turn) ([]types.Message, error) {
	var out []types.Message
	add := func(role types.ConversationRole, blocks []types.ContentBlock) {
		if len(blocks) == 0 {
			return
		}
		if n := len(out); n > 0 && out[n-1].Role == role {
			out[n-1].Content = append(out[n-1].Content, blocks...)
			return
		}
		out = append(out, types.Message{Role: role, Content: blocks})
	}
	for _, turn := range turns {
		var blocks []types.ContentBlock
		var err error
		if turn.Role == event.RoleAssistant {
			if len(out) == 0 {
				// The API wants a user's message first.
				add(types.ConversationRoleUser, []types.ContentBlock{&types.ContentBlockMemberText{Value: "(The conversation begins here.)"}})
			}
			if blocks, err = assistantBlocks(model, turn.Items); err == nil {
				add(types.ConversationRoleAssistant, blocks)
			}
		} else if blocks, err = userBlocks(f, turn.Items); err == nil {
			add(types.ConversationRoleUser, blocks)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, failure.Invalid("the conversation is empty")
	}
	return out, nil
}

func assistantBlocks(model string, items []*event.Item) ([]types.ContentBlock, error) {
	var blocks []types.ContentBlock
	said := false // anything but reasoning, which alone is refused
	for _, item := range items {
		switch item.Type {
		case event.ItemReasoning:
			if r := keptReasoning(item, model); r != nil {
				blocks = append(blocks, &types.ContentBlockMemberReasoningContent{Value: r.block()})
			}
		case event.ItemMessage:
			// Blank text is refused.
			if text := item.Text(); !blank(text) {
				said = true
				blocks = append(blocks, &types.ContentBlockMemberText{Value: text})
			}
		case event.ItemFunctionCall:
			input, err := newDocument(transcript.Object(item.Arguments))
			if err != nil {
				return nil, failure.Invalid("the arguments of the call %s cannot be sent: %v", item.CallID, err)
			}
			said = true
			blocks = append(blocks, &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
				ToolUseId: aws.String(callID(item.CallID)), Name: aws.String(item.Name), Input: input,
			}})
		}
	}
	if !said {
		return nil, nil
	}
	return blocks, nil
}

func userBlocks(f family, items []*event.Item) ([]types.ContentBlock, error) {
	var blocks []types.ContentBlock
	for _, item := range items {
		if item.Type == event.ItemFunctionCallOutput {
			r, err := toolResult(f, item)
			if err != nil {
				return nil, err
			}
			blocks = append(blocks, &types.ContentBlockMemberToolResult{Value: r})
			continue
		}
		for _, part := range transcript.Input(item) {
			switch {
			case transcript.IsImage(part):
				image, err := imageBlock(part.ImageURL)
				if err != nil {
					return nil, err
				}
				blocks = append(blocks, &types.ContentBlockMemberImage{Value: image})
			case transcript.IsText(part) && !blank(part.Text):
				blocks = append(blocks, &types.ContentBlockMemberText{Value: part.Text})
			}
		}
	}
	return blocks, nil
}

func toolResult(f family, item *event.Item) (types.ToolResultBlock, error) {
	parts, failed := transcript.Output(item)
	r := types.ToolResultBlock{ToolUseId: aws.String(callID(item.CallID))}
	if failed && f.status {
		r.Status = types.ToolResultStatusError
	} else if failed {
		parts = append([]event.Content{{Type: event.PartInputText, Text: "Error:"}}, parts...)
	}
	for _, part := range parts {
		switch {
		case transcript.IsImage(part):
			image, err := imageBlock(part.ImageURL)
			if err != nil {
				return r, err
			}
			r.Content = append(r.Content, &types.ToolResultContentBlockMemberImage{Value: image})
		case !blank(part.Text):
			r.Content = append(r.Content, &types.ToolResultContentBlockMemberText{Value: part.Text})
		}
	}
	if r.Content == nil {
		r.Content = []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: "(no output)"}}
	}
	return r, nil
}

// imageBlock takes data URLs, and objects in S3 by their s3:// URL. Bedrock
// fetches nothing else.
func imageBlock(u string) (types.ImageBlock, error) {
	if strings.HasPrefix(u, "s3://") {
		format := strings.ToLower(u[strings.LastIndexByte(u, '.')+1:])
		if format == "jpg" {
			format = "jpeg"
		}
		switch types.ImageFormat(format) {
		case types.ImageFormatPng, types.ImageFormatJpeg, types.ImageFormatGif, types.ImageFormatWebp:
		default:
			return types.ImageBlock{}, failure.Invalid("an image in S3 must end in .png, .jpg, .jpeg, .gif or .webp")
		}
		return types.ImageBlock{
			Format: types.ImageFormat(format),
			Source: &types.ImageSourceMemberS3Location{Value: types.S3Location{Uri: aws.String(u)}},
		}, nil
	}
	if !transcript.IsDataURL(u) {
		return types.ImageBlock{}, failure.Invalid("Bedrock takes images as data URLs or s3:// URLs, not by other URLs")
	}
	image, err := transcript.ParseDataURL(u)
	if err != nil {
		return types.ImageBlock{}, failure.Invalid("%v", err)
	}
	return types.ImageBlock{
		Format: types.ImageFormat(strings.TrimPrefix(image.MediaType, "image/")),
		Source: &types.ImageSourceMemberBytes{Value: image.Data},
	}, nil
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// callID makes a call id of another provider one that the API takes:
// [a-zA-Z0-9_-]+, up to 64.
func callID(id string) string { return transcript.SafeCallID(id, 64) }

// markMessages sets the two of the four cache points that tools and system
// leave: at the end of the conversation, so that the next request finds it, and
// at the end of the user's message before, where this one finds what the last
// wrote.
func markMessages(messages []types.Message) {
	marks := 2
	for i := len(messages) - 1; i >= 0 && marks > 0; i-- {
		if messages[i].Role == types.ConversationRoleUser {
			messages[i].Content = append(messages[i].Content, &types.ContentBlockMemberCachePoint{Value: cachePoint})
			marks--
		}
	}
}

// kept is what Item.Provider of a reasoning item holds.
type kept struct {
	Bedrock *reasoning `json:"bedrock,omitempty"`
}

// reasoning is a reasoning block as the API sent it: a signed text, or bytes
// that only the provider can read.
type reasoning struct {
	Model     string `json:"model"`
	Text      string `json:"text,omitempty"`
	Signature string `json:"signature,omitempty"`
	Redacted  []byte `json:"redacted,omitempty"`
}

func (r *reasoning) block() types.ReasoningContentBlock {
	if r.Redacted != nil {
		return &types.ReasoningContentBlockMemberRedactedContent{Value: r.Redacted}
	}
	return &types.ReasoningContentBlockMemberReasoningText{Value: types.ReasoningTextBlock{
		Text: aws.String(r.Text), Signature: aws.String(r.Signature),
	}}
}

// keptReasoning is the item's block where this model wrote it; nil otherwise.
// Unsigned reasoning never goes back: models that do not sign refuse it.
func keptReasoning(item *event.Item, model string) *reasoning {
	var k kept
	if len(item.Provider) == 0 || json.Unmarshal(item.Provider, &k) != nil || k.Bedrock == nil || k.Bedrock.Model != model {
		return nil
	}
	return k.Bedrock
}
