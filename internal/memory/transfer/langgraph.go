package transfer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/memory"
)

// langGraph reads items of a LangGraph store: one, a list, or the answer of its
// search, with the names of fields of Python, of JavaScript, or of the table in
// PostgreSQL.
func (im *importer) langGraph(doc document) error {
	return im.entries(doc, []string{"items"}, im.storeItem)
}

// entries calls each for the objects of a document: itself, those of a list, or
// those in the lists under one of the names, which are pages of an answer.
func (im *importer) entries(doc document, names []string, each func(*object) error) error {
	if doc.raw[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(doc.raw, &list); err != nil {
			return fmt.Errorf("%s: %w", doc.at, err)
		}
		for i, raw := range list {
			at := doc.in(fmt.Sprintf("entry[%d]", i))
			o, err := newObject(raw, at)
			if err != nil {
				return err
			}
			if err := im.entry(o, at, names, each); err != nil {
				return err
			}
		}
		return nil
	}
	o, err := newObject(doc.raw, doc.at)
	if err != nil {
		return err
	}
	return im.entry(o, doc.at, names, each)
}

// entry calls each for an object, or where it is a page of a list, for those on
// the page.
func (im *importer) entry(o *object, at string, names []string, each func(*object) error) error {
	page := false
	for _, name := range names {
		if !o.has(name) || o.fields[name][0] != '[' {
			continue
		}
		page = true
		if err := im.each(o.list(name), document{at: at}.in(name), each); err != nil {
			return err
		}
	}
	if err := o.fault(); err != nil {
		return err
	}
	if page {
		im.unknown(o)
		return nil
	}
	im.report.Read++
	return each(o)
}

// each calls f for the objects of a list, with their places counted from 0.
func (im *importer) each(list []json.RawMessage, at string, f func(*object) error) error {
	for i, raw := range list {
		o, err := newObject(raw, fmt.Sprintf("%s[%d]", at, i))
		if err != nil {
			return err
		}
		im.report.Read++
		if err := f(o); err != nil {
			return err
		}
	}
	return nil
}

// unknown reports the fields of an object that nothing was made of.
func (im *importer) unknown(o *object) {
	for _, name := range o.left() {
		if strings.HasPrefix(strings.ToLower(name), "next") || name == "count" || name == "previous" || name == "total" {
			continue // of paging: they say nothing about what is here
		}
		im.lose("field", "fields that have no place in a record", o.at+": "+clip(name))
	}
}

// reproducible takes fields that are made anew where they are needed.
func (im *importer) reproducible(o *object) {
	for _, f := range []struct{ name, kind, what string }{
		{"hash", "hash", "hashes of texts"},
		{"score", "score", "scores of the search that the file comes from"},
		{"embedding", "embedding", "embeddings, which are made anew"},
		{"vector", "embedding", "embeddings, which are made anew"},
	} {
		if o.take(f.name) != nil {
			im.lose(f.kind, f.what, o.at)
		}
	}
}

func (im *importer) storeItem(o *object) error {
	path := o.path()
	key := o.text("key")
	created, updated := o.time("created_at", "createdAt"), o.time("updated_at", "updatedAt")
	rec := memory.Record{Strategy: memory.Semantic, Origin: memory.OriginAgent, Metadata: map[string]string{}, ExpiresAt: o.time("expires_at", "expiresAt")}
	value := o.take("value")
	im.reproducible(o)
	if err := o.fault(); err != nil {
		return err
	}
	if value == nil || key == "" {
		return fmt.Errorf("%s: an item of a store has a namespace, a key and a value", o.at)
	}
	if im.elsewhere(path, o.at) {
		return nil
	}
	rec.Text = im.storeText(value, rec.Metadata, o.at)
	o.rest(rec.Metadata)
	if len(path) > 0 {
		rec.Metadata["store_namespace"] = strings.Join(path, "/")
	}
	rec.Source.External = strings.Join(append(slices.Clone(path), key), "/")
	im.since(&rec, created, updated)
	return im.draft(rec, o.at)
}

// path takes a namespace, as a list, or joined by points as tables have it.
func (o *object) path() []string {
	if prefix := o.text("prefix"); prefix != "" {
		return strings.Split(prefix, ".")
	}
	var path []string
	if raw := o.take("namespace"); raw != nil && json.Unmarshal(raw, &path) != nil {
		o.fail("namespace", "is %s, where a list of texts is expected", clip(string(raw)))
	}
	return path
}

// elsewhere reports whether a path of names, which should have the actor's among
// them, has not.
func (im *importer) elsewhere(path []string, at string) bool {
	name := strings.Join(path, "/")
	if strings.Contains("/"+name+"/", "/"+im.opts.From+"/") {
		return false
	}
	return im.theirs(name, at)
}

// since says from when a text was known: from when it was last written. When the
// entry came to be is kept beside it.
func (im *importer) since(rec *memory.Record, created, updated time.Time) {
	rec.RecordedAt = updated
	if updated.Before(created) {
		rec.RecordedAt = created
	}
	if !created.IsZero() && !created.Equal(rec.RecordedAt) {
		rec.Metadata["created_at"] = created.Format(time.RFC3339Nano)
	}
	rec.ValidFrom = rec.RecordedAt
}

// storeText finds what an item says. All else of its value becomes metadata; a
// value without text is its text as JSON.
func (im *importer) storeText(value json.RawMessage, into map[string]string, at string) string {
	if value[0] != '{' {
		return im.jsonText(value, at)
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return im.jsonText(value, at)
	}
	for _, name := range []string{"content", "text", "memory", "data"} {
		raw, ok := fields[name]
		if !ok || isBlank(raw) || raw[0] != '"' && raw[0] != '{' {
			continue
		}
		text := plain(raw)
		if raw[0] == '{' {
			var inner map[string]json.RawMessage
			if json.Unmarshal(raw, &inner) != nil || len(inner) != 1 || len(inner[name]) == 0 || inner[name][0] != '"' {
				continue
			}
			text = plain(inner[name])
		}
		delete(fields, name)
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if !isNull(fields[key]) {
				into[key] = plain(fields[key])
			}
		}
		return text
	}
	return im.jsonText(value, at)
}

func (im *importer) jsonText(value json.RawMessage, at string) string {
	if value[0] != '"' {
		im.lose("json_text", "values without a text of their own: their JSON is the text", at)
	}
	return plain(value)
}
