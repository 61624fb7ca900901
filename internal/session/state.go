// Package session folds a session's records into its state, and says what a
// command appends to the log. It is pure: no I/O, no clock, no randomness. What
// the state of a session is, and which commands it takes, is decided here and
// nowhere else.
package session

import (
	"maps"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// Session statuses.
const (
	Idle           = "idle"
	InProgress     = "in_progress"
	RequiresAction = "requires_action"
)

// Turn statuses.
const (
	TurnQueued     = "queued"
	TurnInProgress = "in_progress"
	TurnWaiting    = "waiting"
	TurnCompleted  = "completed"
	TurnFailed     = "failed"
	TurnCancelled  = "cancelled"
)

// State is what a session's log amounts to. It is made by Fold alone. An item or
// an effect that changes is replaced, so that a pointer to one may be kept when
// the state goes on; turns are changed in place.
type State struct {
	ID      string
	Project string
	Seq     int64      // of the last record
	Hash    event.Hash // of the last record

	CreatedAt    time.Time
	LastActiveAt time.Time
	Created      event.Input // the request that created the session

	// Forked is the fork that made this session of another, nil where it is none,
	// and ForkedAt the sequence number of its record.
	Forked   *event.SessionForked
	ForkedAt int64

	Agent       event.Agent
	Environment event.Environment
	Metadata    map[string]string
	SpendLimit  *int64 // USD cents
	VaultIDs    []string
	Actor       string // whom the session is with; empty is nobody in particular
	Deleted     bool

	Turns []*Turn
	Items []Entry
	// ContextFrom is the index in Items of the first item that a model is still
	// given; those before it are covered by Summary.
	ContextFrom int
	Summary     *event.Item
	Compactions int

	Effects []*Effect // all, in the order in which they came up

	Servers map[string]*Server // by label
	Place   Place
	// Artifacts are those that turns published, the oldest first.
	Artifacts []Artifact

	Memory Remembered

	Usage       event.Usage
	CostNanoUSD int64
	// contextTokens is what the last answered request counted as its input and
	// output, contextItems how many items it stood for.
	contextTokens int64
	contextItems  int
	// compactedSince is set from a compaction until the next answer.
	compactedSince bool

	unpublished map[string]Artifact // by path, until the turn completes
	several     bool                // more than one person has spoken
	foreign     int                 // the place after the first item with words of a tool or of another person; 0 is none

	keys    map[string]string // idempotency key -> request hash
	items   map[string]int    // item id -> index in Items, -1 while its turn is queued
	effects map[string]int    // effect id -> index in Effects
	turns   map[string]int    // turn id -> index in Turns
	current int               // index in Turns of the first that has not ended
	open    int               // index in Effects of the first that may be open
	toolset []BoundTool       // computed when first asked for, with visible
	visible map[boundTo]string
}

// Entry is an item with the step that it belongs to.
type Entry struct {
	*event.Item
	// Step counts the model responses of the session; items of one response
	// share it. An input has the step of the response before it.
	Step int
	// OutputIndex is the item's place among the outputs of its turn, -1 for what is
	// not an output of the agent.
	OutputIndex int

	digest event.Hash // zero until it is asked for
	// call and output are what a model is given of a call; nil until asked for.
	call, output *event.Item
}

// Turn is one input and everything that was done about it.
type Turn struct {
	ID          string
	Status      string
	CreatedAt   time.Time
	StartedAt   time.Time // zero while queued
	CompletedAt time.Time // zero until it ended
	Error       *event.TurnError
	Usage       event.Usage
	CostNanoUSD int64
	Steps       int // model responses
	Outputs     int // output items
	// CancelRequested is set from the request on until the turn ends.
	CancelRequested bool
	Actor           string // who speaks, where it is not the session's actor
	TraceParent     string // of the request that began it
	// Input is the items that the turn was created with. They join the
	// conversation when the turn starts.
	Input []*event.Item
	// Overflow is set from when the model found the conversation too long until
	// it is compacted; Overflows counts how often that was.
	Overflow  bool
	Overflows int
	// NeedsModel is set while the model has yet to see what is there: at the
	// start, and after a response that called tools.
	NeedsModel bool
}

// Ended reports whether the turn is over.
func (t *Turn) Ended() bool {
	switch t.Status {
	case TurnCompleted, TurnFailed, TurnCancelled:
		return true
	}
	return false
}

// EffectStatus is how far an effect has come.
type EffectStatus string

// Statuses of effects.
const (
	EffectPending  EffectStatus = "pending"  // to be started
	EffectApproval EffectStatus = "approval" // waits for a person to agree
	EffectStarted  EffectStatus = "started"  // its intention is in the log
	EffectRetrying EffectStatus = "retrying" // an attempt failed; waits for RetryAt
	EffectConsent  EffectStatus = "consent"  // waits for a person to let it use a server
	EffectUnknown  EffectStatus = "unknown"  // nobody knows whether it took place
	EffectFinished EffectStatus = "completed"
	EffectFailed   EffectStatus = "failed"
)

// Effect is something that reaches outside, or waits for the outside.
type Effect struct {
	ID     string
	Kind   event.EffectKind
	TurnID string
	Status EffectStatus
	Open   bool // whether the turn waits for it
	Class  event.Class
	Policy event.EffectPolicy

	// of a call
	ItemID string
	CallID string
	Name   string // as the server knows it
	Server string // label

	Attempt  int
	Epoch    int64 // of the process that started the last attempt
	RetryAt  time.Time
	WakeAt   time.Time
	Reserved int64 // nano-USD, of a model call under way
	// Uncertain is set where the last attempt may have reached the tool.
	Uncertain bool
	// Doubt is set where an attempt before the last one may have reached the tool
	// and nobody knows what came of it.
	Doubt     bool
	Consent   *Consent // what is asked of a person, where it waits for that
	Code      string
	Message   string
	StartedAt time.Time
	EndedAt   time.Time
}

// Server is an MCP server of the session as it was listed.
type Server struct {
	Label  string
	TurnID string // the turn in which it was listed
	Tools  []event.ToolSpec
	Error  string
}

// Place is the session's environment as it is.
type Place struct {
	Status string // empty until it was asked for
	TurnID string // the turn in which it got the status
	Since  int64  // the sequence number of the record that gave it the status
	Tools  []event.ToolSpec
	Error  *event.TurnError
	// Epoch is that of the process that last had it open.
	Epoch  int64
	Resets int64 // how often its processes were lost
	// Root is the tree of what the workspace holds, Files and Bytes its size.
	Root  event.Hash
	Files int64
	Bytes int64
}

// Environment statuses, as the Agents API names them.
const (
	PlacePending      = "pending"
	PlaceReady        = "ready"
	PlaceConnected    = "connected"
	PlaceDisconnected = "disconnected"
	PlaceSuspended    = "suspended"
	PlaceExpired      = "expired"
	PlaceFailed       = "failed"
)

// Artifact is a file that a turn published. It is the file at Path in the tree
// Root, whatever became of the workspace since.
type Artifact struct {
	ID        string
	TurnID    string
	Path      string // below the workspace
	Size      int64  // bytes
	Root      event.Hash
	CreatedAt time.Time
}

// New returns the state of an empty log. The id is that of the log's first
// record, which is another session's where this one is a fork; empty takes what
// comes.
func New(id string) *State {
	return &State{
		ID:      id,
		Servers: map[string]*Server{},
		keys:    map[string]string{},
		items:   map[string]int{},
		effects: map[string]int{},
		turns:   map[string]int{},
	}
}

// Clone returns a state that Fold can take further while s stays as it is. The two
// share what is never changed in place.
func (s *State) Clone() *State {
	c := *s
	c.Turns = make([]*Turn, len(s.Turns))
	for i := range s.Turns {
		t := *s.Turns[i]
		c.Turns[i] = &t
	}
	c.Items, c.Effects, c.Servers = slices.Clone(s.Items), slices.Clone(s.Effects), maps.Clone(s.Servers)
	c.Artifacts, c.unpublished = slices.Clone(s.Artifacts), maps.Clone(s.unpublished)
	for i := range c.Items {
		c.Items[i].call, c.Items[i].output = nil, nil
	}
	c.keys, c.items, c.effects, c.turns = maps.Clone(s.keys), maps.Clone(s.items), maps.Clone(s.effects), maps.Clone(s.turns)
	return &c
}

// Current returns the turn that runs or waits, or nil.
func (s *State) Current() *Turn {
	if s.current < len(s.Turns) {
		return s.Turns[s.current]
	}
	return nil
}

// Turn returns a turn by its id, or nil.
func (s *State) Turn(id string) *Turn {
	if i, ok := s.turns[id]; ok {
		return s.Turns[i]
	}
	return nil
}

// Item returns an item by its id.
func (s *State) Item(id string) (Entry, bool) {
	if i, ok := s.items[id]; ok && i >= 0 {
		return s.Items[i], true
	}
	return Entry{}, false
}

// Effect returns an effect by its id, or nil.
func (s *State) Effect(id string) *Effect {
	if i, ok := s.effects[id]; ok {
		return s.Effects[i]
	}
	return nil
}

// OpenEffects returns the effects that the current turn waits for.
func (s *State) OpenEffects() []*Effect {
	t := s.Current()
	if t == nil {
		return nil
	}
	var open []*Effect
	for _, e := range s.Effects[s.open:] {
		if e.Open && e.TurnID == t.ID {
			open = append(open, e)
		}
	}
	return open
}

// Reserved is what model calls under way may cost at most, in nano-USD.
func (s *State) Reserved() int64 {
	var sum int64
	for _, e := range s.Effects[s.open:] {
		if e.Open {
			sum += e.Reserved
		}
	}
	return sum
}

// Status is the session's status, as the Agents API names it.
func (s *State) Status() string {
	t := s.Current()
	switch {
	case t == nil:
		return Idle
	case t.Status == TurnWaiting:
		return RequiresAction
	}
	return InProgress
}

// RequiredActions returns the open effects that wait for the client or for a
// person.
func (s *State) RequiredActions() []*Effect {
	var out []*Effect
	for _, e := range s.OpenEffects() {
		if e.waitsForPerson() {
			out = append(out, e)
		}
	}
	return out
}

// NeedsConnection reports whether the current turn waits for a self-hosted
// environment to connect.
func (s *State) NeedsConnection() bool {
	return s.Environment.Type == event.EnvironmentSelfHosted && s.Place.Status != PlaceConnected && s.Current() != nil
}

func (e *Effect) waitsForPerson() bool {
	return e.Open && (e.Kind == event.EffectClient || e.Status == EffectApproval || e.Status == EffectUnknown || e.Status == EffectConsent)
}

// SeenKey reports whether a request with the idempotency key was taken, and
// what its request hash was.
func (s *State) SeenKey(key string) (hash string, ok bool) {
	hash, ok = s.keys[key]
	return hash, ok
}

// SpentCents is what the session has cost, in whole USD cents, rounded down.
func (s *State) SpentCents() int64 { return s.CostNanoUSD / nanoPerCent }

const nanoPerCent = 10_000_000
