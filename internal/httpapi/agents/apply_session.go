package agents

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// messages makes the items of an input.
func messages(in []messageBody, turnID, at string) ([]event.Item, error) {
	if len(in) == 0 {
		return nil, httpapi.Invalid(at, "Give at least one message.")
	}
	items := make([]event.Item, len(in))
	for i := range in {
		where := fmt.Sprintf("%s[%d].content", at, i)
		if len(in[i].Content) == 0 {
			return nil, httpapi.Invalid(where, "A message has at least one part.")
		}
		parts, err := content(in[i].Content, where)
		if err != nil {
			return nil, err
		}
		items[i] = event.Item{
			Type: event.ItemMessage, ID: event.DeriveID("item", turnID, "input", strconv.Itoa(i)), Role: event.RoleUser,
			Status: event.StatusCompleted, Content: parts,
		}
	}
	return items, nil
}

func content(in []contentBody, at string) ([]event.Content, error) {
	parts := make([]event.Content, len(in))
	for i, c := range in {
		parts[i] = event.Content{Type: c.Type, Text: c.Text}
		if c.Type != event.PartInputImage {
			continue
		}
		where := fmt.Sprintf("%s[%d]", at, i)
		if c.FileID != "" {
			return nil, httpapi.Unsupported(where+".file_id", "Images by file id are not served yet. Give a URL or a data URL in image_url.")
		}
		if !imageURL(c.ImageURL) {
			return nil, httpapi.Invalid(where+".image_url", fmt.Sprintf("Invalid '%s.image_url': expected an https:// or http:// URL, or a data URL of an image in base64.", where))
		}
		parts[i].ImageURL = c.ImageURL
	}
	return parts, nil
}

func imageURL(s string) bool {
	if strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") {
		return true
	}
	head, data, ok := strings.Cut(s, ",")
	if !ok || !strings.HasPrefix(head, "data:image/") || !strings.HasSuffix(head, ";base64") {
		return false
	}
	_, err := base64.StdEncoding.DecodeString(data)
	return err == nil
}

// output is the JSON of what a function returned: a string, an array of parts,
// or nil.
func (b *outputBody) output(at string) (json.RawMessage, error) {
	if b.text != nil {
		return event.TextOutput(*b.text), nil
	}
	if b.parts == nil {
		return nil, nil
	}
	parts, err := content(b.parts, at)
	if err != nil {
		return nil, err
	}
	return httpapi.Marshal(renderContent(parts))
}
