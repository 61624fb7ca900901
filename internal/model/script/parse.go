package script

import (
	"encoding/json"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stayd/stayd/internal/event"
)

// Parse reads a script. The name is the NAME of the model name script/NAME, and
// errors speak of the file NAME.yaml; they are *SyntaxError.
func Parse(name string, data []byte) (*Script, error) {
	p := parser{document{file: name + ".yaml"}}
	root, err := p.root(data)
	if err != nil {
		return nil, err
	}
	s := &Script{name: name, attempts: newAttempts()}
	err = p.fields(root, "a script",
		field{"description", func(n *yaml.Node) error { _, err := p.text(n, "description"); return err }},
		field{"steps", func(n *yaml.Node) error {
			return p.list(n, "steps", func(n *yaml.Node) error { return p.step(n, s) })
		}})
	if err != nil {
		return nil, err
	}
	if len(s.steps) == 0 {
		return nil, p.errorf(root, "a script needs a list of steps with at least one step")
	}
	return s, nil
}

// parser reads the parts of a script.
type parser struct{ document }

func (p parser) step(n *yaml.Node, s *Script) error {
	st := step{line: n.Line}
	when, replied := false, false
	err := p.fields(n, "a step",
		field{"when", func(n *yaml.Node) error { when = true; return p.when(n, &st) }},
		field{"recorded", func(n *yaml.Node) error { return p.fingerprint(n, &st) }},
		field{"reply", func(n *yaml.Node) error { replied = true; return p.reply(n, &st.reply) }})
	switch {
	case err != nil:
		return err
	case !when:
		return p.errorf(n, `a step needs "when": say under which conditions it answers, or "when: {always: true}"`)
	case !replied:
		return p.errorf(n, `a step needs "reply": say what it answers`)
	case st.recorded != nil && st.request == "":
		return p.errorf(n, `"recorded" needs a "when" with the hash of the request`)
	}
	s.recorded = s.recorded || st.request != ""
	s.steps = append(s.steps, st)
	return nil
}

var requestHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (p parser) when(n *yaml.Node, st *step) error {
	always := false
	add := func(text string, holds func(*view) bool) {
		st.when = append(st.when, condition{text, holds})
	}
	err := p.fields(n, "when",
		field{"always", func(n *yaml.Node) (err error) {
			if always, err = p.flag(n, "always"); err == nil && !always {
				err = p.errorf(n, `"always: false" would never answer: leave the step out`)
			}
			return err
		}},
		field{"user", func(n *yaml.Node) error {
			m, err := p.textMatch(n, "user")
			add("the last user message "+m.String(), func(v *view) bool { return v.user >= 0 && m.holds(v.lastUser()) })
			return err
		}},
		field{"instructions", func(n *yaml.Node) error {
			m, err := p.textMatch(n, "instructions")
			add("the text of the instructions "+m.String(), func(v *view) bool { return m.holds(v.req.Instructions) })
			return err
		}},
		field{"memory", func(n *yaml.Node) error {
			m, err := p.textMatch(n, "memory")
			add("what was recalled in this turn "+m.String(), func(v *view) bool { return m.holds(v.recalled()) })
			return err
		}},
		field{"output", func(n *yaml.Node) error {
			m, err := p.outputMatch(n)
			add(m.String(), m.choose)
			return err
		}},
		field{"called", func(n *yaml.Node) error {
			name, err := p.text(n, "called")
			add("the last tool called in this turn is "+name, func(v *view) bool { return v.lastTool() == name })
			return err
		}},
		field{"count", func(n *yaml.Node) error {
			b, err := p.between(n, "count")
			add("the number of model calls in this turn is "+b.String(), func(v *view) bool { return b.holds(v.turnCalls) })
			return err
		}},
		field{"session_count", func(n *yaml.Node) error {
			b, err := p.between(n, "session_count")
			add("the number of model calls in the session is "+b.String(), func(v *view) bool { return b.holds(v.calls()) })
			return err
		}},
		field{"request", func(n *yaml.Node) (err error) {
			if st.request, err = p.text(n, "request"); err == nil && !requestHash.MatchString(st.request) {
				err = p.errorf(n, "request must be a SHA-256 in 64 lower-case hexadecimal digits")
			}
			return err
		}})
	if err != nil {
		return err
	}
	given := len(st.when) > 0 || st.request != ""
	if always && given {
		return p.errorf(n, `"always" stands alone: with other conditions beside it, leave it out`)
	}
	if !always && !given {
		return p.errorf(n, `"when" has no condition: write "always: true" for a step that always answers`)
	}
	return nil
}

