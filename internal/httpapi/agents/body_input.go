package agents

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// inputBody is a text, or messages.
type inputBody struct {
	set      bool
	Messages []messageBody
}

// UnmarshalJSON takes a string for one message of that text.
func (b *inputBody) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	b.set = true
	var text string
	if json.Unmarshal(data, &text) == nil {
		b.Messages = []messageBody{{Content: []contentBody{{Type: event.PartInputText, Text: text}}}}
		return nil
	}
	return json.Unmarshal(data, &b.Messages)
}

// Schema is that of a string or an array.
func (inputBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.OneOf(&huma.Schema{Type: huma.TypeString}, httpapi.SchemaOf[[]messageBody](r))
}

type messageBody struct {
	Type    string        `json:"type,omitzero" enum:"message"`
	Role    string        `json:"role,omitzero" enum:"user"`
	Content []contentBody `json:"content" nullable:"false"`
}

// contentBody is a content part of any type.
type contentBody struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	ImageURL string `json:"image_url"`
	FileID   string `json:"file_id"`
}

// Schema tells the types of parts apart.
func (contentBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.ByType("", map[string]*huma.Schema{
		event.PartInputText:  httpapi.SchemaOf[textPart](r),
		event.PartInputImage: httpapi.SchemaOf[imagePart](r),
	})
}

type textPart struct {
	Type string `json:"type" enum:"input_text"`
	Text string `json:"text"`
}

type imagePart struct {
	Type     string `json:"type" enum:"input_image"`
	ImageURL string `json:"image_url,omitzero" doc:"A URL, or a data URL."`
	FileID   string `json:"file_id,omitzero"`
}

// postEvents is the body of a client's input.
type postEvents struct {
	Events []inputEvent `json:"events" nullable:"false" minItems:"1"`
}

// inputEvent is an input of any type.
type inputEvent struct {
	Type    string        `json:"type"`
	Input   []messageBody `json:"input"`
	Actor   string        `json:"actor"`
	CallID  string        `json:"call_id"`
	TurnID  string        `json:"turn_id"`
	Success bool          `json:"success"`
	Error   string        `json:"error"`
	Output  outputBody    `json:"output"`
}

// The types of inputs.
const (
	inputMessage  = "agent.session.input.message"
	inputCancel   = "agent.session.input.cancel"
	inputResult   = "agent.session.input.tool_result"
	inputComputer = "agent.session.input.computer_use_approval_request_result"
)

// Schema tells the types of inputs apart.
func (inputEvent) Schema(r huma.Registry) *huma.Schema {
	return httpapi.ByType("", map[string]*huma.Schema{
		inputMessage:  httpapi.SchemaOf[messageInput](r),
		inputCancel:   httpapi.SchemaOf[cancelInput](r),
		inputResult:   httpapi.SchemaOf[resultInput](r),
		inputComputer: httpapi.SchemaOf[computerInput](r),
	})
}

type messageInput struct {
	Type  string        `json:"type" enum:"agent.session.input.message"`
	Input []messageBody `json:"input" nullable:"false"`
	Actor string        `json:"actor,omitzero" doc:"Who speaks, where it is not whom the session is with. An addition of Stayd's."`
}

type cancelInput struct {
	Type string `json:"type" enum:"agent.session.input.cancel"`
}

type resultInput struct {
	Type    string     `json:"type" enum:"agent.session.input.tool_result"`
	TurnID  string     `json:"turn_id"`
	CallID  string     `json:"call_id"`
	Success bool       `json:"success"`
	Output  outputBody `json:"output,omitzero"`
	Error   string     `json:"error,omitzero"`
}

// computerInput is known and not served; it is refused by name.
type computerInput struct {
	_    struct{} `additionalProperties:"true"`
	Type string   `json:"type" enum:"agent.session.input.computer_use_approval_request_result"`
}

// outputBody is what a function returned: a text, content parts, or nothing.
type outputBody struct {
	text  *string
	parts []contentBody
}

// UnmarshalJSON takes a string or an array of parts.
func (b *outputBody) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(data, &text) == nil {
		b.text = &text
		return nil
	}
	return json.Unmarshal(data, &b.parts)
}

// Schema is that of a string or an array.
func (outputBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.OneOf(&huma.Schema{Type: huma.TypeString}, httpapi.SchemaOf[[]contentBody](r))
}

// resolveBody is a person's decision about an effect.
type resolveBody struct {
	Decision string     `json:"decision" enum:"approve,deny,completed,failed,retry"`
	Output   outputBody `json:"output,omitzero" doc:"What the call returned, where it is completed."`
	Reason   string     `json:"reason,omitzero"`
}
