package session

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// Request is what the model is given next. It is a function of the log.
func (s *State) Request() *model.Request {
	req := &model.Request{
		Reasoning:   s.Agent.Reasoning,
		Text:        s.Agent.Text,
		ServiceTier: s.Agent.ServiceTier,
		Items:       s.Context(),
	}
	if s.Agent.Instructions != nil {
		req.Instructions = *s.Agent.Instructions
	}
	req.Instructions += s.core()
	set := s.Toolset()
	req.Tools = make([]model.Tool, len(set))
	for i := range set {
		req.Tools[i] = set[i].Tool
	}
	return req
}

// RequestHash is the SHA-256, in hexadecimal, of what Request gives the model:
// the agent's model, instructions, settings and tools, and the items.
func (s *State) RequestHash() string {
	head, err := json.Marshal([]any{s.Agent.Model, s.Agent.Instructions, s.Agent.Reasoning, s.Agent.Text, s.Agent.ServiceTier, s.toolHashes()})
	if err != nil {
		panic(fmt.Sprintf("session: encode agent of %s: %v", s.ID, err))
	}
	h := sha256.New()
	h.Write(head)
	if core := s.core(); core != "" {
		h.Write([]byte(core))
	}
	if s.Summary != nil {
		d := itemDigest(s.Summary)
		h.Write(d[:])
	}
	speaker := s.Speaker()
	if s.several {
		h.Write([]byte("said by " + speaker))
	}
	for i := s.ContextFrom; i < len(s.Items); i++ {
		en := &s.Items[i]
		if s.hidden(i, speaker) {
			continue
		}
		if en.digest.IsZero() {
			en.digest = itemDigest(en.Item)
		}
		h.Write(en.digest[:])
	}
	return event.Hash(h.Sum(nil)).String()
}

// core is what the core blocks say, behind the agent's instructions.
func (s *State) core() string {
	if s.Agent.Memory == nil || len(s.Memory.Core) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n\nWhat you keep in mind, in blocks that you may rewrite by memory_write:\n")
	for _, c := range s.Memory.Core {
		description, limit := "", 0
		for i := range s.Agent.Memory.Core {
			if block := &s.Agent.Memory.Core[i]; block.Label == c.Label {
				description, limit = block.Description, block.Limit
			}
		}
		fmt.Fprintf(&b, "<block label=%q description=%q bytes=\"%d of %d\">\n%s\n</block>\n", c.Label, description, len(c.Text), limit, c.Text)
	}
	return b.String()
}

func (s *State) toolHashes() []string {
	set := s.Toolset()
	out := make([]string, len(set))
	for i := range set {
		sum := sha256.Sum256(append([]byte(set[i].Description+"\x00"), set[i].Parameters...))
		out[i] = set[i].Name + ":" + event.Hash(sum).String()
	}
	return out
}

// Context is the conversation as a model is given it: the summary of what was
// compacted, then every item since, with each call of the runtime's own tools
// as a function call followed by its output.
func (s *State) Context() []*event.Item {
	return s.contextFrom(s.ContextFrom, s.Speaker())
}

// contextFrom is the conversation from an item on, as it is for the speaker.
func (s *State) contextFrom(from int, speaker string) []*event.Item {
	out := make([]*event.Item, 0, 2*(len(s.Items)-from)+1)
	if s.Summary != nil {
		out = append(out, s.Summary)
	}
	var outputs []*event.Item
	flush := func() {
		out = append(out, outputs...)
		outputs = outputs[:0]
	}
	step := -1
	for i := from; i < len(s.Items); i++ {
		en := &s.Items[i]
		if en.Step != step || (en.Type == event.ItemMessage && en.Role == event.RoleUser) {
			// Not before a text between two calls of one answer: the outputs follow
			// all of an answer's calls.
			flush()
			step = en.Step
		}
		switch {
		case s.hidden(i, speaker):
			// It stays in the log.
		case en.Type == event.ItemCompaction:
			// Only the last one counts, and it is in front.
		case en.IsCall():
			if en.call == nil {
				en.call, en.output = s.callItems(en.Item)
			}
			out = append(out, en.call)
			if en.output != nil {
				outputs = append(outputs, en.output)
			}
		default:
			out = append(out, s.spoken(en))
		}
	}
	flush()
	return out
}

// callItems shows a call to the model: a function call, and the output, unless
// that is an item of its own.
func (s *State) callItems(it *event.Item) (call, output *event.Item) {
	c := *it
	c.Type, c.Name, c.ServerLabel = event.ItemFunctionCall, s.visibleTool(it), ""
	c.Output, c.Error, c.Command, c.Cwd, c.ExitCode, c.DurationMS = nil, "", "", "", nil, 0
	if it.Type == event.ItemFunctionCall && it.Status == event.StatusCompleted {
		return &c, nil
	}
	o := &event.Item{
		Type: event.ItemFunctionCallOutput, ID: it.ID + "_output", TurnID: it.TurnID, CallID: it.CallID,
		Status: it.Status, Output: it.Output, Error: it.Error,
	}
	switch {
	case it.Status == event.StatusFailed && it.Error == "":
		o.Error = "The call failed and gave no reason."
	case it.Status == event.StatusIncomplete || it.Status == event.StatusInProgress:
		o.Status = event.StatusFailed
		if it.Error == "" {
			o.Error = "The turn ended before this call was answered."
		}
	case it.ExitCode != nil && *it.ExitCode != 0:
		o.Output = event.TextOutput(fmt.Sprintf("exit code %d\n%s", *it.ExitCode, event.OutputText(it.Output)))
	}
	return &c, o
}

// ContextTokens estimates the size of the next request: what the provider
// counted for the last one, and a token for every four bytes since.
func (s *State) ContextTokens() int64 {
	n := s.contextTokens
	from := s.contextItems
	if from < s.ContextFrom {
		n, from = 0, s.ContextFrom
		if s.Summary != nil {
			n += itemBytes(s.Summary) / 4
		}
	}
	for i := from; i < len(s.Items); i++ {
		n += itemBytes(s.Items[i].Item) / 4
	}
	// Outputs of calls join items that were counted without them.
	for i := from - 1; i >= 0 && i >= s.ContextFrom && s.Items[i].Step == s.step(); i-- {
		n += int64(len(s.Items[i].Output)+len(s.Items[i].Error)) / 4
	}
	return n
}

func itemBytes(it *event.Item) int64 {
	n := len(it.Arguments) + len(it.Output) + len(it.Error) + len(it.Name) + 16
	for i := range it.Content {
		n += len(it.Content[i].Text)
	}
	return int64(n)
}
