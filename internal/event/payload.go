package event

import (
	"encoding/json"
	"time"
)

// Kind names what a record says.
type Kind string

// The kinds of records.
const (
	KindSessionCreated      Kind = "session.created"
	KindSessionUpdated      Kind = "session.updated"
	KindSessionDeleted      Kind = "session.deleted"
	KindSessionForked       Kind = "session.forked"
	KindTurnCreated         Kind = "turn.created"
	KindTurnCancelRequested Kind = "turn.cancel_requested"
	KindTurnEnded           Kind = "turn.ended"
	KindToolsListed         Kind = "tools.listed"
	KindEnvironmentChanged  Kind = "environment.changed"
	KindSnapshot            Kind = "environment.snapshot"
	KindEgress              Kind = "environment.egress"
	KindTokenRenewed        Kind = "environment.token_renewed"
	KindArtifactDeleted     Kind = "artifact.deleted"
	KindModelResponded      Kind = "model.responded"
	KindContextCompacted    Kind = "context.compacted"
	KindToolResult          Kind = "tool_result.submitted"
	KindMemoryRecalled      Kind = "memory.recalled"
	KindMemoryKept          Kind = "memory.kept"
	KindMemoryExtracted     Kind = "memory.extracted"
	KindEffectStarted       Kind = "effect.started"
	KindEffectFailed        Kind = "effect.failed"
	KindEffectFinished      Kind = "effect.finished"
	KindEffectUnknown       Kind = "effect.unknown"
	KindEffectResolved      Kind = "effect.resolved"
	// A person's consent to the use of a credential of theirs.
	KindConsentRequested Kind = "consent.requested"
	KindConsentResolved  Kind = "consent.resolved"
)

// Payload is what the data of one kind of record decodes to.
type Payload interface{ Kind() Kind }

// Input is part of every payload that a client's request wrote.
type Input struct {
	// Key is the request's Idempotency-Key and RequestHash the SHA-256 of what
	// it asked, so that a repeated request is known and a key that is used for
	// another request is refused.
	Key         string `json:"idempotency_key,omitempty"`
	RequestHash string `json:"request_hash,omitempty"`
	// By is the principal whose request it was; empty where nobody had to say.
	By string `json:"by,omitempty"`
	// TraceParent is where the request is in a trace, as W3C Trace Context writes it;
	// empty where nobody traces.
	TraceParent string `json:"traceparent,omitempty"`
}

// SessionCreated is the first record of every log.
type SessionCreated struct {
	Input
	Project     string            `json:"project"`
	Agent       Agent             `json:"agent"`
	Environment Environment       `json:"environment"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	SpendLimit  *int64            `json:"spend_limit,omitempty"` // USD cents; nil is unlimited
	VaultIDs    []string          `json:"vault_ids,omitempty"`
	Actor       string            `json:"actor,omitempty"` // whom the session is with
}

// SessionUpdated changes what is set in it.
type SessionUpdated struct {
	Input
	Agent      *Agent             `json:"agent,omitempty"`
	Metadata   *map[string]string `json:"metadata,omitempty"`
	SpendLimit *SpendLimit        `json:"spend_limit,omitempty"`
}

// SpendLimit sets (or, with a nil limit, removes) the limit in USD cents.
type SpendLimit struct {
	Limit *int64 `json:"limit"`
}

// SessionDeleted is the tombstone: the data of all the records before it is
// erased.
type SessionDeleted struct {
	Input
	Class  string `json:"class"`  // what was erased: "session"
	Reason string `json:"reason"` // why: "deleted by the client"
}

// SessionForked is the first record of a fork's own. The records before it are
// those of the session From, up to the one with the sequence number At. What was
// open there is left to that session: the fork neither makes nor awaits it.
type SessionForked struct {
	Input
	From          string            `json:"from"`
	At            int64             `json:"at"`
	EnvironmentID string            `json:"environment_id,omitempty"`
	TokenHash     Hash              `json:"token_hash,omitzero"` // of the token with which it connects
	Agent         *Agent            `json:"agent,omitempty"`     // in place of the one at that point
	Metadata      map[string]string `json:"metadata,omitempty"`
	SpendLimit    *SpendLimit       `json:"spend_limit,omitempty"`
}

// TurnCreated is an input of messages. The turn runs when those before it have
// ended.
type TurnCreated struct {
	Input
	TurnID string `json:"turn_id"`
	Items  []Item `json:"items"`
	Actor  string `json:"actor,omitempty"` // who speaks; empty is the session's actor
}

// TurnCancelRequested asks that the turn be ended.
type TurnCancelRequested struct {
	Input
	TurnID string `json:"turn_id"`
}

// TurnEnded closes a turn.
type TurnEnded struct {
	TurnID string     `json:"turn_id"`
	Status string     `json:"status"` // completed, failed, cancelled
	Error  *TurnError `json:"error,omitempty"`
}

// TurnError says why a turn failed. Code is one of the Agents API's turn error
// codes.
type TurnError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ToolSpec is one tool that a server or the environment offers.
type ToolSpec struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"` // JSON Schema of the arguments
	Class       Class           `json:"class,omitempty"`      // what the tool declares of itself
	// ItemType is the type of item that a call of this tool becomes: mcp_call,
	// or command_execution.
	ItemType string `json:"item_type,omitempty"`
}

