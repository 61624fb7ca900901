package event

// MemoryLabel is the server_label of an mcp_call that long-term memory answers.
const MemoryLabel = "memory"

// Memory says what an agent remembers of its sessions, and what of it a turn is
// given. Namespaces are templates, in which {actorId} is whom the session is
// with, {agentId} the agent and {sessionId} the session.
type Memory struct {
	// Namespaces say where memories stand, by strategy. What is said is always
	// kept, word for word, in that of the strategy turn.
	Namespaces map[string]string `json:"namespaces"`
	// Strategies are what a model draws from what was said, once the session has
	// rested for RestSeconds: semantic, preference, summary, episodic.
	Strategies  []string `json:"strategies,omitempty"`
	Model       string   `json:"model,omitempty"` // that draws; empty is the agent's
	RestSeconds int64    `json:"rest_seconds,omitempty"`
	// Recall puts what is relevant to a turn's input before the model; nil does not.
	Recall *Recall `json:"recall,omitempty"`
	// Core are the blocks that the model always sees.
	Core []CoreBlock `json:"core,omitempty"`
	// Tools lets the model search, write, update and forget.
	Tools bool `json:"tools,omitempty"`
}

// Recall bounds what a turn is given.
type Recall struct {
	Namespaces     []string `json:"namespaces"` // templates of prefixes
	Limit          int      `json:"limit"`
	MaxTokens      int      `json:"max_tokens"`
	ExcludeForeign bool     `json:"exclude_foreign,omitempty"`
}

// CoreBlock is a block of text that an agent keeps up to date itself.
type CoreBlock struct {
	Label       string `json:"label"`
	Description string `json:"description,omitempty"`
	Value       string `json:"value,omitempty"` // until there is another
	Limit       int    `json:"limit"`           // bytes
}

// CoreText is what a core block says.
type CoreText struct {
	Label string `json:"label"`
	Text  string `json:"text"`
	// MemoryID is the memory that says it; empty is the agent's configuration.
	MemoryID string `json:"memory_id,omitempty"`
}

// MemoryRecalled is what long-term memory put before the model in a turn. Item is
// a message with the role developer, nil where nothing was found; its MemoryIDs
// name what stands in it.
type MemoryRecalled struct {
	EffectID string     `json:"effect_id"`
	TurnID   string     `json:"turn_id"`
	Item     *Item      `json:"item,omitempty"`
	Foreign  bool       `json:"foreign,omitempty"` // some of it rests on the words of tools or of other people
	Core     []CoreText `json:"core,omitempty"`
	// Error says why nothing could be recalled. The turn goes on without.
	Error string `json:"error,omitempty"`
}

// MemoryKept says that what was said is kept, word for word, up to the item
// Through.
type MemoryKept struct {
	EffectID  string   `json:"effect_id"`
	Through   string   `json:"through"`
	MemoryIDs []string `json:"memory_ids,omitempty"`
}

// MemoryExtracted says what a model drew from what was said, up to the item
// Through. What it says stands in the memories alone.
type MemoryExtracted struct {
	EffectID    string   `json:"effect_id"`
	Through     string   `json:"through"`
	Model       string   `json:"model,omitempty"` // that answered; empty where there was nothing to draw from
	Prompt      string   `json:"prompt,omitempty"`
	MemoryIDs   []string `json:"memory_ids,omitempty"`
	Dropped     int      `json:"dropped,omitempty"` // entries of the answer that could not be kept
	Usage       Usage    `json:"usage"`
	CostNanoUSD int64    `json:"cost_nano_usd,omitempty"`
	DurationMS  int64    `json:"duration_ms,omitempty"`
}

// Kind implements Payload.
func (*MemoryRecalled) Kind() Kind { return KindMemoryRecalled }

// Kind implements Payload.
func (*MemoryKept) Kind() Kind { return KindMemoryKept }

// Kind implements Payload.
func (*MemoryExtracted) Kind() Kind { return KindMemoryExtracted }

// ActorNamespace is the template of where everything about an actor stands, where
// nothing else is said.
const ActorNamespace = "/actors/{actorId}"
