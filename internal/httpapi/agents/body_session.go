package agents

// createAgent is the body of a new saved agent, updateAgent that of a change.
type createAgent struct {
	AgentSettings
	Name     opt[string]            `json:"name,omitzero"`
	Metadata opt[map[string]string] `json:"metadata,omitzero"`
}

type updateAgent struct {
	AgentSettings
	Name     opt[string]            `json:"name,omitzero"`
	Metadata opt[map[string]string] `json:"metadata,omitzero"`
}

type createSession struct {
	Environment  environmentBody        `json:"environment"`
	AgentID      string                 `json:"agent_id,omitzero"`
	Agent        opt[AgentSettings]     `json:"agent,omitzero"`
	Input        inputBody              `json:"input,omitzero"`
	Metadata     opt[map[string]string] `json:"metadata,omitzero"`
	SpendControl opt[spendBody]         `json:"spend_control,omitzero"`
	VaultIDs     []string               `json:"vault_ids,omitzero" maxItems:"10"`
	Actor        string                 `json:"actor,omitzero" doc:"Whom the session is with: their memories are recalled and written, and their credentials used. An addition of Stayd's."`
	Review       string                 `json:"review,omitzero" enum:"none,auto_review"`
	Stream       bool                   `json:"stream,omitzero"`
	// StreamOptions asks for padding in events, which this server never adds.
	StreamOptions *streamOptions `json:"stream_options,omitzero"`
}

type updateSession struct {
	Agent        opt[AgentSettings]     `json:"agent,omitzero"`
	Metadata     opt[map[string]string] `json:"metadata,omitzero"`
	SpendControl opt[spendBody]         `json:"spend_control,omitzero"`
	Review       string                 `json:"review,omitzero" enum:"none,auto_review"`
}

type spendBody struct {
	Limit opt[int64] `json:"limit" required:"true" minimum:"1" doc:"USD cents, or null for no limit."`
}

// streamOptions are taken and have no effect: events bear no obfuscation padding.
type streamOptions struct {
	IncludeObfuscation bool `json:"include_obfuscation,omitzero"`
}
