package transfer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/memory"
)

// mem0 reads what get_all, get and history of Mem0 answer, or several of them in
// one object. The history of a memory makes its earlier texts superseded records.
func (im *importer) mem0(doc document) error {
	m := mem0File{im: im, changes: map[string][]change{}, others: map[string]bool{}}
	if err := m.top(doc); err != nil {
		return err
	}
	return m.draft()
}

// mem0File is what one document holds, until it is known what belongs together.
type mem0File struct {
	im      *importer
	items   []mem0Item
	ids     []string // of memories with a history, in the order of the file
	changes map[string][]change
	others  map[string]bool // ids of memories that are left out
}

type mem0Item struct {
	at  string
	rec memory.Record
}

// change is an entry of a history.
type change struct {
	at                string
	event, before, to string
	actor, role       string
	created, when     time.Time
}

func (m *mem0File) top(doc document) error {
	if strings.HasPrefix(doc.at, "line") && doc.raw[0] == '{' {
		o, err := newObject(doc.raw, doc.at)
		if err != nil {
			return err
		}
		if isChange(o) {
			return fmt.Errorf("%s: entries of a history belong together: give them as one JSON list, not one a line", doc.at)
		}
	}
	if doc.raw[0] == '{' {
		trimmed, err := m.relations(doc)
		if err != nil {
			return err
		}
		doc = trimmed
	}
	return m.im.entries(doc, []string{"results", "memories", "history"}, m.entry)
}

// relations takes the edges of the graph out of an answer.
func (m *mem0File) relations(doc document) (document, error) {
	o, err := newObject(doc.raw, doc.at)
	if err != nil || !o.has("relations") {
		return doc, err
	}
	for i, raw := range o.list("relations") {
		at := doc.in(fmt.Sprintf("relations[%d]", i))
		example := at
		if edge, err := newObject(raw, at); err == nil {
			target := cmp.Or(edge.text("target"), edge.text("destination"))
			example += ": " + clip(fmt.Sprintf("%s %s %s", edge.text("source"), cmp.Or(edge.text("relationship"), edge.text("relation")), target))
		}
		m.im.lose("relation", "relations of the graph", example)
	}
	if err := o.fault(); err != nil {
		return doc, err
	}
	rest, err := json.Marshal(o.fields)
	if err == nil && !o.has("results") && !o.has("memories") && !o.has("memory") && !o.has("history") {
		rest, err = []byte(`{"results":[]}`), nil
	}
	return document{raw: rest, at: doc.at}, err
}

func isChange(o *object) bool {
	return o.has("new_memory") || o.has("old_memory") || o.has("memory_id") && o.has("event")
}

func (m *mem0File) entry(o *object) error {
	if isChange(o) {
		return m.change(o)
	}
	rec := memory.Record{Strategy: memory.Semantic, Metadata: map[string]string{}, Text: cmp.Or(o.text("memory"), o.text("data"))}
	rec.Source.External = o.text("id")
	rec.Source.SessionID = o.text("run_id")
	user := o.text("user_id")
	if user == "" {
		user = o.text("userId")
	}
	created, updated := o.time("created_at", "createdAt"), o.time("updated_at", "updatedAt")
	rec.ExpiresAt = o.expiration()
	rec.Origin = roleOf(cmp.Or(o.text("role"), o.text("attributed_to")))
	o.metadata("metadata", rec.Metadata)
	o.categories(&rec)
	m.im.reproducible(o)
	for range o.list("input") {
		m.im.lose("message", "messages that memories were drawn from", o.at)
	}
	for _, raw := range o.list("history") {
		if err := m.nested(raw, rec.Source.External, o.at); err != nil {
			return err
		}
	}
	if err := o.fault(); err != nil {
		return err
	}
	if rec.Source.External == "" {
		return fmt.Errorf("%s: a memory has an id, and this has none", o.at)
	}
	if m.im.theirs(user, o.at) {
		m.others[rec.Source.External] = true
		return nil
	}
	o.rest(rec.Metadata)
	m.im.since(&rec, created, updated)
	m.items = append(m.items, mem0Item{at: o.at, rec: rec})
	return nil
}

// expiration takes the date until which a memory is good; the day is part of it.
func (o *object) expiration() time.Time {
	raw := o.fields["expiration_date"]
	t := o.time("expiration_date", "expirationDate")
	if len(plain(raw)) == len(time.DateOnly) {
		t = t.AddDate(0, 0, 1)
	}
	return t
}

func (o *object) categories(rec *memory.Record) {
	raw := o.take("categories")
	var names []string
	if raw == nil {
		return
	}
	if json.Unmarshal(raw, &names) != nil {
		o.fail("categories", "is %s, where a list of texts is expected", clip(string(raw)))
		return
	}
	for _, name := range names {
		if strings.Contains(strings.ToLower(name), "preference") {
			rec.Strategy = memory.Preference
		}
	}
	if len(names) > 0 {
		rec.Metadata["categories"] = strings.Join(names, ", ")
	}
}

// roleOf says whose words a memory rests on. One that a model drew from words
// that are not given is taken as the agent's.
func roleOf(role string) memory.Origin {
	switch strings.ToLower(role) {
	case "user":
		return memory.OriginUser
	case "tool":
		return memory.OriginTool
	}
	return memory.OriginAgent
}

