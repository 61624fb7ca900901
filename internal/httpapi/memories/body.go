package memories

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/memory/transfer"
)

// createMemory is a new memory.
type createMemory struct {
	Text       string            `json:"text" doc:"What is known, in words."`
	Namespace  string            `json:"namespace,omitzero" doc:"Where it stands. Defaults to the strategy's place below /actors/{actor}."`
	Strategy   string            `json:"strategy,omitzero" enum:"turn,semantic,preference,summary,episodic,core" doc:"Defaults to semantic."`
	Actor      string            `json:"actor,omitzero" doc:"Whom it is about. Defaults to the actor below whose place /actors/{actor} it stands."`
	Origin     string            `json:"origin,omitzero" enum:"client,user,agent,other,tool" doc:"Whose words it rests on. Defaults to client."`
	Confidence float64           `json:"confidence,omitzero" minimum:"0" maximum:"1"`
	Metadata   map[string]string `json:"metadata,omitzero"`
	ValidFrom  string            `json:"valid_from,omitzero" doc:"Since when it is true: a date, or a time in RFC 3339. Defaults to what the text says, if it names a date."`
	ValidTo    string            `json:"valid_to,omitzero" doc:"Until when it is true, that time not included."`
	ExpiresAt  string            `json:"expires_at,omitzero" doc:"When it is to be forgotten."`
	Source     *memorySource     `json:"source,omitzero"`
}

// memorySource says what a memory was drawn from.
type memorySource struct {
	SessionID string   `json:"session_id,omitzero"`
	TurnID    string   `json:"turn_id,omitzero"`
	ItemIDs   []string `json:"item_ids,omitzero"`
	MemoryIDs []string `json:"memory_ids,omitzero" doc:"Memories that it was drawn from: it is forgotten with them."`
	Speaker   string   `json:"speaker,omitzero" doc:"Of a turn: who said it."`
	Position  int64    `json:"position,omitzero" minimum:"1" doc:"Of a turn: its place in the conversation."`
	Label     string   `json:"label,omitzero" doc:"Of a core block: its name."`
	External  string   `json:"external,omitzero" doc:"Its id in another system."`
}

func (b *memorySource) source() memory.Source {
	if b == nil {
		return memory.Source{}
	}
	return memory.Source{
		SessionID: b.SessionID, TurnID: b.TurnID, ItemIDs: b.ItemIDs, RecordIDs: b.MemoryIDs,
		Speaker: b.Speaker, Position: b.Position, Label: b.Label, External: b.External,
	}
}

func (b *createMemory) record() (memory.Record, error) {
	r := memory.Record{
		Namespace: b.Namespace, Strategy: cmp.Or(memory.Strategy(b.Strategy), memory.Semantic), Actor: b.Actor, Text: b.Text,
		Origin: cmp.Or(memory.Origin(b.Origin), memory.OriginClient), Confidence: b.Confidence, Metadata: b.Metadata, Source: b.Source.source(),
	}
	if err := b.place(&r); err != nil {
		return r, err
	}
	var err error
	if r.ValidFrom, err = when("valid_from", b.ValidFrom); err != nil {
		return r, err
	}
	if r.ValidTo, err = when("valid_to", b.ValidTo); err != nil {
		return r, err
	}
	if r.ExpiresAt, err = when("expires_at", b.ExpiresAt); err != nil {
		return r, err
	}
	return r, storable(&r)
}

// place says where the memory stands and whom it is about: each follows from the
// other where it is not given, so that an actor is forgotten with all that stands
// below the actor's place.
func (b *createMemory) place(r *memory.Record) error {
	var err error
	switch {
	case b.Namespace != "":
		if r.Namespace, err = memory.ParseNamespace(b.Namespace); err != nil {
			return httpapi.Invalid("namespace", sentence(err.Error()))
		}
	case b.Actor == "":
		return httpapi.Invalid("namespace", "Say where the memory stands: give a 'namespace', or the 'actor' whom it is about.")
	default:
		values := map[string]string{"actorId": b.Actor, "sessionId": r.Source.SessionID}
		if r.Namespace, err = memory.Fill(transfer.DefaultNamespaces()[r.Strategy], values); err != nil {
			return httpapi.Invalid("namespace", "A memory of the strategy '"+string(r.Strategy)+"' stands below a session: give 'source.session_id', or a 'namespace'.")
		}
	}
	if r.Actor == "" {
		r.Actor = actorOf(r.Namespace)
	}
	return nil
}

