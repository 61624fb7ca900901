package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// Opt is a field that may be left out, be null, or have a value, where these
// three mean different things.
type Opt[T any] struct {
	Set  bool // the field was there
	Null bool // and was null
	V    T
}

// Given reports whether there is a value.
func (o Opt[T]) Given() bool { return o.Set && !o.Null }

// UnmarshalJSON is called for a field that is there.
func (o *Opt[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	if string(data) == "null" {
		o.Null = true
		return nil
	}
	return json.Unmarshal(data, &o.V)
}

// MarshalJSON is the value, or null. A field that was not there is left out by
// omitzero.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if !o.Given() {
		return []byte("null"), nil
	}
	return json.Marshal(o.V)
}

// Schema is the value's schema, or null.
func (Opt[T]) Schema(r huma.Registry) *huma.Schema {
	return Nullable(SchemaOf[T](r))
}

// SchemaOf is the schema of a type, or a reference to it.
func SchemaOf[T any](r huma.Registry) *huma.Schema {
	t := reflect.TypeFor[T]()
	s := r.Schema(t, true, t.Name())
	s.Nullable = false
	return s
}

// Nullable makes a schema that takes null too.
func Nullable(s *huma.Schema) *huma.Schema {
	if s.Ref == "" && s.Type != "" {
		s.Nullable = true
		return s
	}
	return OneOf(s, &huma.Schema{Type: "null"})
}

// OneOf is a union that the JSON type of the value decides.
func OneOf(schemas ...*huma.Schema) *huma.Schema { return &huma.Schema{OneOf: schemas} }

// ByType is a union that the object's field type decides. Where the field is
// missing, fallback is meant; with an empty fallback it is required.
func ByType(fallback string, refs map[string]*huma.Schema) *huma.Schema {
	s := &huma.Schema{Discriminator: &huma.Discriminator{PropertyName: "type", Mapping: map[string]string{}}}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		s.OneOf = append(s.OneOf, refs[name])
		s.Discriminator.Mapping[name] = refs[name].Ref
	}
	if fallback != "" {
		s.Extensions = map[string]any{defaultType: fallback}
	}
	return s
}

const (
	defaultType = "x-default-type"
	beside      = "x-beside-secrets"
)

// BesideSecrets has the type of what a ByType schema is for not repeated in
// errors: a secret may have been put there by mistake.
func BesideSecrets(s *huma.Schema) *huma.Schema {
	s.Extensions = map[string]any{beside: true}
	return s
}

// checker checks what was decoded against the schemas of the document, so that
// what is documented and what is taken are the same. It reports the first thing
// that is wrong.
type checker struct{ registry huma.Registry }

func (c checker) resolve(s *huma.Schema) *huma.Schema {
	for s.Ref != "" {
		s = c.registry.SchemaFromRef(s.Ref)
	}
	return s
}

func (c checker) check(s *huma.Schema, path string, v any) error {
	s = c.resolve(s)
	if v == nil && s.Nullable {
		return nil
	}
	if s.Discriminator != nil {
		return c.byType(s, path, v)
	}
	if len(s.OneOf) > 0 {
		return c.oneOf(s, path, v)
	}
	if s.Type != "" && !fits(s.Type, v) {
		return wrongType(path, article(s.Type), v)
	}
	if err := checkEnum(s, path, v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		return checkLength(path, utf8.RuneCountInString(v), s.MinLength, s.MaxLength, "characters")
	case json.Number:
		return checkNumber(s, path, v)
	case []any:
		return c.array(s, path, v)
	case map[string]any:
		return c.object(s, path, v)
	}
	return nil
}

func (c checker) byType(s *huma.Schema, path string, v any) error {
	object, ok := v.(map[string]any)
	if !ok {
		return wrongType(path, "an object", v)
	}
	param := join(path, s.Discriminator.PropertyName)
	value, ok := object[s.Discriminator.PropertyName]
	if !ok {
		value, ok = s.Extensions[defaultType]
	}
	if !ok {
		return missing(param)
	}
	name, ok := value.(string)
	if !ok {
		return wrongType(param, "a string", value)
	}
	ref, ok := s.Discriminator.Mapping[name]
	if !ok && s.Extensions[beside] == true {
		return Invalid(param, "Invalid value. Supported values are: "+quoted(slices.Sorted(maps.Keys(s.Discriminator.Mapping)))+".")
	}
	if !ok {
		return notOneOf(param, name, slices.Sorted(maps.Keys(s.Discriminator.Mapping)))
	}
	return c.check(&huma.Schema{Ref: ref}, path, v)
}

