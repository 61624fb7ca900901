package script

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// SyntaxError is a script that cannot be read, and where.
type SyntaxError struct {
	File    string
	Line    int // from 1; 0 where it is not known
	Message string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return e.File + ":" + strconv.Itoa(e.Line) + ": " + e.Message
}

// document reads a file that holds one YAML document. It walks nodes and does
// not decode into structs, so that every error has a line and every unknown
// field is found, those inside values of several forms too.
type document struct{ file string }

func (d document) errorf(n *yaml.Node, format string, args ...any) error {
	return &SyntaxError{File: d.file, Line: n.Line, Message: fmt.Sprintf(format, args...)}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// root is the value of the document.
func (d document) root(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || (err == nil && len(doc.Content) != 1) {
		return nil, &SyntaxError{File: d.file, Message: "the file is empty: it needs a list of steps"}
	}
	if err == nil {
		if err = dec.Decode(&more); err == nil {
			return nil, d.errorf(&more, "a second document begins here: a file holds one script")
		}
	}
	if !errors.Is(err, io.EOF) {
		e := &SyntaxError{File: d.file, Message: yamlLine.ReplaceAllString(err.Error(), "")}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
			e.Line, _ = strconv.Atoi(m[1]) // the pattern lets only digits through
		}
		return nil, e
	}
	return doc.Content[0], nil
}

// field is a field that a mapping may have.
type field struct {
	name string
	read func(*yaml.Node) error
}

// fields reads a mapping. What says which one it is.
func (d document) fields(n *yaml.Node, what string, known ...field) error {
	if n.Kind != yaml.MappingNode {
		return d.errorf(n, "%s must be a mapping with any of the fields %s", what, names(known))
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(known, func(f field) bool { return f.name == key.Value })
		if at < 0 {
			return d.errorf(key, "unknown field %q in %s; known are %s", key.Value, what, names(known))
		}
		if seen[key.Value] {
			return d.errorf(key, "%s has the field %q twice", what, key.Value)
		}
		seen[key.Value] = true
		if err := known[at].read(value); err != nil {
			return err
		}
	}
	return nil
}

func names(known []field) string {
	list := make([]string, len(known))
	for i := range known {
		list[i] = known[i].name
	}
	return strings.Join(list, ", ")
}

func (d document) list(n *yaml.Node, what string, read func(*yaml.Node) error) error {
	if n.Kind != yaml.SequenceNode {
		return d.errorf(n, "%s must be a list", what)
	}
	for _, c := range n.Content {
		if err := read(c); err != nil {
			return err
		}
	}
	return nil
}

func (d document) text(n *yaml.Node, what string) (string, error) {
	switch {
	case n.Kind == yaml.AliasNode:
		return "", d.errorf(n, "%s is an alias: write the value out", what)
	case n.Kind != yaml.ScalarNode:
		return "", d.errorf(n, "%s must be a text", what)
	case n.ShortTag() == "!!null" || n.ShortTag() == "!!binary":
		return "", d.errorf(n, "%s must be a text: put it in quotes", what)
	}
	return n.Value, nil
}

// texts reads one text or a list of them.
func (d document) texts(n *yaml.Node, what string) ([]string, error) {
	if n.Kind != yaml.SequenceNode {
		s, err := d.text(n, what)
		return []string{s}, err
	}
	list := []string{}
	err := d.list(n, what, func(c *yaml.Node) error {
		s, err := d.text(c, what)
		list = append(list, s)
		return err
	})
	return list, err
}

func (d document) flag(n *yaml.Node, what string) (bool, error) {
	var b bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&b) != nil {
		return false, d.errorf(n, "%s must be true or false", what)
	}
	return b, nil
}

func (d document) number(n *yaml.Node, what string) (int64, error) {
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if n.Kind != yaml.ScalarNode || err != nil || i < 0 {
		return 0, d.errorf(n, "%s must be a whole number from 0", what)
	}
	return i, nil
}

// small is a number that fits an int everywhere.
func (d document) small(n *yaml.Node, what string) (int, error) {
	i, err := d.number(n, what)
	if err == nil && i > 1<<30 {
		err = d.errorf(n, "%s is too great", what)
	}
	return int(i), err
}

func (d document) duration(n *yaml.Node, what string) (time.Duration, error) {
	t, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || t < 0 {
		return 0, d.errorf(n, `%s must be a duration such as "200ms" or "3s"`, what)
	}
	return t, nil
}