// actorOf is the actor below whose place a namespace lies, or nothing.
func actorOf(namespace string) string {
	rest, below := strings.CutPrefix(namespace, "/actors/")
	if !below {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	if plain, err := url.PathUnescape(name); err == nil && memory.Escape(plain) == name {
		return plain
	}
	return name
}

// storable refuses what no store can keep.
func storable(r *memory.Record) error {
	texts := map[string][]string{
		"actor": {r.Actor}, "metadata": slices.Concat(slices.Collect(maps.Keys(r.Metadata)), slices.Collect(maps.Values(r.Metadata))),
		"source": slices.Concat(r.Source.ItemIDs, r.Source.RecordIDs, []string{
			r.Source.SessionID, r.Source.TurnID, r.Source.Speaker, r.Source.Label, r.Source.Model, r.Source.Prompt, r.Source.External,
		}),
	}
	for _, param := range slices.Sorted(maps.Keys(texts)) {
		for _, s := range texts[param] {
			if strings.ContainsRune(s, 0) {
				return httpapi.Invalid(param, "Invalid '"+param+"': it has a NUL character.")
			}
		}
	}
	return nil
}

// when reads a time. Empty is no time.
func when(param, s string) (time.Time, error) {
	t, err := memory.ParseTime(s)
	if err != nil {
		err = httpapi.Invalid(param, "Invalid '"+param+"': "+err.Error()+".")
	}
	return t, err
}

// updateMemory is what a newer version of a memory says otherwise.
type updateMemory struct {
	Text       *string           `json:"text,omitzero"`
	Metadata   map[string]string `json:"metadata,omitzero" doc:"All of it, in place of what was there."`
	ValidFrom  *string           `json:"valid_from,omitzero" doc:"Empty is always."`
	ValidTo    *string           `json:"valid_to,omitzero" doc:"Empty is for ever."`
	Confidence *float64          `json:"confidence,omitzero" minimum:"0" maximum:"1"`
}

// change is what an update asks for.
type change struct{ keeper.Change }

func (b *updateMemory) change() (change, error) {
	c := change{keeper.Change{Text: b.Text, Metadata: b.Metadata, Confidence: b.Confidence}}
	for _, t := range []struct {
		param string
		text  *string
		to    **time.Time
	}{{"valid_from", b.ValidFrom, &c.ValidFrom}, {"valid_to", b.ValidTo, &c.ValidTo}} {
		if t.text == nil {
			continue
		}
		at, err := when(t.param, *t.text)
		if err != nil {
			return c, err
		}
		*t.to = &at
	}
	if c.Text == nil && c.Metadata == nil && c.Confidence == nil && c.ValidFrom == nil && c.ValidTo == nil {
		return c, httpapi.Invalid("", "Say what is otherwise: give 'text', 'metadata', 'valid_from', 'valid_to' or 'confidence'.")
	}
	return c, storable(&memory.Record{Metadata: c.Metadata})
}

// made reports whether the version has what the change says.
func (c *change) made(r *memory.Record) bool {
	return (c.Text == nil || *c.Text == r.Text) && (c.Metadata == nil || maps.Equal(c.Metadata, r.Metadata)) &&
		(c.Confidence == nil || *c.Confidence == r.Confidence) &&
		(c.ValidFrom == nil || c.ValidFrom.Equal(r.ValidFrom)) && (c.ValidTo == nil || c.ValidTo.Equal(r.ValidTo))
}

// searchMemories is a question.
type searchMemories struct {
	Text           string            `json:"text" doc:"The question, or the words to look for."`
	Namespaces     []string          `json:"namespaces,omitzero" doc:"Prefixes. Defaults to all that lies below /actors/{actor}."`
	Actor          string            `json:"actor,omitzero" doc:"Only memories about this actor."`
	Strategies     []string          `json:"strategies,omitzero" enum:"turn,semantic,preference,summary,episodic,core" doc:"Only memories of these strategies."`
	SessionID      string            `json:"session_id,omitzero" doc:"Only memories that were drawn from this session."`
	Metadata       map[string]string `json:"metadata,omitzero" doc:"Only memories with all of these pairs."`
	Since          string            `json:"since,omitzero" doc:"Only memories that are true since this time or later."`
	Until          string            `json:"until,omitzero" doc:"Only memories that became true before this time."`
	KnownAt        string            `json:"known_at,omitzero" doc:"What was believed at this time. Defaults to now."`
	ValidAt        string            `json:"valid_at,omitzero" doc:"Only memories that are true at this time."`
	Superseded     bool              `json:"superseded,omitzero" doc:"Also what was replaced."`
	ExcludeForeign bool              `json:"exclude_foreign,omitzero" doc:"Leave out what rests on the words of tools and other people."`
	Limit          int               `json:"limit,omitzero" minimum:"1" maximum:"200" doc:"How many memories. Defaults to 10."`
	MaxTokens      int               `json:"max_tokens,omitzero" minimum:"1" doc:"How long the context may be, in tokens. Defaults to no bound."`
}

func (b *searchMemories) query(project string) (memory.Query, error) {
	q := memory.Query{
		Project: project, Namespaces: b.Namespaces, Text: b.Text, Superseded: b.Superseded, Limit: b.Limit, MaxTokens: b.MaxTokens,
		Filter: memory.Filter{Actor: b.Actor, SessionID: b.SessionID, Metadata: b.Metadata, ExcludeForeign: b.ExcludeForeign},
	}
	if strings.TrimSpace(b.Text) == "" {
		return q, httpapi.Invalid("text", "Give the question, or words to look for.")
	}
	for _, s := range b.Strategies {
		q.Filter.Strategies = append(q.Filter.Strategies, memory.Strategy(s))
	}
	if len(q.Namespaces) == 0 {
		if b.Actor == "" {
			return q, httpapi.Invalid("namespaces", "Say where to search: give 'namespaces', or an 'actor'.")
		}
		q.Namespaces = []string{"/actors/" + memory.Escape(b.Actor)}
	}
	for _, t := range []struct {
		param, text string
		to          *time.Time
	}{{"since", b.Since, &q.Filter.Since}, {"until", b.Until, &q.Filter.Until}, {"known_at", b.KnownAt, &q.KnownAt}, {"valid_at", b.ValidAt, &q.ValidAt}} {
		var err error
		if *t.to, err = when(t.param, t.text); err != nil {
			return q, err
		}
	}
	return q, nil
}
