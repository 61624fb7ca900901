package session

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// Remembered is how far long-term memory has come with the session.
type Remembered struct {
	// Core is what the core blocks said when memory was last asked.
	Core []event.CoreText
	// KnownAt is when a fork was made of the conversation: memory is asked what it
	// knew then. It is zero where the session is no fork.
	KnownAt time.Time
	// RecalledIn is the turn for which memory was last asked.
	RecalledIn string
	// Numbers is how many memories the conversation was given: the next one has the
	// number after it.
	Numbers int
	// Kept and Extracted are how many of Items are kept word for word, and how many
	// of them a model has drawn from.
	Kept, Extracted int
	// GaveUp counts the extractions that failed for good, the last of them when
	// GaveUpAt items were kept.
	GaveUp, GaveUpAt int
}

// RecallEffectID is the id of what the turn asks of long-term memory.
func RecallEffectID(session string, t *Turn) string {
	return event.DeriveID("eff", session, t.ID, "recall")
}

// NeedsRecall reports whether the turn has yet to ask long-term memory.
func (s *State) NeedsRecall(t *Turn) bool {
	m := s.Agent.Memory
	return m != nil && (m.Recall != nil || len(m.Core) > 0) && s.Memory.RecalledIn != t.ID
}

// KeepEffectID is the id of the next keeping of what was said. One that failed
// within a turn is another than that after it.
func KeepEffectID(s *State) string {
	return event.DeriveID("eff", s.ID, "keep", strconv.Itoa(s.Memory.Kept), strconv.Itoa(s.current), strconv.FormatBool(s.Current() == nil))
}

// Unkept returns the items that are yet to be kept word for word: those of the
// conversation so far.
func (s *State) Unkept() []Entry {
	if s.Agent.Memory == nil {
		return nil
	}
	return s.Items[s.Memory.Kept:]
}

// ExtractEffectID is the id of the next extraction. It stays the same while turns
// begin and end, and is another after one that failed for good.
func ExtractEffectID(s *State) string {
	return event.DeriveID("eff", s.ID, "extract", strconv.Itoa(s.Memory.Extracted), strconv.Itoa(s.Memory.GaveUp))
}

// Unextracted returns the items that a model is yet to draw from. After a failure
// for good there are none until more was kept.
func (s *State) Unextracted() []Entry {
	m := s.Agent.Memory
	if m == nil || len(m.Strategies) == 0 || s.Memory.Kept <= max(s.Memory.Extracted, s.Memory.GaveUpAt) {
		return nil
	}
	return s.Items[s.Memory.Extracted:s.Memory.Kept]
}

// ForeignBefore reports whether words of a tool, or of another person, stood in
// the conversation before its item with the place i. What an agent says after
// them may rest on them.
func (s *State) ForeignBefore(i int) bool { return s.foreign > 0 && s.foreign <= i }

// Foreign reports whether such words stand in the conversation so far.
func (s *State) Foreign() bool { return s.foreign > 0 }

// markForeign notes that the last item has them.
func (s *State) markForeign() {
	if s.foreign == 0 {
		s.foreign = len(s.Items)
	}
}

// memoryChanged takes up memory where the agent gets one, from the turn that runs
// on, and closes what was under way where it has none any more.
func (s *State) memoryChanged(before *event.Memory, at time.Time) {
	m := s.Agent.Memory
	if before == nil && m != nil {
		n := len(s.Items)
		t := s.Current()
		for n > 0 && t != nil && s.Items[n-1].TurnID == t.ID {
			n--
		}
		s.Memory.Kept, s.Memory.Extracted, s.Memory.GaveUpAt = n, n, 0
	}
	for _, e := range s.Effects[s.open:] {
		gone := (e.Kind == event.EffectExtract && (m == nil || len(m.Strategies) == 0)) ||
			((e.Kind == event.EffectKeep || e.Kind == event.EffectRecall) && m == nil)
		if e.Open && gone {
			s.spend(s.Turn(e.TurnID), event.Usage{}, e.Reserved)
			s.closeEffect(e.ID, EffectFailed, "memory_changed", "the agent's memory was changed while this was under way", at)
		}
	}
}

func (s *State) applyMemory(p event.Payload, at time.Time) error {
	switch p := p.(type) {
	case *event.MemoryRecalled:
		return s.recalled(p, at)
	case *event.MemoryKept:
		n, err := s.through(p.Through)
		if err != nil {
			return err
		}
		s.Memory.Kept = n
		s.finish(p.EffectID, EffectFinished, at)
		return nil
	case *event.MemoryExtracted:
		n, err := s.through(p.Through)
		if err != nil {
			return err
		}
		s.Memory.Extracted = n
		s.finish(p.EffectID, EffectFinished, at)
		s.spend(nil, p.Usage, p.CostNanoUSD)
		return nil
	}
	return fmt.Errorf("%T: %w", p, ErrImpossible)
}

