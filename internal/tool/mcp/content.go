package mcp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// toolSpec is a tool as the runtime sees it. What the server says of it is a
// hint; an author's policy stands above it.
func toolSpec(t *sdk.Tool) (event.ToolSpec, error) {
	spec := event.ToolSpec{Name: t.Name, Description: t.Description, ItemType: event.ItemMCPCall}
	if spec.Description == "" {
		spec.Description = t.Title
	}
	schema, err := json.Marshal(t.InputSchema)
	if err != nil {
		return spec, fmt.Errorf("the tool '%s' has a schema that cannot be encoded: %w", t.Name, err)
	}
	spec.Parameters = schema
	switch a := t.Annotations; {
	case a == nil:
	case a.ReadOnlyHint:
		spec.Class = event.Pure
	case a.IdempotentHint:
		spec.Class = event.Idempotent
	}
	return spec, nil
}

// result is what a tool answered: a string where it is text, and parts where
// there is more to it, without credentials that the server was shown.
func (a *attempt) result(r *sdk.CallToolResult) (tool.Result, error) {
	if r.InputRequests != nil {
		return tool.Failure("the tool asks for further input, which is not supported"), nil
	}
	parts := make([]event.Content, 0, len(r.Content))
	for _, c := range r.Content {
		p := part(c)
		p.Text, p.ImageURL = a.mask(p.Text), a.mask(p.ImageURL)
		parts = append(parts, p)
	}
	if len(parts) == 0 && r.StructuredContent != nil {
		b, err := json.Marshal(r.StructuredContent)
		if err != nil {
			return tool.Result{}, &tool.Error{Message: "the tool's answer cannot be encoded", Sent: true, Err: err}
		}
		parts = append(parts, event.Content{Type: event.PartInputText, Text: a.mask(string(b))})
	}
	if r.IsError {
		return failed(parts), nil
	}
	switch {
	case len(parts) == 0:
		return tool.Text(""), nil
	case len(parts) == 1 && parts[0].Type == event.PartInputText:
		return tool.Text(parts[0].Text), nil
	}
	out, err := json.Marshal(parts)
	if err != nil {
		return tool.Result{}, &tool.Error{Message: "the tool's answer cannot be encoded", Sent: true, Err: err}
	}
	return tool.Result{Output: out}, nil
}

func failed(parts []event.Content) tool.Result {
	var texts []string
	for _, p := range parts {
		if p.Text != "" {
			texts = append(texts, p.Text)
		}
	}
	if len(texts) == 0 {
		return tool.Failure("the tool failed and did not say why")
	}
	return tool.Failure("%s", strings.Join(texts, "\n"))
}

func part(c sdk.Content) event.Content {
	text := func(format string, args ...any) event.Content {
		return event.Content{Type: event.PartInputText, Text: fmt.Sprintf(format, args...)}
	}
	switch c := c.(type) {
	case *sdk.TextContent:
		return text("%s", c.Text)
	case *sdk.ImageContent:
		return image(c.MIMEType, c.Data)
	case *sdk.AudioContent:
		return text("[audio, %s, %d bytes]", c.MIMEType, len(c.Data))
	case *sdk.ResourceLink:
		return text("[resource %s: %s]", c.Name, c.URI)
	case *sdk.EmbeddedResource:
		switch r := c.Resource; {
		case r == nil:
			return text("[an empty resource]")
		case strings.HasPrefix(r.MIMEType, "image/") && len(r.Blob) > 0:
			return image(r.MIMEType, r.Blob)
		case len(r.Blob) > 0:
			return text("[resource %s, %s, %d bytes]", r.URI, r.MIMEType, len(r.Blob))
		default:
			return text("%s", r.Text)
		}
	}
	return text("[content of a kind that is not known]")
}

func image(mime string, data []byte) event.Content {
	return event.Content{Type: event.PartInputImage, ImageURL: "data:" + mime + ";base64," + base64.StdEncoding.EncodeToString(data)}
}
