package script

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// template is a text with values of the request in it. In its source, {{NAME}}
// is a value and \{{ is a plain {{.
type template struct{ parts []part }

// part is a plain text, or a value where expr is set.
type part struct {
	text string
	expr *expr
}

// expr names a value of the request.
type expr struct {
	name string
	path []string // of output
}

// escapeTemplate makes a text that parses to a template that renders to s.
func escapeTemplate(s string) string { return strings.ReplaceAll(s, "{{", `\{{`) }

func parseTemplate(s string) (template, error) {
	var t template
	plain := ""
	for {
		i := strings.Index(s, "{{")
		if i < 0 {
			break
		}
		if i > 0 && s[i-1] == '\\' {
			plain += s[:i-1] + "{{"
			s = s[i+2:]
			continue
		}
		end := strings.Index(s[i:], "}}")
		if end < 0 {
			return t, errors.New(`"{{" without "}}" (write \{{ for a plain "{{")`)
		}
		e, err := parseExpr(strings.TrimSpace(s[i+2 : i+end]))
		if err != nil {
			return t, err
		}
		if plain += s[:i]; plain != "" {
			t.parts = append(t.parts, part{text: plain})
		}
		t.parts = append(t.parts, part{expr: e})
		plain, s = "", s[i+end+2:]
	}
	if plain += s; plain != "" {
		t.parts = append(t.parts, part{text: plain})
	}
	return t, nil
}

var exprNames = []string{"last_user", "last_output", "output", "count", "session_count"}

func parseExpr(s string) (*expr, error) {
	path := strings.Split(s, ".")
	e := &expr{name: path[0], path: path[1:]}
	if !slices.Contains(exprNames, e.name) || (len(e.path) > 0 && e.name != "output") || slices.Contains(e.path, "") {
		return nil, fmt.Errorf(`unknown value {{%s}}; known are {{last_user}}, {{last_output}}, {{output.PATH}}, {{count}}, {{session_count}} (write \{{ for a plain "{{")`, s)
	}
	return e, nil
}

// static reports whether the template has no values, and its text.
func (t *template) static() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].expr == nil:
		return t.parts[0].text, true
	}
	return "", false
}

func (t *template) render(v *view) (string, error) {
	if s, ok := t.static(); ok {
		return s, nil
	}
	var b strings.Builder
	for i := range t.parts {
		if t.parts[i].expr == nil {
			b.WriteString(t.parts[i].text)
			continue
		}
		val, err := t.parts[i].expr.value(v)
		if err != nil {
			return "", err
		}
		if s, ok := val.(string); ok {
			b.WriteString(s)
			continue
		}
		b.Write(encode(val))
	}
	return b.String(), nil
}

// value is a string, a number, or a JSON value of the last output.
func (e *expr) value(v *view) (any, error) {
	switch e.name {
	case "last_user":
		return v.lastUser(), nil
	case "count":
		return v.turnCalls, nil
	case "session_count":
		return v.calls(), nil
	}
	o := v.output()
	if o == nil {
		return nil, fmt.Errorf("{{%s}}: no tool output came in since the model last answered", e)
	}
	if e.name == "last_output" {
		return o.content(), nil
	}
	val, err := o.value()
	if err != nil {
		return nil, fmt.Errorf("{{%s}}: %w", e, err)
	}
	for _, key := range e.path {
		if val, err = member(val, key); err != nil {
			return nil, fmt.Errorf("{{%s}}: %w in the last output, %s", e, err, shorten(o.content()))
		}
	}
	return val, nil
}

func (e *expr) String() string { return strings.Join(append([]string{e.name}, e.path...), ".") }

var errNotThere = errors.New("is not there")

// member is the field or, by its number from 0, the element of a JSON value.
func member(val any, key string) (any, error) {
	switch val := val.(type) {
	case map[string]any:
		if m, ok := val[key]; ok {
			return m, nil
		}
	case []any:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(val) {
			return val[i], nil
		}
	}
	return nil, fmt.Errorf("%q %w", key, errNotThere)
}

// arg is a JSON value of a call's arguments, with templates in its strings.
type arg struct {
	raw    json.RawMessage // set where nothing in it is a template
	text   *template
	keys   []string // of an object, encoded
	values []arg    // of an object or an array
}

// appendJSON appends the value's encoding. A string that is one template and
// nothing else takes the type of its value.
func (a *arg) appendJSON(b []byte, v *view) ([]byte, error) {
	var err error
	switch {
	case a.raw != nil:
		return append(b, a.raw...), nil
	case a.text != nil && len(a.text.parts) == 1:
		val, err := a.text.parts[0].expr.value(v)
		if err != nil {
			return nil, err
		}
		return append(b, encode(val)...), nil
	case a.text != nil:
		s, err := a.text.render(v)
		if err != nil {
			return nil, err
		}
		return append(b, encode(s)...), nil
	}
	open, end := byte('['), byte(']')
	if a.keys != nil {
		open, end = '{', '}'
	}
	b = append(b, open)
	for i := range a.values {
		if i > 0 {
			b = append(b, ',')
		}
		if a.keys != nil {
			b = append(append(b, a.keys[i]...), ':')
		}
		if b, err = a.values[i].appendJSON(b, v); err != nil {
			return nil, err
		}
	}
	return append(b, end), nil
}

// encode encodes what was decoded from JSON, or a string or number.
func encode(v any) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("script: encode %T: %v", v, err))
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}
