package memories

import (
	"time"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/memory/transfer"
)

// createBody is a new memory.
type createBody struct {
	Text       string            `json:"text" doc:"What is known, in words."`
	Namespace  string            `json:"namespace,omitzero" doc:"Where it stands. Defaults to the strategy's place below /actors/{actor}."`
	Strategy   string            `json:"strategy,omitzero" enum:"turn,semantic,preference,summary,episodic,core" doc:"Defaults to semantic."`
	Actor      string            `json:"actor,omitzero" doc:"Whom it is about."`
	Origin     string            `json:"origin,omitzero" enum:"client,user,agent,other,tool" doc:"Whose words it rests on. Defaults to client."`
	Confidence float64           `json:"confidence,omitzero" minimum:"0" maximum:"1"`
	Metadata   map[string]string `json:"metadata,omitzero"`
	ValidFrom  string            `json:"valid_from,omitzero" doc:"Since when it is true: a date, or a time in RFC 3339."`
	ValidTo    string            `json:"valid_to,omitzero" doc:"Until when it is true, that time not included."`
	ExpiresAt  string            `json:"expires_at,omitzero" doc:"When it is to be forgotten."`
	Source     *sourceBody       `json:"source,omitzero"`
}

// sourceBody says what a memory was drawn from.
type sourceBody struct {
	SessionID string   `json:"session_id,omitzero"`
	TurnID    string   `json:"turn_id,omitzero"`
	ItemIDs   []string `json:"item_ids,omitzero"`
	MemoryIDs []string `json:"memory_ids,omitzero" doc:"Memories that it was drawn from: it is forgotten with them."`
	Speaker   string   `json:"speaker,omitzero" doc:"Of a turn: who said it."`
	Position  int64    `json:"position,omitzero" minimum:"1" doc:"Of a turn: its place in the conversation."`
	Label     string   `json:"label,omitzero" doc:"Of a core block: its name."`
	External  string   `json:"external,omitzero" doc:"Its id in another system."`
}

func (b *sourceBody) source() memory.Source {
	if b == nil {
		return memory.Source{}
	}
	return memory.Source{
		SessionID: b.SessionID, TurnID: b.TurnID, ItemIDs: b.ItemIDs, RecordIDs: b.MemoryIDs,
		Speaker: b.Speaker, Position: b.Position, Label: b.Label, External: b.External,
	}
}

func (b *createBody) record() (memory.Record, error) {
	r := memory.Record{
		Namespace: b.Namespace, Strategy: memory.Strategy(b.Strategy), Actor: b.Actor, Text: b.Text,
		Origin: memory.Origin(b.Origin), Confidence: b.Confidence, Metadata: b.Metadata, Source: b.Source.source(),
	}
	if r.Strategy == "" {
		r.Strategy = memory.Semantic
	}
	if r.Namespace == "" {
		if b.Actor == "" {
			return r, httpapi.Invalid("namespace", "Say where the memory stands: give a 'namespace', or the 'actor' whom it is about.")
		}
		ns, err := memory.Fill(transfer.DefaultNamespaces()[r.Strategy], map[string]string{"actorId": b.Actor, "sessionId": r.Source.SessionID})
		if err != nil {
			return r, httpapi.Invalid("namespace", err.Error())
		}
		r.Namespace = ns
	}
	var err error
	if r.ValidFrom, err = when("valid_from", b.ValidFrom); err != nil {
		return r, err
	}
	if r.ValidTo, err = when("valid_to", b.ValidTo); err != nil {
		return r, err
	}
	r.ExpiresAt, err = when("expires_at", b.ExpiresAt)
	return r, err
}

// when reads a time. Empty is no time.
func when(param, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, httpapi.Invalid(param, "Invalid '"+param+"': expected a date such as 2026-05-03 or a time such as 2026-05-03T14:00:00Z, but got '"+s+"'.")
}

// updateBody is what a newer version of a memory says otherwise.
type updateBody struct {
	Text       *string           `json:"text,omitzero"`
	Metadata   map[string]string `json:"metadata,omitzero"`
	ValidFrom  *string           `json:"valid_from,omitzero"`
	ValidTo    *string           `json:"valid_to,omitzero"`
	Confidence *float64          `json:"confidence,omitzero" minimum:"0" maximum:"1"`
}

func (b *updateBody) change(key string) (keeper.Change, error) {
	c := keeper.Change{Key: key, Text: b.Text, Metadata: b.Metadata, Confidence: b.Confidence}
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
	return c, nil
}

// searchBody is a question.
type searchBody struct {
	Text           string            `json:"text" doc:"The question, or the words to look for."`
	Namespaces     []string          `json:"namespaces,omitzero" doc:"Prefixes. Defaults to all that lies below /actors/{actor}."`
	Actor          string            `json:"actor,omitzero" doc:"Only memories about this actor."`
	Strategies     []string          `json:"strategies,omitzero" doc:"Only memories of these strategies."`
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

func (b *searchBody) query(project string) (memory.Query, error) {
	q := memory.Query{
		Project: project, Namespaces: b.Namespaces, Text: b.Text, Superseded: b.Superseded, Limit: b.Limit, MaxTokens: b.MaxTokens,
		Filter: memory.Filter{Actor: b.Actor, SessionID: b.SessionID, Metadata: b.Metadata, ExcludeForeign: b.ExcludeForeign},
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
