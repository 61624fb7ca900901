package script

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// condition is one thing that must hold for a step to be the answer. The text
// says it in words, for the error where no step matches.
type condition struct {
	text  string
	holds func(*view) bool
}

// matches reports whether all conditions hold. An output that a condition chose
// is left in the view, for the reply's templates.
func (st *step) matches(v *view) bool {
	v.chosen = -1
	if st.request != "" && st.request != v.fingerprint().Request {
		return false
	}
	for i := range st.when {
		if !st.when[i].holds(v) {
			return false
		}
	}
	return true
}

// view is a request as conditions and templates see it. What costs more than a
// look at the end of the conversation is computed when it is first asked for.
type view struct {
	req       *model.Request
	user      int // index of the last user message, or -1
	round     int // index after the last item that the model made
	turnCalls int

	chosen  int // index in outputs of the one a condition chose, or -1
	outputs []output
	read    bool // outputs are filled

	sessionCalls int // -1: not counted yet
	userText     *string
	print        *fingerprint
}

// output is one answer to a call of the model's last response.
type output struct {
	item    *event.Item
	name    string // of the tool
	failed  bool
	text    string
	decoded bool // text is set
	json    any
	err     error // why the text is not JSON
	parsed  bool  // json or err is set
}

func newView(req *model.Request) *view {
	v := &view{req: req, user: -1, round: -1, chosen: -1, sessionCalls: -1}
	made := false // the item after this one is the model's
	for i := len(req.Items) - 1; i >= 0; i-- {
		it := req.Items[i]
		if isUser(it) {
			v.user = i
			break
		}
		m := isMade(it)
		if m && !made {
			v.turnCalls++
		}
		if m && v.round < 0 {
			v.round = i + 1
		}
		made = m
	}
	if v.round < 0 {
		v.round = v.user + 1
	}
	return v
}

func isUser(it *event.Item) bool {
	return it.Type == event.ItemMessage && it.Role == event.RoleUser
}

// isMade reports whether a model made the item.
func isMade(it *event.Item) bool {
	switch it.Type {
	case event.ItemReasoning, event.ItemFunctionCall:
		return true
	case event.ItemMessage:
		return it.Role == event.RoleAssistant
	}
	return false
}

// calls is the number of responses of the model in the whole conversation.
func (v *view) calls() int {
	if v.sessionCalls < 0 {
		v.sessionCalls = 0
		made := false
		for _, it := range v.req.Items {
			m := isMade(it)
			if m && !made {
				v.sessionCalls++
			}
			made = m
		}
	}
	return v.sessionCalls
}

func (v *view) lastUser() string {
	if v.userText == nil {
		s := ""
		if v.user >= 0 {
			s = v.req.Items[v.user].Text()
		}
		v.userText = &s
	}
	return *v.userText
}

// recalled is what long-term memory put into this turn.
func (v *view) recalled() string {
	for _, it := range v.req.Items[v.user+1:] {
		if it.Type == event.ItemMessage && it.Role == event.RoleDeveloper {
			return it.Text()
		}
	}
	return ""
}

// lastTool is the name of the tool that was called last in this turn.
func (v *view) lastTool() string {
	for i := v.round - 1; i > v.user; i-- {
		if it := v.req.Items[i]; it.Type == event.ItemFunctionCall {
			return it.Name
		}
	}
	return ""
}

// roundOutputs are the outputs that came in since the model last answered.
func (v *view) roundOutputs() []output {
	if v.read {
		return v.outputs
	}
	v.read = true
	for _, it := range v.req.Items[v.round:] {
		if it.Type != event.ItemFunctionCallOutput {
			continue
		}
		o := output{item: it, failed: it.Status == event.StatusFailed, name: v.toolOf(it.CallID)}
		v.outputs = append(v.outputs, o)
	}
	return v.outputs
}

func (v *view) toolOf(callID string) string {
	for i := v.round - 1; i >= 0 && isMade(v.req.Items[i]); i-- {
		if it := v.req.Items[i]; it.Type == event.ItemFunctionCall && it.CallID == callID {
			return it.Name
		}
	}
	return ""
}