// ToolsListed is what a server offered when the session asked it. It is in the
// log so that a model request is a function of the log.
type ToolsListed struct {
	EffectID    string     `json:"effect_id"`
	TurnID      string     `json:"turn_id"`
	ServerLabel string     `json:"server_label"`
	Tools       []ToolSpec `json:"tools,omitempty"`
	Error       string     `json:"error,omitempty"`
}

// EnvironmentChanged says how the session's environment is. Statuses are those
// of the Agents API: pending, ready, connected, disconnected, suspended,
// expired, failed.
type EnvironmentChanged struct {
	EffectID string `json:"effect_id,omitempty"`
	TurnID   string `json:"turn_id,omitempty"`
	Status   string `json:"status"`
	// Tools replaces what the environment offers, where it is set.
	Tools []ToolSpec `json:"tools,omitempty"`
	Error *TurnError `json:"error,omitempty"`
	// Epoch is the lease epoch of the process that has the environment open.
	Epoch int64 `json:"epoch,omitempty"`
	// Reset counts how often the environment was made anew because its processes
	// were lost; it is set where that happened.
	Reset int64 `json:"reset,omitempty"`
}

// Snapshot says what the environment's workspace holds: the tree of blobs with
// this name. It is written with the outcome of the call that changed something.
type Snapshot struct {
	Input
	EffectID string `json:"effect_id,omitempty"`
	TurnID   string `json:"turn_id,omitempty"`
	Root     Hash   `json:"root"` // zero is an empty workspace
	Files    int64  `json:"files"`
	Bytes    int64  `json:"bytes"`
	// Artifacts are the files below the artifacts folder that are new or changed.
	Artifacts []ArtifactFile `json:"artifacts,omitempty"`
	// Skipped names some of the files that cannot be kept: sockets, devices.
	Skipped []string `json:"skipped,omitempty"`
}

// Trees returns the trees of blobs that the payload names.
func Trees(p Payload) []Hash {
	var out []Hash
	add := func(h Hash) {
		if !h.IsZero() {
			out = append(out, h)
		}
	}
	switch p := p.(type) {
	case *Snapshot:
		add(p.Root)
	case *SessionCreated:
		add(p.Environment.Root)
		for i := range p.Environment.Files {
			add(p.Environment.Files[i].Tree)
		}
	}
	return out
}

// ArtifactsFolder is the folder of the workspace whose files are published as
// artifacts when a turn completes.
const ArtifactsFolder = "artifacts"

// ArtifactFile is a file that is to be published.
type ArtifactFile struct {
	Path string `json:"path"` // below the workspace
	Size int64  `json:"size"` // bytes
}

// Egress is what the environment's programs asked of the network while a call
// was made, or since the one before.
type Egress struct {
	EffectID string          `json:"effect_id,omitempty"`
	TurnID   string          `json:"turn_id,omitempty"`
	Requests []EgressRequest `json:"requests"`
	Dropped  int64           `json:"dropped,omitempty"` // requests that are not listed
}

// EgressRequest is one request, or one tunnel, to the network.
type EgressRequest struct {
	At         time.Time `json:"at"`
	Method     string    `json:"method"`
	Host       string    `json:"host"`
	Port       int       `json:"port"`
	Path       string    `json:"path,omitempty"` // of a request that the proxy reads; one within TLS has none
	Allowed    bool      `json:"allowed"`
	Reason     string    `json:"reason,omitempty"` // why it was refused
	Status     int       `json:"status,omitempty"`
	BytesUp    int64     `json:"bytes_up,omitempty"`
	BytesDown  int64     `json:"bytes_down,omitempty"`
	DurationMS int64     `json:"duration_ms,omitempty"`
}