// textMatch reads {contains, equals, matches}, or a text that must be contained.
func (p parser) textMatch(n *yaml.Node, what string) (*textMatch, error) {
	m := &textMatch{}
	if n.Kind == yaml.ScalarNode {
		s, err := p.text(n, what)
		m.contains = []string{s}
		return m, err
	}
	if err := p.fields(n, what, p.textFields(m)...); err != nil {
		return m, err
	}
	if m.any() {
		return m, p.errorf(n, "%s needs contains, equals or matches", what)
	}
	return m, nil
}

func (p parser) textFields(m *textMatch) []field {
	return []field{
		{"contains", func(n *yaml.Node) (err error) {
			m.contains, err = p.texts(n, "contains")
			return err
		}},
		{"equals", func(n *yaml.Node) error {
			s, err := p.text(n, "equals")
			m.equals = &s
			return err
		}},
		{"matches", func(n *yaml.Node) error {
			s, err := p.text(n, "matches")
			if err != nil {
				return err
			}
			if m.matches, err = regexp.Compile(s); err != nil {
				return p.errorf(n, "matches must be a regular expression (RE2): %v", err)
			}
			return nil
		}},
	}
}

func (p parser) outputMatch(n *yaml.Node) (*outputMatch, error) {
	m := &outputMatch{}
	if n.Kind == yaml.ScalarNode {
		s, err := p.text(n, "output")
		m.text.contains = []string{s}
		return m, err
	}
	fields := append(p.textFields(&m.text),
		field{"name", func(n *yaml.Node) (err error) { m.name, err = p.text(n, "name"); return err }},
		field{"failed", func(n *yaml.Node) error {
			b, err := p.flag(n, "failed")
			m.failed = &b
			return err
		}})
	return m, p.fields(n, "output", fields...)
}

// between reads a number or {min, max}.
func (p parser) between(n *yaml.Node, what string) (between, error) {
	if n.Kind == yaml.ScalarNode {
		i, err := p.small(n, what)
		return between{i, i}, err
	}
	b := between{0, -1}
	err := p.fields(n, what,
		field{"min", func(n *yaml.Node) (err error) { b.min, err = p.small(n, what+".min"); return err }},
		field{"max", func(n *yaml.Node) (err error) { b.max, err = p.small(n, what+".max"); return err }})
	if err == nil && b.max >= 0 && b.max < b.min {
		err = p.errorf(n, "%s: max is less than min", what)
	}
	if err == nil && len(n.Content) == 0 {
		err = p.errorf(n, "%s needs a number, or min or max", what)
	}
	return b, err
}

func (p parser) fingerprint(n *yaml.Node, st *step) error {
	f := &fingerprint{}
	text := func(name string, to *string) field {
		return field{name, func(n *yaml.Node) (err error) { *to, err = p.text(n, name); return err }}
	}
	st.recorded = f
	return p.fields(n, "recorded",
		text("model", &f.Model),
		field{"items", func(n *yaml.Node) (err error) { f.Items, err = p.small(n, "items"); return err }},
		text("last_item", &f.LastItem), text("earlier", &f.Earlier), text("instructions", &f.Instructions),
		text("tools", &f.Tools), text("settings", &f.Settings))
}

func (p parser) template(n *yaml.Node, what string) (template, error) {
	s, err := p.text(n, what)
	if err != nil {
		return template{}, err
	}
	t, err := parseTemplate(s)
	if err != nil {
		return t, p.errorf(n, "%s: %v", what, err)
	}
	return t, nil
}

// rawArguments makes arguments of what a model is to have written, which need
// not be valid.
func rawArguments(s string) json.RawMessage {
	if object := strings.TrimSpace(s); strings.HasPrefix(object, "{") && json.Valid([]byte(object)) {
		return json.RawMessage(object)
	}
	return event.TextOutput(s)
}
