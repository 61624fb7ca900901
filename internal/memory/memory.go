// Package memory is the contract of long-term memory: what a record is, where
// it stands in a tree of namespaces, when it was true and when it was known, and
// what can be asked. It is pure. How records are found is its child index, how
// text is read language, how it becomes vectors embed; keeper puts these
// together over a store.
package memory

import (
	"slices"
	"time"
)

// Strategy is the kind of knowledge that a record holds, and says how it came
// to be.
type Strategy string

// The strategies.
const (
	Turn       Strategy = "turn"       // a message of a conversation, word for word
	Semantic   Strategy = "semantic"   // a fact
	Preference Strategy = "preference" // what somebody likes, wants, avoids
	Summary    Strategy = "summary"    // of one session, rolling
	Episodic   Strategy = "episodic"   // what was tried, what came of it, what to do next time
	Core       Strategy = "core"       // a block that the agent edits itself and always sees
)

// Strategies lists all of them.
func Strategies() []Strategy {
	return []Strategy{Turn, Semantic, Preference, Summary, Episodic, Core}
}

// Origin says whose words a record rests on.
type Origin string

// The origins. A record that was drawn from several has the least trusted one.
const (
	OriginClient Origin = "client" // written by a caller of the API
	OriginUser   Origin = "user"   // said by the actor whose memory it is
	OriginAgent  Origin = "agent"  // said by the agent
	OriginOther  Origin = "other"  // said by somebody else
	OriginTool   Origin = "tool"   // came back from a tool
)

// Foreign reports whether the words are neither the actor's, nor the agent's,
// nor the caller's. Such a record ranks lower, can be left out, and does not
// become a core block unless a person agrees.
func (o Origin) Foreign() bool { return o == OriginOther || o == OriginTool }

// Worse returns the less trusted of two origins.
func Worse(a, b Origin) Origin {
	rank := map[Origin]int{OriginClient: 0, OriginUser: 1, OriginAgent: 2, OriginOther: 3, OriginTool: 4}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// Record is one thing that is known. It is never changed, but for being
// superseded, given a vector and used; what is known better is another record.
type Record struct {
	Project   string
	Space     string // SpaceOf(Namespace)
	Num       int64  // its place in the space, from 1 in the order of writing
	Change    int64  // the space's change counter when the record was last written
	ID        string // mem_...
	Namespace string // normalised, see ParseNamespace
	Strategy  Strategy
	Actor     string // whom it is about; empty is nobody
	Text      string
	Origin    Origin
	// Confidence is from 0 to 1, where somebody judged it; 0 is unknown.
	Confidence float64
	Metadata   map[string]string
	Source     Source

	// ValidFrom and ValidTo bound the time in which the text is or was true; a
	// zero time is open. The beginning is part of it, the end is not.
	ValidFrom, ValidTo time.Time
	// RecordedAt and SupersededAt bound the time in which it was believed.
	RecordedAt, SupersededAt time.Time
	SupersededBy             string // id of the record that took its place
	Supersedes               string // id of the record whose place it took
	ExpiresAt                time.Time

	Vector      []byte // of Text, as its embedder encodes it; nil until it is made
	VectorModel string // the embedder and dimension that made it

	// Uses is how many answers of agents cited it, about, and UsedAt when one last
	// did. A newer version begins anew.
	Uses   int64
	UsedAt time.Time
}

// Source says what a record was drawn from and by whom.
type Source struct {
	SessionID string   `json:"session_id,omitempty"`
	TurnID    string   `json:"turn_id,omitempty"`
	ItemIDs   []string `json:"item_ids,omitempty"`
	RecordIDs []string `json:"memory_ids,omitempty"` // other records
	Speaker   string   `json:"speaker,omitempty"`    // of a turn: who said it, by name
	Position  int64    `json:"position,omitempty"`   // of a turn: its place in the conversation, from 1
	Label     string   `json:"label,omitempty"`      // of a core block: its name
	Model     string   `json:"model,omitempty"`      // that extracted it
	Prompt    string   `json:"prompt,omitempty"`     // version of the prompt that it was extracted with
	External  string   `json:"external,omitempty"`   // its id where it was imported from
}

// ValidAt reports whether the record's text holds at t.
func (r *Record) ValidAt(t time.Time) bool {
	return !t.Before(r.ValidFrom) && (r.ValidTo.IsZero() || t.Before(r.ValidTo))
}

// KnownAt reports whether the record was what was believed at t.
func (r *Record) KnownAt(t time.Time) bool {
	return !t.Before(r.RecordedAt) && (r.SupersededAt.IsZero() || t.Before(r.SupersededAt))
}

// Expired reports whether the record's time is over at t.
func (r *Record) Expired(t time.Time) bool { return !r.ExpiresAt.IsZero() && !t.Before(r.ExpiresAt) }

// Query asks for what is relevant. Everything but Project, Namespaces and Text
// may be left at its zero value.
type Query struct {
	Project string
	// Namespaces are prefixes; a record below any of them is meant.
	Namespaces []string
	Text       string
	Filter     Filter
	// KnownAt asks what was believed then; zero is now. ValidAt asks for what was
	// true then; zero is any time.
	KnownAt, ValidAt time.Time
	// Superseded also finds what was replaced.
	Superseded bool
	Limit      int // records, at most MaxLimit
	MaxTokens  int // of the packed context; 0 is no bound
}

// Bounds of a query.
const (
	DefaultLimit = 10
	MaxLimit     = 200
	MaxSpaces    = 64 // that one search reads
)

// Filter selects records by what stands beside their text. The zero value
// selects all.
type Filter struct {
	Strategies []Strategy
	Actor      string
	SessionID  string
	Metadata   map[string]string // all pairs must match
	// Since and Until bound ValidFrom; zero is open. Since is part of it, Until is
	// not.
	Since, Until time.Time
	// ExcludeForeign leaves out what rests on the words of tools and other people.
	ExcludeForeign bool
}

// Hit is a record that was found. A higher score is a better one; scores of
// different queries do not compare.
type Hit struct {
	Record
	Score float64
}

// Matches reports whether the filter selects the record.
func (f *Filter) Matches(r *Record) bool {
	if len(f.Strategies) > 0 && !slices.Contains(f.Strategies, r.Strategy) {
		return false
	}
	for k, v := range f.Metadata {
		if got, ok := r.Metadata[k]; !ok || got != v {
			return false
		}
	}
	switch {
	case f.Actor != "" && f.Actor != r.Actor,
		f.SessionID != "" && f.SessionID != r.Source.SessionID,
		f.ExcludeForeign && r.Origin.Foreign(),
		!f.Since.IsZero() && (r.ValidFrom.IsZero() || r.ValidFrom.Before(f.Since)),
		!f.Until.IsZero() && !r.ValidFrom.Before(f.Until):
		return false
	}
	return true
}