// TokenRenewed gives a self-hosted environment a new token: the machine connects
// with it, and no more with the one before.
type TokenRenewed struct {
	Input
	TokenHash Hash `json:"token_hash"`
}

// ArtifactDeleted takes an artifact from the session.
type ArtifactDeleted struct {
	Input
	ArtifactID string `json:"artifact_id"`
}

// ModelResponded is the outcome of a model call.
type ModelResponded struct {
	EffectID    string `json:"effect_id"`
	TurnID      string `json:"turn_id"`
	Attempt     int    `json:"attempt,omitempty"`
	RequestHash string `json:"request_hash"`
	Model       string `json:"model"`                 // the model that answered, as provider/name
	ResponseID  string `json:"response_id,omitempty"` // the provider's
	Items       []Item `json:"items"`
	Usage       Usage  `json:"usage"`
	CostNanoUSD int64  `json:"cost_nano_usd,omitempty"`
	DurationMS  int64  `json:"duration_ms,omitempty"`
}

// ContextCompacted replaces the covered items, for the model, by a summary. The
// items stay in the log.
type ContextCompacted struct {
	EffectID    string `json:"effect_id"`
	TurnID      string `json:"turn_id"`
	Item        Item   `json:"item"` // type compaction; Covers has the item ids
	Model       string `json:"model"`
	Usage       Usage  `json:"usage"`
	CostNanoUSD int64  `json:"cost_nano_usd,omitempty"`
}

// ToolResult is the client's answer to a function call.
type ToolResult struct {
	Input
	TurnID string `json:"turn_id"`
	CallID string `json:"call_id"`
	Item   Item   `json:"item"` // function_call_output
}

// EffectKind says what an effect reaches.
type EffectKind string

// Kinds of effects.
const (
	EffectModel       EffectKind = "model"
	EffectCompaction  EffectKind = "compaction"
	EffectToolsList   EffectKind = "tools_list"
	EffectEnvironment EffectKind = "environment" // the setting up of it
	EffectSuspend     EffectKind = "suspend"     // the closing of an idle one
	EffectTool        EffectKind = "tool"
	EffectTimer       EffectKind = "timer"
	EffectClient      EffectKind = "client" // a function that the client runs
	EffectRecall      EffectKind = "recall" // what memory has for a turn
	// EffectKeep and EffectExtract fill memory. No turn waits for the latter, and
	// both are of the session and of no turn.
	EffectKeep    EffectKind = "keep"
	EffectExtract EffectKind = "extract"
)

// EffectStarted is the intention: it is durable before the effect starts.
type EffectStarted struct {
	EffectID string     `json:"effect_id"`
	What     EffectKind `json:"what"`
	TurnID   string     `json:"turn_id"`
	Class    Class      `json:"class"`
	Attempt  int        `json:"attempt"`
	// Epoch is the lease epoch of the process that started the effect. A process
	// with another epoch knows by it that the effect was interrupted.
	Epoch int64 `json:"epoch"`
	// ReservedNanoUSD is the most that a model call may cost. It is what counts
	// as spent if the call's outcome was lost.
	ReservedNanoUSD int64 `json:"reserved_nano_usd,omitempty"`
	// WakeAt is when a timer fires.
	WakeAt *time.Time `json:"wake_at,omitempty"`
}

// EffectFailed is an attempt that failed and certainly left nothing behind, or
// may be repeated. The effect is tried again at RetryAt, and is over where
// RetryAt is nil.
type EffectFailed struct {
	EffectID string     `json:"effect_id"`
	What     EffectKind `json:"what"`
	TurnID   string     `json:"turn_id"`
	Attempt  int        `json:"attempt"`
	Code     string     `json:"code"`
	Message  string     `json:"message"`
	RetryAt  *time.Time `json:"retry_at,omitempty"`
	// Usage and CostNanoUSD are of a model's answer that could not be made use of.
	Usage       Usage `json:"usage,omitzero"`
	CostNanoUSD int64 `json:"cost_nano_usd,omitempty"`
	// Uncertain is set where this attempt, or one before it of which nothing else
	// is known, may have reached the tool, so that a reconcilable effect is looked
	// up before it is started again.
	Uncertain bool `json:"uncertain,omitempty"`
}