func (c checker) oneOf(s *huma.Schema, path string, v any) error {
	kinds := make([]string, 0, len(s.OneOf))
	for _, alternative := range s.OneOf {
		alt := c.resolve(alternative)
		kind := alt.Type
		if alt.Discriminator != nil {
			kind = huma.TypeObject
		}
		if fits(kind, v) || (v == nil && alt.Nullable) {
			return c.check(alt, path, v)
		}
		kinds = append(kinds, article(kind))
	}
	return wrongType(path, strings.Join(kinds, " or "), v)
}

func (c checker) array(s *huma.Schema, path string, v []any) error {
	if err := checkLength(path, len(v), s.MinItems, s.MaxItems, "elements"); err != nil || s.Items == nil {
		return err
	}
	for i := range v {
		if err := c.check(s.Items, at(path, i), v[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) object(s *huma.Schema, path string, v map[string]any) error {
	names := slices.Sorted(maps.Keys(v))
	rest, _ := s.AdditionalProperties.(*huma.Schema)
	closed, isBool := s.AdditionalProperties.(bool)
	closed = isBool && !closed
	for _, name := range names {
		if _, known := s.Properties[name]; !known && closed {
			param := join(path, name)
			return &Error{Status: http.StatusBadRequest, Code: CodeUnknown, Param: param, Message: fmt.Sprintf("Unknown parameter: '%s'.", param)}
		}
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return missing(join(path, name))
		}
	}
	for _, name := range names {
		property, known := s.Properties[name]
		if !known {
			property = rest
		}
		// Null is as good as nothing where nothing will do.
		if property == nil || (v[name] == nil && known && !slices.Contains(s.Required, name)) {
			continue
		}
		if err := c.check(property, join(path, name), v[name]); err != nil {
			return err
		}
	}
	return nil
}

func fits(kind string, v any) bool {
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == huma.TypeBoolean
	case string:
		return kind == huma.TypeString
	case json.Number:
		return kind == huma.TypeNumber || (kind == huma.TypeInteger && isInteger(v))
	case []any:
		return kind == huma.TypeArray
	case map[string]any:
		return kind == huma.TypeObject
	}
	return false
}

func isInteger(n json.Number) bool {
	_, err := strconv.ParseInt(n.String(), 10, 64)
	return err == nil
}

func checkEnum(s *huma.Schema, path string, v any) error {
	if len(s.Enum) == 0 || slices.Contains(s.Enum, v) {
		return nil
	}
	names := make([]string, len(s.Enum))
	for i := range s.Enum {
		names[i] = fmt.Sprint(s.Enum[i])
	}
	return notOneOf(path, fmt.Sprint(v), names)
}

func checkNumber(s *huma.Schema, path string, v json.Number) error {
	n, err := v.Float64()
	if err != nil || math.IsInf(n, 0) {
		return Invalid(path, fmt.Sprintf("Invalid '%s': the number %s is out of range.", path, v))
	}
	switch {
	case s.Minimum != nil && n < *s.Minimum:
		return Invalid(path, fmt.Sprintf("Invalid '%s': expected a number of at least %v, but got %s.", path, *s.Minimum, v))
	case s.Maximum != nil && n > *s.Maximum:
		return Invalid(path, fmt.Sprintf("Invalid '%s': expected a number of at most %v, but got %s.", path, *s.Maximum, v))
	}
	return nil
}

func checkLength(path string, n int, lowest, highest *int, what string) error {
	switch {
	case lowest != nil && n < *lowest:
		return Invalid(path, fmt.Sprintf("Invalid '%s': expected at least %d %s, but got %d.", path, *lowest, what, n))
	case highest != nil && n > *highest:
		return Invalid(path, fmt.Sprintf("Invalid '%s': expected at most %d %s, but got %d.", path, *highest, what, n))
	}
	return nil
}

func missing(param string) error {
	return &Error{Status: http.StatusBadRequest, Code: CodeMissing, Param: param, Message: fmt.Sprintf("Missing required parameter: '%s'.", param)}
}

func notOneOf(param, got string, names []string) error {
	return Invalid(param, fmt.Sprintf("Invalid value: '%s'. Supported values are: %s.", got, quoted(names)))
}

func quoted(names []string) string { return "'" + strings.Join(names, "', '") + "'" }

func wrongType(param, want string, v any) error {
	e := &Error{
		Status: http.StatusBadRequest, Code: CodeType, Param: param,
		Message: fmt.Sprintf("Invalid type for '%s': expected %s, but got %s instead.", param, want, kindOf(v)),
	}
	if param == "" {
		e.Message = fmt.Sprintf("Invalid request body: expected %s, but got %s instead.", want, kindOf(v))
	}
	return e
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case json.Number:
		if isInteger(v) {
			return "an integer"
		}
		return "a number"
	case []any:
		return "an array"
	}
	return "an object"
}

func article(kind string) string {
	switch kind {
	case huma.TypeArray, huma.TypeObject, huma.TypeInteger:
		return "an " + kind
	case "null":
		return kind
	}
	return "a " + kind
}
