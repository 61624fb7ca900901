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

// agentCore reads what ListEvents, GetEvent, ListMemoryRecords,
// RetrieveMemoryRecords and GetMemoryRecord of Bedrock AgentCore answer, or
// their entries. The events of one document are put in the order of their times,
// as the service lists the newest first.
func (im *importer) agentCore(doc document) error {
	var events []event
	err := im.entries(unwrap(doc), []string{"events", "memoryRecordSummaries"}, func(o *object) error {
		if o.has("memoryRecordId") || o.has("content") {
			return im.memoryRecord(o)
		}
		e, err := im.event(o)
		if err == nil && e != nil {
			events = append(events, *e)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(a.when.Compare(b.when), cmp.Compare(a.id, b.id))
	})
	for _, e := range events {
		if err := im.messages(e); err != nil {
			return err
		}
	}
	return nil
}

// unwrap returns what stands under the one key of an answer for one entry.
func unwrap(doc document) document {
	var one struct{ Event, MemoryRecord json.RawMessage }
	if doc.raw[0] == '{' && json.Unmarshal(doc.raw, &one) == nil {
		if !isNull(one.Event) {
			return document{raw: one.Event, at: doc.in("event")}
		}
		if !isNull(one.MemoryRecord) {
			return document{raw: one.MemoryRecord, at: doc.in("memoryRecord")}
		}
	}
	return doc
}

type event struct {
	at, id, session string
	when            time.Time
	metadata        map[string]string
	payload         []json.RawMessage
}

// event reads one event; nil where it is another actor's.
func (im *importer) event(o *object) (*event, error) {
	e := event{at: o.at, id: o.text("eventId"), session: o.text("sessionId"), when: o.time("eventTimestamp"), metadata: map[string]string{}}
	actor := o.text("actorId")
	e.payload = o.list("payload")
	if branch := o.object("branch"); branch != nil {
		for from, to := range map[string]string{"name": "branch", "rootEventId": "branch_root"} {
			if v := branch.text(from); v != "" {
				e.metadata[to] = v
			}
		}
	}
	im.typed(o.object("metadata"), e.metadata)
	if v := o.text("memoryId"); v != "" {
		e.metadata["memory_id"] = v
	}
	if err := o.fault(); err != nil {
		return nil, err
	}
	if e.id == "" {
		return nil, fmt.Errorf("%s: an event has an eventId, and this has none", o.at)
	}
	if im.theirs(actor, o.at) {
		return nil, nil //nolint:nilnil // an event that is left out is no error
	}
	im.unknown(o)
	if len(e.payload) == 0 {
		im.lose("empty", "entries without text", e.at)
	}
	return &e, nil
}

// typed adds metadata whose values say their type.
func (im *importer) typed(o *object, into map[string]string) {
	if o == nil {
		return
	}
	for key, raw := range o.fields {
		var union map[string]json.RawMessage
		if json.Unmarshal(raw, &union) != nil || len(union) != 1 {
			into[key] = plain(raw)
			continue
		}
		for _, v := range union {
			into[key] = plain(v)
		}
	}
}

var roles = map[string]memory.Origin{
	"USER": memory.OriginUser, "ASSISTANT": memory.OriginAgent, "TOOL": memory.OriginTool, "OTHER": memory.OriginOther,
}

// messages drafts the turns of an event.
func (im *importer) messages(e event) error {
	for i, raw := range e.payload {
		at := fmt.Sprintf("%s.payload[%d]", e.at, i)
		o, err := newObject(raw, at)
		if err != nil {
			return err
		}
		if o.take("blob") != nil {
			im.lose("blob", "blobs of events, which are not text", at)
		}
		said := o.object("conversational")
		if err := o.fault(); err != nil {
			return err
		}
		im.unknown(o)
		if said == nil {
			continue
		}
		rec, err := im.message(said)
		if err != nil {
			return err
		}
		rec.Metadata = maps.Clone(e.metadata)
		rec.ValidFrom, rec.RecordedAt = e.when, e.when
		rec.Source.SessionID, rec.Source.TurnID, rec.Source.External = e.session, e.id, e.id
		if len(e.payload) > 1 {
			rec.Source.External = fmt.Sprintf("%s/%d", e.id, i+1)
		}
		if err := im.draft(rec, at); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) message(o *object) (memory.Record, error) {
	role := o.text("role")
	rec := memory.Record{Strategy: memory.Turn, Source: memory.Source{Speaker: strings.ToLower(role)}}
	if content := o.object("content"); content != nil {
		rec.Text = content.text("text")
		if err := content.fault(); err != nil {
			return rec, err
		}
		im.unknown(content)
	}
	if err := o.fault(); err != nil {
		return rec, err
	}
	im.unknown(o)
	var known bool
	if rec.Origin, known = roles[strings.ToUpper(role)]; !known {
		rec.Origin = memory.OriginOther
		im.lose("role", "roles that are not known: their words are taken as another person's", o.at+": "+clip(role))
	}
	return rec, nil
}

// memoryRecord reads what a strategy of AgentCore extracted. Whose words it rests
// on is not said: it is taken as the agent's.
func (im *importer) memoryRecord(o *object) error {
	rec := memory.Record{Origin: memory.OriginAgent, Metadata: map[string]string{}}
	rec.Source.External = o.text("memoryRecordId")
	created := o.time("createdAt")
	strategy := o.text("memoryStrategyId")
	var path []string
	if raw := o.take("namespaces"); raw != nil && json.Unmarshal(raw, &path) != nil {
		o.fail("namespaces", "is %s, where a list of texts is expected", clip(string(raw)))
	}
	content := o.object("content")
	im.typed(o.object("metadata"), rec.Metadata)
	im.reproducible(o)
	if err := o.fault(); err != nil {
		return err
	}
	if rec.Source.External == "" {
		return fmt.Errorf("%s: a memory record has a memoryRecordId, and this has none", o.at)
	}
	names := segments(path)
	if im.elsewhere(names, o.at) {
		return nil
	}
	o.rest(rec.Metadata)
	if content != nil {
		rec.Text = content.text("text")
		if err := content.fault(); err != nil {
			return err
		}
		im.unknown(content)
	}
	rec.Strategy = strategyOf(strategy)
	if rec.Strategy == memory.Preference {
		preference(&rec)
	}
	for i, name := range names {
		if name == "sessions" && i+1 < len(names) {
			rec.Source.SessionID = names[i+1]
		}
	}
	if strategy != "" {
		rec.Metadata["strategy_id"] = strategy
	}
	if len(path) > 0 {
		rec.Metadata["namespace"] = strings.Join(path, " ")
	}
	rec.RecordedAt, rec.ValidFrom = created, created
	return im.draft(rec, o.at)
}

func segments(paths []string) []string {
	var names []string
	for _, p := range paths {
		for s := range strings.SplitSeq(p, "/") {
			if s != "" {
				names = append(names, s)
			}
		}
	}
	return names
}

// strategyOf guesses the strategy from the name that people or the console gave
// it; what is none of the others is a fact.
func strategyOf(id string) memory.Strategy {
	id = strings.ToLower(id)
	for _, s := range []struct {
		part string
		is   memory.Strategy
	}{{"prefer", memory.Preference}, {"summar", memory.Summary}, {"episod", memory.Episodic}, {"reflect", memory.Episodic}} {
		if strings.Contains(id, s.part) {
			return s.is
		}
	}
	return memory.Semantic
}

// preference takes apart the JSON that the service writes as a preference's
// text. Any other text stays.
func preference(rec *memory.Record) {
	var fields map[string]json.RawMessage
	var text string
	if json.Unmarshal([]byte(rec.Text), &fields) != nil || json.Unmarshal(fields["preference"], &text) != nil || text == "" {
		return
	}
	delete(fields, "preference")
	rec.Text = text
	for k, raw := range fields {
		if !isNull(raw) {
			rec.Metadata[k] = plain(raw)
		}
	}
}