// EffectFinished is the outcome of a tool call.
type EffectFinished struct {
	EffectID   string          `json:"effect_id"`
	TurnID     string          `json:"turn_id"`
	Status     string          `json:"status"` // completed, failed
	Output     json.RawMessage `json:"output,omitempty"`
	Error      string          `json:"error,omitempty"`
	ExitCode   *int            `json:"exit_code,omitempty"`
	DurationMS int64           `json:"duration_ms,omitempty"`
	// Reconciled is set where the outcome was found by the effect's lookup.
	Reconciled bool `json:"reconciled,omitempty"`
	// Foreign is set where memory's output has memories that rest on the words of
	// tools or of other people. The output of another tool always counts as such.
	Foreign bool `json:"foreign,omitempty"`
}

// EffectUnknown says that nobody knows whether the effect took place.
type EffectUnknown struct {
	EffectID string `json:"effect_id"`
	TurnID   string `json:"turn_id"`
	Reason   string `json:"reason"`
}

// Decisions of a person about an effect.
const (
	DecisionApprove   = "approve"   // start it (it waits for approval)
	DecisionDeny      = "deny"      // do not start it
	DecisionCompleted = "completed" // it took place, with this output
	DecisionFailed    = "failed"    // it did not take place; the model is told so
	DecisionRetry     = "retry"     // it did not take place; start it again
)

// EffectResolved is a person's decision about an effect that waits for one.
type EffectResolved struct {
	Input
	EffectID string          `json:"effect_id"`
	TurnID   string          `json:"turn_id"`
	Decision string          `json:"decision"`
	Output   json.RawMessage `json:"output,omitempty"`
	Reason   string          `json:"reason,omitempty"`
}

// ConsentRequested says that an effect goes on when a person has let the runtime
// use a server in their name. It has nothing that is secret; Nonce is what makes
// the link to the consent page one that nobody guesses.
type ConsentRequested struct {
	EffectID    string     `json:"effect_id"`
	What        EffectKind `json:"what"`
	TurnID      string     `json:"turn_id"`
	Attempt     int        `json:"attempt"`
	ServerLabel string     `json:"server_label"`
	ServerURL   string     `json:"server_url"`
	Actor       string     `json:"actor,omitempty"` // whose consent is asked for
	Nonce       string     `json:"nonce"`
	// Metadata is the URL at which the server describes how it is protected (RFC
	// 9728), and Scope what it asked for; both are empty where it did not say.
	Metadata string `json:"metadata,omitempty"`
	Scope    string `json:"scope,omitempty"`
	// Uncertain is as in EffectFailed.
	Uncertain bool `json:"uncertain,omitempty"`
}

// ConsentResolved is a person's answer to a ConsentRequested.
type ConsentResolved struct {
	Input
	EffectID string `json:"effect_id"`
	TurnID   string `json:"turn_id"`
	Granted  bool   `json:"granted"`
	Reason   string `json:"reason,omitempty"` // why not
	// VaultID and CredentialID name the credential that was stored.
	VaultID      string `json:"vault_id,omitempty"`
	CredentialID string `json:"credential_id,omitempty"`
}

func (*SessionCreated) Kind() Kind      { return KindSessionCreated }
func (*SessionUpdated) Kind() Kind      { return KindSessionUpdated }
func (*SessionDeleted) Kind() Kind      { return KindSessionDeleted }
func (*SessionForked) Kind() Kind       { return KindSessionForked }
func (*TurnCreated) Kind() Kind         { return KindTurnCreated }
func (*TurnCancelRequested) Kind() Kind { return KindTurnCancelRequested }
func (*TurnEnded) Kind() Kind           { return KindTurnEnded }
func (*ToolsListed) Kind() Kind         { return KindToolsListed }
func (*EnvironmentChanged) Kind() Kind  { return KindEnvironmentChanged }
func (*Snapshot) Kind() Kind            { return KindSnapshot }
func (*Egress) Kind() Kind              { return KindEgress }
func (*TokenRenewed) Kind() Kind        { return KindTokenRenewed }
func (*ArtifactDeleted) Kind() Kind     { return KindArtifactDeleted }
func (*ModelResponded) Kind() Kind      { return KindModelResponded }
func (*ContextCompacted) Kind() Kind    { return KindContextCompacted }
func (*ToolResult) Kind() Kind          { return KindToolResult }
func (*EffectStarted) Kind() Kind       { return KindEffectStarted }
func (*EffectFailed) Kind() Kind        { return KindEffectFailed }
func (*EffectFinished) Kind() Kind      { return KindEffectFinished }
func (*EffectUnknown) Kind() Kind       { return KindEffectUnknown }
func (*EffectResolved) Kind() Kind      { return KindEffectResolved }
func (*ConsentRequested) Kind() Kind    { return KindConsentRequested }
func (*ConsentResolved) Kind() Kind     { return KindConsentResolved }