// output is the one that the step's condition chose, else the last, else nil.
func (v *view) output() *output {
	outs := v.roundOutputs()
	switch {
	case v.chosen >= 0:
		return &outs[v.chosen]
	case len(outs) > 0:
		return &outs[len(outs)-1]
	}
	return nil
}

// content is the output's text, and the reason where the call failed.
func (o *output) content() string {
	if !o.decoded {
		o.decoded, o.text = true, event.OutputText(o.item.Output)
		if o.text != "" && o.item.Error != "" {
			o.text += "\n"
		}
		o.text += o.item.Error
	}
	return o.text
}

// value is the output's text read as JSON.
func (o *output) value() (any, error) {
	if !o.parsed {
		o.parsed = true
		text := withoutNotes(o.content())
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		err := dec.Decode(&o.json)
		if err != nil || !json.Valid([]byte(text)) {
			o.err = fmt.Errorf("the last output is not JSON: %s", shorten(o.text))
		}
	}
	return o.json, o.err
}

// withoutNotes cuts the lines in brackets with which a tool's output begins that
// was told something, where they are no JSON.
func withoutNotes(text string) string {
	for {
		line, rest, more := strings.Cut(text, "\n")
		if !more || !strings.HasPrefix(line, "[") || !strings.HasSuffix(line, "]") || json.Valid([]byte(line)) {
			return text
		}
		text = rest
	}
}

func (v *view) fingerprint() *fingerprint {
	if v.print == nil {
		f := fingerprintOf(v.req)
		v.print = &f
	}
	return v.print
}

// textMatch is what a text must be like. All that is set must hold.
type textMatch struct {
	contains []string
	equals   *string
	matches  *regexp.Regexp
}

// any reports whether every text will do.
func (m *textMatch) any() bool { return m.contains == nil && m.equals == nil && m.matches == nil }

func (m *textMatch) holds(s string) bool {
	for _, c := range m.contains {
		if !strings.Contains(s, c) {
			return false
		}
	}
	if m.equals != nil && *m.equals != s {
		return false
	}
	return m.matches == nil || m.matches.MatchString(s)
}

func (m *textMatch) String() string {
	var parts []string
	for _, c := range m.contains {
		parts = append(parts, fmt.Sprintf("contains %q", c))
	}
	if m.equals != nil {
		parts = append(parts, fmt.Sprintf("equals %q", *m.equals))
	}
	if m.matches != nil {
		parts = append(parts, fmt.Sprintf("matches %q", m.matches))
	}
	return strings.Join(parts, " and ")
}

// outputMatch is what one output must be like.
type outputMatch struct {
	text   textMatch
	name   string
	failed *bool
}

func (m *outputMatch) choose(v *view) bool {
	outs := v.roundOutputs()
	for i := range outs {
		o := &outs[i]
		if (m.name == "" || m.name == o.name) && (m.failed == nil || *m.failed == o.failed) && (m.text.any() || m.text.holds(o.content())) {
			v.chosen = i
			return true
		}
	}
	return false
}

func (m *outputMatch) String() string {
	var parts []string
	if m.name != "" {
		parts = append(parts, "is of "+m.name)
	}
	if m.failed != nil {
		parts = append(parts, map[bool]string{true: "failed", false: "did not fail"}[*m.failed])
	}
	if t := m.text.String(); t != "" {
		parts = append(parts, t)
	}
	if parts == nil {
		return "a tool output came in"
	}
	return "a tool output " + strings.Join(parts, " and ")
}

// between is a range of numbers; a negative max is none.
type between struct{ min, max int }

func (b between) holds(n int) bool { return n >= b.min && (b.max < 0 || n <= b.max) }

func (b between) String() string {
	switch {
	case b.min == b.max:
		return strconv.Itoa(b.min)
	case b.max < 0:
		return fmt.Sprintf("at least %d", b.min)
	}
	return fmt.Sprintf("%d to %d", b.min, b.max)
}
