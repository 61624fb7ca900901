// Package feed wakes whoever reads a session after a commit, and carries the
// pieces of answers that are still coming in. Both may be lost: a reader that
// missed something finds it in the log. It keeps nothing.
package feed

import (
	"sync"
	"sync/atomic"

	"github.com/stayd/stayd/internal/event"
)

// Feed connects the writers of sessions with their readers in this process.
type Feed struct {
	mu       sync.Mutex
	sessions map[string]map[*Subscription]struct{}
	runnable chan Hint
	missed   atomic.Bool
}

// Hint says that a session may have work to do.
type Hint struct{ Project, Session string }

// hints is how many hints wait at most; those beyond are dropped. The sessions
// are found in the store, or, where they are under way, looked at because of
// Missed.
const hints = 4096

// New returns a feed without readers.
func New() *Feed {
	return &Feed{sessions: map[string]map[*Subscription]struct{}{}, runnable: make(chan Hint, hints)}
}

// Message is either a committed record or a piece of what is not yet committed.
type Message struct {
	Record *event.Record
	Delta  *Delta
}

// DeltaKind says what a piece belongs to.
type DeltaKind int

// Kinds of deltas.
const (
	TextDelta DeltaKind = iota
	ReasoningDelta
	CommandDelta // output of a command that runs
)

// Delta is a piece of an item that is still coming in.
type Delta struct {
	Kind        DeltaKind
	TurnID      string
	ItemID      string
	OutputIndex int
	Part        int // of the content or the summary
	N           int // counts the pieces of the item, from 0
	Text        string
}

// Runnable delivers hints of sessions that may have work to do.
func (f *Feed) Runnable() <-chan Hint { return f.runnable }

// Wake hints that a session may have work to do.
func (f *Feed) Wake(h Hint) {
	select {
	case f.runnable <- h:
	default:
		f.missed.Store(true)
	}
}

// Missed reports whether a hint was dropped since the last call.
func (f *Feed) Missed() bool { return f.missed.Swap(false) }

// Committed hands records, which are durable, to the session's readers.
func (f *Feed) Committed(session string, records []event.Record) {
	for _, sub := range f.subscribers(session) {
		for i := range records {
			sub.put(Message{Record: &records[i]})
		}
	}
}

// Delta hands a piece to the session's readers.
func (f *Feed) Delta(session string, d Delta) {
	for _, sub := range f.subscribers(session) {
		sub.put(Message{Delta: &d})
	}
}

func (f *Feed) subscribers(session string) []*Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	subs := f.sessions[session]
	if len(subs) == 0 {
		return nil
	}
	out := make([]*Subscription, 0, len(subs))
	for sub := range subs {
		out = append(out, sub)
	}
	return out
}

// Subscribe follows a session from now on. The caller closes the subscription.
func (f *Feed) Subscribe(session string) *Subscription {
	sub := &Subscription{feed: f, session: session, ready: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sessions[session] == nil {
		f.sessions[session] = map[*Subscription]struct{}{}
	}
	f.sessions[session][sub] = struct{}{}
	return sub
}

// backlog is how many messages wait for a slow reader; with one more, all are
// dropped, and the reader is told to read the log.
const backlog = 256

// Subscription is one reader of one session.
type Subscription struct {
	feed    *Feed
	session string
	ready   chan struct{}

	mu      sync.Mutex
	waiting []Message
	lost    bool
}

// Ready is signalled when there is something to take.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Take returns what came since the last call, in order. Where lost is true,
// messages before these were dropped, committed records among them perhaps.
func (s *Subscription) Take() (messages []Message, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages, lost = s.waiting, s.lost
	s.waiting, s.lost = nil, false
	return messages, lost
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.sessions[s.session], s)
	if len(s.feed.sessions[s.session]) == 0 {
		delete(s.feed.sessions, s.session)
	}
}

func (s *Subscription) put(m Message) {
	s.mu.Lock()
	if len(s.waiting) >= backlog {
		s.waiting, s.lost = nil, true
	}
	s.waiting = append(s.waiting, m)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
