package transcript

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
)

// Schema reads a JSON Schema into its top-level keywords, each as it was
// written: the order of properties is the order in which models write them.
// Nothing is the schema of an object without properties.
func Schema(raw json.RawMessage) (map[string]any, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		raw = json.RawMessage(`{"type":"object","properties":{}}`)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil || top == nil {
		return nil, errors.New("the schema is not a JSON object")
	}
	m := make(map[string]any, len(top))
	for k, v := range top {
		m[k] = v
	}
	return m, nil
}

// ObjectSchema is Schema for the parameters of a tool: the type object is put in
// where the schema has none, because providers insist on it.
func ObjectSchema(raw json.RawMessage) (map[string]any, error) {
	m, err := Schema(raw)
	if err != nil {
		return nil, err
	}
	if _, ok := m["type"]; !ok {
		m["type"] = "object"
	}
	if _, ok := m["properties"]; !ok {
		m["properties"] = json.RawMessage("{}")
	}
	return m, nil
}

// OutputSchema returns the schema that the model's text is to keep to; nil where
// it is free text.
func OutputSchema(t *event.Text) (map[string]any, error) {
	switch t.Format {
	case "", "text":
		return nil, nil
	case "json_schema":
	default:
		return nil, fmt.Errorf("text.format: %q is not known; it is text or json_schema", t.Format)
	}
	if len(bytes.TrimSpace(t.Schema)) == 0 {
		return nil, errors.New("text.format: json_schema needs a schema")
	}
	m, err := Schema(t.Schema)
	if err != nil {
		return nil, fmt.Errorf("text.format: %w", err)
	}
	return m, nil
}
