package script

import (
	"encoding/json"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stayd/stayd/internal/event"
)

func (p parser) reply(n *yaml.Node, r *reply) error {
	if n.Kind == yaml.ScalarNode {
		t, err := p.template(n, "reply")
		r.answers, r.items = true, []replyItem{{kind: event.ItemMessage, texts: []template{t}}}
		return err
	}
	var short [3][]replyItem // reasoning, text, calls: this is their order in the answer
	var items []replyItem
	whole := false // items is given
	one := func(i int, kind string) func(*yaml.Node) error {
		return func(n *yaml.Node) error {
			it, err := p.parts(n, kind)
			short[i] = []replyItem{it}
			return err
		}
	}
	err := p.fields(n, "reply",
		field{"reasoning", one(0, event.ItemReasoning)},
		field{"text", one(1, event.ItemMessage)},
		field{"calls", func(n *yaml.Node) error {
			return p.list(n, "calls", func(n *yaml.Node) error {
				c, err := p.call(n)
				short[2] = append(short[2], replyItem{kind: event.ItemFunctionCall, call: c})
				return err
			})
		}},
		field{"items", func(n *yaml.Node) error {
			whole = true
			return p.list(n, "items", func(n *yaml.Node) error {
				it, err := p.item(n)
				items = append(items, it)
				return err
			})
		}},
		field{"error", func(n *yaml.Node) error { return p.failure(n, r) }},
		field{"delay", func(n *yaml.Node) (err error) { r.delay, err = p.duration(n, "delay"); return err }},
		field{"stream", func(n *yaml.Node) error { return p.stream(n, &r.stream) }},
		field{"usage", func(n *yaml.Node) error { return p.usage(n, &r.usage) }})
	if err != nil {
		return err
	}
	for _, s := range short {
		r.items = append(r.items, s...)
	}
	if whole && r.items != nil {
		return p.errorf(n, `"items" says all of an answer: put reasoning, text and calls into it, or leave it out`)
	}
	r.items = append(r.items, items...)
	r.answers = whole || r.items != nil
	if !r.answers && r.fail == nil {
		return p.errorf(n, "a reply needs one of text, calls, reasoning, items and error")
	}
	if r.answers && r.fail != nil && r.fail.times == 0 {
		return p.errorf(n, `a reply that always fails has no answer: say how many "times" the error comes first`)
	}
	return nil
}

func (p parser) parts(n *yaml.Node, kind string) (replyItem, error) {
	it := replyItem{kind: kind}
	if n.Kind != yaml.SequenceNode {
		t, err := p.template(n, kind)
		it.texts = []template{t}
		return it, err
	}
	err := p.list(n, kind, func(n *yaml.Node) error {
		t, err := p.template(n, kind)
		it.texts = append(it.texts, t)
		return err
	})
	return it, err
}

// item reads one entry of items: {reasoning}, {text, phase} or {call}.
func (p parser) item(n *yaml.Node) (replyItem, error) {
	var it replyItem
	phase, kinds := "", 0
	part := func(kind string) func(*yaml.Node) error {
		return func(n *yaml.Node) (err error) {
			kinds++
			it, err = p.parts(n, kind)
			return err
		}
	}
	err := p.fields(n, "an item",
		field{"reasoning", part(event.ItemReasoning)},
		field{"text", part(event.ItemMessage)},
		field{"call", func(n *yaml.Node) (err error) {
			kinds++
			it.kind = event.ItemFunctionCall
			it.call, err = p.call(n)
			return err
		}},
		field{"phase", func(n *yaml.Node) (err error) {
			phase, err = p.text(n, "phase")
			if err == nil && phase != event.PhaseCommentary && phase != event.PhaseFinalAnswer {
				err = p.errorf(n, "phase must be %s or %s", event.PhaseCommentary, event.PhaseFinalAnswer)
			}
			return err
		}})
	if err == nil && kinds != 1 {
		err = p.errorf(n, "an item has exactly one of reasoning, text and call")
	}
	if err == nil && phase != "" && it.kind != event.ItemMessage {
		err = p.errorf(n, "only a text has a phase")
	}
	it.phase = phase
	return it, err
}

func (p parser) call(n *yaml.Node) (call, error) {
	var c call
	given := 0
	err := p.fields(n, "a call",
		field{"name", func(n *yaml.Node) (err error) { c.name, err = p.template(n, "name"); return err }},
		field{"id", func(n *yaml.Node) (err error) { c.id, err = p.text(n, "id"); return err }},
		field{"args", func(n *yaml.Node) (err error) {
			given++
			if n.Kind != yaml.MappingNode {
				return p.errorf(n, "args must be a mapping, which becomes a JSON object")
			}
			c.args, err = p.arg(n, 0)
			return err
		}},
		field{"json", func(n *yaml.Node) error {
			given++
			s, err := p.text(n, "json")
			c.args.raw = rawArguments(s)
			return err
		}})
	switch {
	case err != nil:
		return c, err
	case len(c.name.parts) == 0:
		return c, p.errorf(n, "a call needs the name of a tool")
	case given > 1:
		return c, p.errorf(n, "a call has args or json, not both")
	case given == 0:
		c.args.raw = json.RawMessage("{}")
	}
	return c, nil
}

