package modeltest

import (
	"encoding/json"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// Pixel is a PNG, as a data URL. It is a signature without an image: nothing
// here decodes it.
const Pixel = "data:image/png;base64,iVBORw0KGgo="

// FullRequest is a conversation with everything in it: a compaction, an image, a
// run of two calls of which one failed and one gave an image, a call whose
// arguments are no object, a call whose output was lost and an output whose call
// was, reasoning of another provider, and a schema that says little.
func FullRequest(name string) *model.Request {
	foreign := json.RawMessage(`{"elsewhere":{"secret":"xyz"}}`)
	return &model.Request{
		Model:        name,
		Instructions: "Be kind.",
		EffectID:     "eff_1",
		Tools: []model.Tool{
			weather,
			{Name: "now"},
		},
		Items: []*event.Item{
			{Type: event.ItemCompaction, ID: "cmp_1", Content: []event.Content{{Type: event.PartOutputText, Text: "They greeted each other."}}},
			{Type: event.ItemFunctionCallOutput, ID: "out_0", CallID: "call_0", Status: event.StatusCompleted, Output: event.TextOutput("noon")},
			{Type: event.ItemMessage, ID: "msg_1", Role: event.RoleUser, Content: []event.Content{
				{Type: event.PartInputText, Text: "What is this?"},
				{Type: event.PartInputImage, ImageURL: Pixel},
			}},
			{Type: event.ItemReasoning, ID: "rs_1", Summary: []event.Content{{Type: event.PartSummaryText, Text: "Hm."}}, Provider: foreign},
			{Type: event.ItemMessage, ID: "msg_2", Role: event.RoleAssistant, Phase: event.PhaseCommentary, Content: []event.Content{
				{Type: event.PartOutputText, Text: "Let me look."},
			}},
			{Type: event.ItemFunctionCall, ID: "fc_1", CallID: "call_1", Name: "get_weather", Arguments: json.RawMessage(`{"city":"Paris","n":12345678901234567890}`)},
			{Type: event.ItemFunctionCall, ID: "fc_2", CallID: "call_2", Name: "now", Arguments: event.TextOutput("not json")},
			{Type: event.ItemFunctionCallOutput, ID: "out_1", CallID: "call_1", Status: event.StatusFailed, Error: "no such city"},
			{Type: event.ItemFunctionCallOutput, ID: "out_2", CallID: "call_2", Status: event.StatusCompleted, Output: json.RawMessage(
				`[{"type":"input_text","text":"A clock:"},{"type":"input_image","image_url":"` + Pixel + `"}]`)},
			{Type: event.ItemMessage, ID: "msg_3", Role: event.RoleAssistant, Phase: event.PhaseFinalAnswer, Content: []event.Content{
				{Type: event.PartOutputText, Text: "It is a clock."},
			}},
			userText("Again, please."),
			{Type: event.ItemFunctionCall, ID: "fc_3", CallID: "call_3", Name: "now", Arguments: json.RawMessage(`{}`)},
			userText("Never mind."),
		},
	}
}
