package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays of a body may nest.
const maxDepth = 128

// decode reads data into v, a pointer, after checking it against the schema of
// v's type, and returns what it read as maps, slices and scalars.
func (s *Server) decode(data []byte, v any) (any, error) {
	if !utf8.Valid(data) {
		return nil, badJSON("it is not valid UTF-8")
	}
	p := parser{dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	tree, err := p.value("", 0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badJSON("something follows the JSON value")
	}
	schema := s.bodies[reflect.TypeOf(v).Elem()]
	if err := (checker{s.registry}).check(schema, "", tree); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, &Error{
				Status: http.StatusBadRequest, Code: CodeType, Param: wrong.Field,
				Message: fmt.Sprintf("Invalid type for '%s': %s does not fit here.", wrong.Field, wrong.Value),
			}
		}
		return nil, badJSON(err.Error())
	}
	return tree, nil
}

func badJSON(why string) error {
	return &Error{Status: http.StatusBadRequest, Code: CodeJSON, Message: "The request body cannot be read as JSON: " + why + "."}
}

// parser reads JSON and refuses objects that have a field twice.
type parser struct{ dec *json.Decoder }

func (p *parser) value(path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, badJSON(fmt.Sprintf("it nests deeper than %d levels", maxDepth))
	}
	token, err := p.dec.Token()
	if err != nil {
		return nil, p.wrong(err)
	}
	switch token {
	case json.Delim('{'):
		return p.object(path, depth)
	case json.Delim('['):
		return p.array(path, depth)
	}
	return token, nil
}

func (p *parser) object(path string, depth int) (any, error) {
	object := map[string]any{}
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return nil, p.wrong(err)
		}
		name, ok := token.(string)
		if !ok {
			return nil, badJSON("a field has no name")
		}
		at := join(path, name)
		if _, twice := object[name]; twice {
			return nil, &Error{Status: http.StatusBadRequest, Code: CodeJSON, Param: at, Message: fmt.Sprintf("The parameter '%s' is given twice.", at)}
		}
		if object[name], err = p.value(at, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := p.dec.Token()
	return object, p.wrong(err)
}

func (p *parser) array(path string, depth int) (any, error) {
	array := []any{}
	for p.dec.More() {
		v, err := p.value(at(path, len(array)), depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := p.dec.Token()
	return array, p.wrong(err)
}

func (p *parser) wrong(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badJSON("it ends too soon")
	}
	return badJSON(fmt.Sprintf("near byte %d: %s", p.dec.InputOffset(), err))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