func (m *mem0File) nested(raw json.RawMessage, id, at string) error {
	o, err := newObject(raw, at+".history")
	if err != nil {
		return err
	}
	if !o.has("memory_id") {
		o.fields["memory_id"], err = json.Marshal(id)
	}
	if err != nil {
		return err
	}
	return m.change(o)
}

func (m *mem0File) change(o *object) error {
	c := change{at: o.at, event: strings.ToUpper(o.text("event")), before: o.text("old_memory"), to: o.text("new_memory")}
	id, user := o.text("memory_id"), o.text("user_id")
	c.created = o.time("created_at", "createdAt")
	c.when = o.time("updated_at", "updatedAt")
	if c.when.Before(c.created) {
		c.when = c.created
	}
	c.actor, c.role = o.text("actor_id"), o.text("role")
	o.take("id")
	o.take("is_deleted")
	for range o.list("input") {
		m.im.lose("message", "messages that memories were drawn from", o.at)
	}
	if err := o.fault(); err != nil {
		return err
	}
	if id == "" {
		return fmt.Errorf("%s: an entry of a history has a memory_id, and this has none", o.at)
	}
	switch c.event {
	case "ADD", "UPDATE", "DELETE", "NONE", "NOOP":
	default:
		return fmt.Errorf("%s: the event is %q, and should be ADD, UPDATE or DELETE", o.at, clip(c.event))
	}
	if m.im.theirs(user, o.at) {
		return nil
	}
	m.im.unknown(o)
	if _, ok := m.changes[id]; !ok {
		m.ids = append(m.ids, id)
	}
	m.changes[id] = append(m.changes[id], c)
	return nil
}

func (m *mem0File) draft() error {
	written := map[string]bool{}
	for _, item := range m.items {
		id := item.rec.Source.External
		if written[id] {
			m.im.lose("twice", "memories that the file has more than once: the first is kept", item.at+": "+clip(id))
			continue
		}
		written[id] = true
		if err := m.versions(id, &item); err != nil {
			return err
		}
	}
	for _, id := range m.ids {
		if !written[id] && !m.others[id] {
			if err := m.versions(id, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// mem0Version is a text that a memory had. A zero end is open.
type mem0Version struct {
	at, text   string
	actor      string
	role       string
	start, end time.Time
}

// versions drafts a memory: the texts that it had and, where the file has the
// memory itself, the one that it has.
func (m *mem0File) versions(id string, item *mem0Item) error {
	chain := replay(m.changes[id])
	if item != nil {
		chain = m.current(chain, item)
	}
	records, times := make([]memory.Record, len(chain)), map[string]int{}
	for i, v := range chain {
		rec := &records[i]
		*rec = memory.Record{Strategy: memory.Semantic, Origin: roleOf(v.role)}
		if item != nil {
			*rec = item.rec
		}
		rec.Metadata = maps.Clone(rec.Metadata)
		if v.actor != "" {
			if rec.Metadata == nil {
				rec.Metadata = map[string]string{}
			}
			rec.Metadata["actor_id"] = v.actor
		}
		rec.Text, rec.RecordedAt, rec.ValidFrom, rec.SupersededAt = v.text, v.start, v.start, v.end
		rec.Source.External = id
		times[v.text]++
		rec.ID = draftID(rec, times[v.text])
	}
	for i := range records {
		if i > 0 {
			records[i].Supersedes = records[i-1].ID
		}
		if i < len(records)-1 {
			records[i].SupersededBy = records[i+1].ID
		}
		if err := m.im.draft(records[i], chain[i].at); err != nil {
			return err
		}
	}
	return nil
}

// replay makes a chain of texts of what a history says happened.
func replay(changes []change) []mem0Version {
	slices.SortStableFunc(changes, func(a, b change) int { return a.when.Compare(b.when) })
	var chain []mem0Version
	add := func(c change, text string, when time.Time) {
		if text == "" {
			return
		}
		if n := len(chain); n > 0 {
			if chain[n-1].end.IsZero() {
				if chain[n-1].text == text {
					return
				}
				chain[n-1].end = when
			}
		}
		chain = append(chain, mem0Version{at: c.at, text: text, actor: c.actor, role: c.role, start: when})
	}
	for _, c := range changes {
		if len(chain) == 0 && c.before != "" {
			add(c, c.before, c.created)
		}
		switch c.event {
		case "DELETE":
			if n := len(chain); n > 0 && chain[n-1].end.IsZero() {
				chain[n-1].end = c.when
			}
		case "ADD", "UPDATE":
			add(c, c.to, c.when)
		}
	}
	return chain
}

// current adds what a memory says now to what it said before.
func (m *mem0File) current(chain []mem0Version, item *mem0Item) []mem0Version {
	now := mem0Version{at: item.at, text: item.rec.Text, start: item.rec.RecordedAt}
	if n := len(chain); n > 0 {
		last := &chain[n-1]
		if last.end.IsZero() && last.text == now.text {
			last.at, last.actor = item.at, ""
			return chain
		}
		if now.start.Before(last.start) {
			now.start = last.start
		}
		if last.end.IsZero() {
			last.end = now.start
		}
	}
	return append(chain, now)
}
