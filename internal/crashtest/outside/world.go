// Package outside is the world that a runtime under test acts on: a process of
// its own with tools that do something, and a ledger of every call that reached
// it. It answers slowly, cuts connections before and after a call took effect,
// and does not notice when a call comes twice: that is what it is there to show.
// It knows nothing of the runtime.
package outside

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// The tools of the world.
const (
	Look = "look" // reads only
	Book = "book" // may be repeated under the same key
	Pay  = "pay"  // says nothing about how it may be repeated
	Send = "send" // Sent says what became of it
	Sent = "sent"
)

// Call is a call as it reached the world.
type Call struct {
	Tool   string
	Effect string
	Key    string
	Args   json.RawMessage
}

// World takes calls. It is safe for use by many goroutines.
type World struct {
	ledger *ledger
	// delay is how long a call takes at most, faults how many of a thousand calls
	// have their connection cut.
	delay  time.Duration
	faults int

	mu   sync.Mutex
	busy map[string]*sync.Mutex // by effect: one call or lookup of it at a time
	sent map[string]string      // effect -> what Send answered
}

// Open opens the world with its ledger.
func Open(ledgerPath string, delay time.Duration, faults int) (*World, error) {
	l, err := openLedger(ledgerPath)
	if err != nil {
		return nil, err
	}
	return &World{ledger: l, delay: delay, faults: faults, busy: map[string]*sync.Mutex{}, sent: map[string]string{}}, nil
}

// Close closes the ledger.
func (w *World) Close() error { return w.ledger.file.Close() }

// Fault is what goes wrong with a call.
type Fault int

// Faults: the connection is cut before, or after, the call takes effect.
const (
	NoFault Fault = iota
	CutBefore
	CutAfter
)

// Visit is a call that the world has received.
type Visit struct {
	world *World
	call  *Call
	lock  *sync.Mutex
	Fault Fault
}

// Receive writes the call's arrival down, lets it wait, and says what is to go
// wrong with it. The visit must be ended.
func (w *World) Receive(c *Call) (*Visit, error) {
	if err := w.ledger.write(Arrived, c); err != nil {
		return nil, err
	}
	v := &Visit{world: w, call: c, lock: w.lock(c)}
	v.lock.Lock()
	if w.delay > 0 {
		time.Sleep(rand.N(w.delay)) // a pause needs no secrecy
	}
	if n := rand.N(1000); n < w.faults { // nor does a fault
		v.Fault = CutBefore + Fault(n%2)
	}
	return v, nil
}

// lock is what calls of one effect, and lookups of it, take turns by: a lookup
// answers when it is settled what became of the call.
func (w *World) lock(c *Call) *sync.Mutex {
	id := c.Effect
	if c.Tool == Sent {
		id = lookupOf(c)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[id] == nil {
		w.busy[id] = &sync.Mutex{}
	}
	return w.busy[id]
}

func lookupOf(c *Call) string {
	var a struct {
		EffectID string `json:"effect_id"`
	}
	if json.Unmarshal(c.Args, &a) != nil {
		return ""
	}
	return a.EffectID
}

// Take has the call take effect, and returns the answer.
func (w *World) Take(c *Call) (string, error) {
	switch c.Tool {
	case Look, Book, Pay, Send, Sent:
	default:
		return "", fmt.Errorf("there is no tool %q", c.Tool)
	}
	if err := w.ledger.write(Took, c); err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	line := Line{Args: c.Args}
	switch c.Tool {
	case Send:
		w.sent[c.Effect] = "sent " + line.Order()
		return w.sent[c.Effect], nil
	case Sent:
		answer := map[string]string{"status": "not_found"}
		if out, ok := w.sent[lookupOf(c)]; ok {
			answer = map[string]string{"status": "completed", "output": out}
		}
		data, err := json.Marshal(answer)
		return string(data), err
	}
	return c.Tool + " " + line.Order(), nil
}

// End ends the visit.
func (v *Visit) End() error {
	defer v.lock.Unlock()
	if v.Fault != NoFault {
		return v.world.ledger.write(Cut, v.call)
	}
	return nil
}