func (s *State) recalled(p *event.MemoryRecalled, at time.Time) error {
	t, err := s.running(p.TurnID)
	if err != nil {
		return err
	}
	s.finish(p.EffectID, EffectFinished, at)
	s.Memory.RecalledIn = t.ID
	if p.Error == "" || s.several { // what was there may be another person's
		s.Memory.Core = p.Core
	}
	if p.Item == nil {
		return nil
	}
	it := *p.Item
	it.TurnID = t.ID
	if err := s.reserveItem(it.ID); err != nil {
		return err
	}
	s.appendItem(&it, s.step(), -1)
	s.Memory.Numbers += len(it.MemoryIDs)
	if p.Foreign {
		s.markForeign()
	}
	return nil
}

// through is how many items there are up to the one with the id.
func (s *State) through(id string) (int, error) {
	i, ok := s.items[id]
	if !ok || i < 0 {
		return 0, fmt.Errorf("there is no item %q to remember: %w", id, ErrImpossible)
	}
	return i + 1, nil
}

// leaveMemory leaves what was said before a fork to the session that it was said
// in.
func (s *State) leaveMemory() {
	s.Memory.Kept, s.Memory.Extracted = len(s.Items), len(s.Items)
	s.Memory.GaveUp, s.Memory.GaveUpAt, s.Memory.KnownAt = 0, 0, s.LastActiveAt
	for _, e := range s.Effects[s.open:] {
		if e.Open && e.TurnID == "" {
			s.closeEffect(e.ID, EffectFailed, "forked", "the session was forked while this was under way", s.CreatedAt)
		}
	}
}

// MemoryTools are the tools of long-term memory, by the names that it knows them
// by.
const (
	MemorySearch = "memory_search"
	MemoryWrite  = "memory_write"
	MemoryUpdate = "memory_update"
	MemoryForget = "memory_forget"
)

// memorySpecs are those tools.
func memorySpecs() []event.ToolSpec {
	object := func(required, properties string) []byte {
		return []byte(`{"type":"object","properties":{` + properties + `},"required":[` + required + `],"additionalProperties":false}`)
	}
	return []event.ToolSpec{
		{
			Name: MemorySearch, Class: event.Pure,
			Description: "Search what is remembered of earlier conversations and work. Says the id, the date and the words of each memory.",
			Parameters: object(`"query"`, `"query":{"type":"string","description":"a question, or words to look for"},`+
				`"limit":{"type":"integer","minimum":1,"maximum":50,"description":"how many memories; 10 if left out"},`+
				`"strategies":{"type":"array","items":{"type":"string","enum":["turn","semantic","preference","summary","episodic"]},"description":"only memories of these kinds"},`+
				`"as_of":{"type":"string","description":"what was believed at this date or RFC 3339 time"}`),
		},
		{
			Name: MemoryWrite, Class: event.Idempotent,
			Description: "Remember something for later conversations: a fact, a preference, or what was tried and what came of it. To change a core block, give strategy core, its label and its whole new text.",
			Parameters: object(`"text"`, `"text":{"type":"string","description":"one thing, in words that are understood by themselves"},`+
				`"strategy":{"type":"string","enum":["semantic","preference","episodic","core"],"description":"semantic if left out"},`+
				`"label":{"type":"string","description":"of the core block"},`+
				`"valid_from":{"type":"string","description":"date or RFC 3339 time since when it is true"},`+
				`"valid_to":{"type":"string","description":"date or RFC 3339 time until when it is true"}`),
		},
		{
			Name: MemoryUpdate, Class: event.Idempotent,
			Description: "Correct a memory. The one before stays as what was believed until now.",
			Parameters: object(`"memory_id","text"`, `"memory_id":{"type":"string"},"text":{"type":"string","description":"what is true, as a whole"},`+
				`"valid_from":{"type":"string","description":"date or RFC 3339 time since when it is true"}`),
		},
		{
			Name: MemoryForget, Class: event.Idempotent,
			Description: "Forget a memory for good, with all its versions and what was drawn from it. Only when somebody asks for it.",
			Parameters:  object(`"memory_id"`, `"memory_id":{"type":"string"}`),
		},
	}
}

// memoryPolicy says how a call of memory's tools may be repeated, and who must
// agree to it: a core block is always before the model, so that what rests on
// words of others gets into one by a person alone, and by a person alone they take
// anything away that is remembered.
func (s *State) memoryPolicy(it *event.Item) (event.Class, event.EffectPolicy) {
	for _, spec := range memorySpecs() {
		if spec.Name != it.Name {
			continue
		}
		var pol event.EffectPolicy
		if s.Foreign() && (changesCore(it) || it.Name == MemoryUpdate || it.Name == MemoryForget) {
			pol.Approval = ApprovalAlways
		}
		return spec.Class, pol
	}
	return event.Once, event.EffectPolicy{}
}

// changesCore reports whether the call writes a core block.
func changesCore(it *event.Item) bool {
	var args struct {
		Strategy string `json:"strategy"`
	}
	return it.Name == MemoryWrite && json.Unmarshal(it.Arguments, &args) == nil && args.Strategy == "core"
}

// ActorKey stands for the actor in what sessions are found by, where no name is to
// be. Nobody has none.
func ActorKey(project, actor string) string {
	if actor == "" {
		return ""
	}
	return event.DeriveID("actor", project, actor)
}
