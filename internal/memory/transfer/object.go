package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object whose fields are taken one by one; what is left was
// not known. Its methods keep the first error, which fault returns.
type object struct {
	at     string
	fields map[string]json.RawMessage
	err    error
}

// newObject reads an object that stands at the place named.
func newObject(raw json.RawMessage, at string) (*object, error) {
	if at == "" {
		at = "the document"
	}
	o := &object{at: at}
	if err := json.Unmarshal(raw, &o.fields); err != nil || o.fields == nil {
		return nil, fmt.Errorf("%s is %s, where an object with fields is expected", at, kindOf(raw))
	}
	return o, nil
}

func (o *object) fault() error { return o.err }

func (o *object) fail(key, format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf("%s: field %q %s", o.at, key, fmt.Sprintf(format, args...))
	}
}

func (o *object) has(key string) bool {
	raw, ok := o.fields[key]
	return ok && !isNull(raw)
}

// take removes a field and returns it; nil where it is not there or null.
func (o *object) take(key string) json.RawMessage {
	raw := o.fields[key]
	delete(o.fields, key)
	if isNull(raw) {
		return nil
	}
	return raw
}

// text takes a string; a number is taken as it is written, as ids are sometimes
// numbers.
func (o *object) text(key string) string {
	raw := o.take(key)
	if raw == nil {
		return ""
	}
	switch raw[0] {
	case '{', '[', 't', 'f':
		o.fail(key, "is %s, where text is expected", kindOf(raw))
		return ""
	}
	return plain(raw)
}

func (o *object) list(key string) []json.RawMessage {
	raw := o.take(key)
	if raw == nil {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		o.fail(key, "is %s, where a list is expected", kindOf(raw))
	}
	return list
}

// object takes an object; nil where there is none.
func (o *object) object(key string) *object {
	raw := o.take(key)
	if raw == nil {
		return nil
	}
	inner, err := newObject(raw, o.at+"."+key)
	if err != nil {
		o.fail(key, "is %s, where an object is expected", kindOf(raw))
		return nil
	}
	return inner
}

// time takes the first of the fields that is there; zero where none is.
func (o *object) time(keys ...string) (t time.Time) {
	for _, key := range keys {
		raw := o.take(key)
		if raw == nil || !t.IsZero() {
			continue
		}
		s := plain(raw)
		if s == "" {
			continue
		}
		var err error
		if t, err = parseTime(s, raw[0] != '"'); err != nil {
			o.fail(key, "is %s: %v", clip(string(raw)), err)
		}
	}
	return t
}

// rest puts all the fields that are left into metadata, as text.
func (o *object) rest(into map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(o.fields)) {
		if raw := o.take(key); raw != nil {
			into[key] = plain(raw)
		}
	}
}

// left names the fields that were not taken and that hold something.
func (o *object) left() []string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(o.fields)) {
		if !isBlank(o.fields[key]) {
			names = append(names, key)
		}
	}
	return names
}

// metadata takes an object as pairs of text into the map.
func (o *object) metadata(key string, into map[string]string) {
	if inner := o.object(key); inner != nil {
		inner.rest(into)
	}
}

// plain returns a string's text, and the compact JSON of anything else.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// isBlank reports whether a value says nothing: null, "", {}, [].
func isBlank(raw json.RawMessage) bool {
	switch plain(raw) {
	case "", "null", "{}", "[]":
		return true
	}
	return false
}

func kindOf(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// layouts of times; those without a zone are UTC.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z0700",
	"2006-01-02 15:04:05.999999999Z07", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly,
}

func parseTime(s string, number bool) (time.Time, error) {
	s = strings.TrimSpace(s)
	if number {
		return epoch(s)
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
				break
			}
			return t, nil
		}
	}
	return time.Time{}, errors.New("not a time such as 2025-03-01T09:30:00Z")
}

// epoch reads seconds since 1970, or milliseconds where seconds would be later
// than the year 5000.
func epoch(s string) (time.Time, error) {
	f, err := strconv.ParseFloat(s, 64)
	if math.Abs(f) > 1e11 {
		f /= 1000
	}
	if err != nil || math.Abs(f) > 1e11 {
		return time.Time{}, errors.New("not a time in seconds or milliseconds since 1970")
	}
	t := time.UnixMicro(int64(math.Round(f * 1e6))).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, errors.New("not a time between the years 1 and 9999")
	}
	return t, nil
}