// maxDepth bounds how deep arguments may be nested.
const maxDepth = 100

// arg turns a YAML value into JSON, keeping the order of its fields.
func (p parser) arg(n *yaml.Node, depth int) (arg, error) {
	if depth > maxDepth {
		return arg{}, p.errorf(n, "arguments are nested more than %d deep", maxDepth)
	}
	switch n.Kind { //nolint:exhaustive // the others are refused below
	case yaml.MappingNode:
		a := arg{keys: []string{}}
		seen := map[string]bool{}
		for i := 0; i < len(n.Content); i += 2 {
			key, err := p.text(n.Content[i], "a field of arguments")
			if err != nil {
				return a, err
			}
			if seen[key] {
				return a, p.errorf(n.Content[i], "arguments have the field %q twice", key)
			}
			seen[key] = true
			v, err := p.arg(n.Content[i+1], depth+1)
			if err != nil {
				return a, err
			}
			a.keys, a.values = append(a.keys, string(encode(key))), append(a.values, v)
		}
		return a.fold(), nil
	case yaml.SequenceNode:
		a := arg{}
		for _, c := range n.Content {
			v, err := p.arg(c, depth+1)
			if err != nil {
				return a, err
			}
			a.values = append(a.values, v)
		}
		return a.fold(), nil
	case yaml.ScalarNode:
		return p.scalar(n)
	}
	return arg{}, p.errorf(n, "arguments hold an alias: write the value out")
}

// fold encodes a value in which nothing is a template once and for all.
func (a arg) fold() arg {
	for i := range a.values {
		if a.values[i].raw == nil {
			return a
		}
	}
	// Without templates there is nothing that could fail.
	raw, _ := a.appendJSON(nil, nil)
	return arg{raw: raw}
}

func (p parser) scalar(n *yaml.Node) (arg, error) {
	switch n.ShortTag() {
	case "!!null":
		return arg{raw: json.RawMessage("null")}, nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return arg{}, p.errorf(n, "%q is not a value that JSON has: put it in quotes", n.Value)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return arg{}, p.errorf(n, "%q is not a value that JSON has: put it in quotes", n.Value)
		}
		if json.Valid([]byte(n.Value)) && n.ShortTag() != "!!bool" {
			raw = []byte(n.Value) // as it was written: 10.00 stays 10.00
		}
		return arg{raw: raw}, nil
	}
	t, err := p.template(n, "an argument")
	if err != nil {
		return arg{}, err
	}
	if s, ok := t.static(); ok {
		return arg{raw: encode(s)}, nil
	}
	return arg{text: &t}, nil
}

var errorCode = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (p parser) failure(n *yaml.Node, r *reply) error {
	f := &failure{}
	r.fail = f
	err := p.fields(n, "error",
		field{"code", func(n *yaml.Node) (err error) {
			if f.err.Code, err = p.text(n, "code"); err == nil && !errorCode.MatchString(f.err.Code) {
				err = p.errorf(n, "code must be an error code such as rate_limit_exceeded")
			}
			return err
		}},
		field{"message", func(n *yaml.Node) (err error) { f.err.Message, err = p.text(n, "message"); return err }},
		field{"status", func(n *yaml.Node) (err error) { f.err.Status, err = p.small(n, "status"); return err }},
		field{"retry", func(n *yaml.Node) (err error) { f.err.Retry, err = p.flag(n, "retry"); return err }},
		field{"retry_after", func(n *yaml.Node) (err error) {
			f.err.RetryAfter, err = p.duration(n, "retry_after")
			return err
		}},
		field{"times", func(n *yaml.Node) (err error) {
			if f.times, err = p.small(n, "times"); err == nil && f.times == 0 {
				err = p.errorf(n, "times must be at least 1; leave it out for an error that always comes")
			}
			return err
		}})
	if err == nil && f.err.Code == "" {
		err = p.errorf(n, "an error needs a code such as rate_limit_exceeded, server_overloaded or invalid_request")
	}
	if err == nil && strings.TrimSpace(f.err.Message) == "" {
		f.err.Message = "the script says so"
	}
	return err
}

func (p parser) stream(n *yaml.Node, s *stream) error {
	return p.fields(n, "stream",
		field{"chunk", func(n *yaml.Node) (err error) {
			if s.chunk, err = p.small(n, "chunk"); err == nil && s.chunk == 0 {
				err = p.errorf(n, "chunk must be at least 1 character")
			}
			return err
		}},
		field{"delay", func(n *yaml.Node) (err error) { s.delay, err = p.duration(n, "delay"); return err }})
}

func (p parser) usage(n *yaml.Node, u *usage) error {
	count := func(name string, to **int64) field {
		return field{name, func(n *yaml.Node) error {
			i, err := p.number(n, name)
			*to = &i
			return err
		}}
	}
	return p.fields(n, "usage", count("input_tokens", &u.input), count("cached_tokens", &u.cached),
		count("output_tokens", &u.output), count("reasoning_tokens", &u.reasoning))
}
