package agents

import (
	"encoding/json"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/session"
)

// view is what a client is shown beside the state.
type view struct {
	base  string // the URL of the server, without a path
	token string // of the environment, for who has just made it
	// consent is the URL at which a person answers for an effect.
	consent func(project, session, effectID, nonce string) string
}

// view is what the caller is shown: the URL at which a person answers only where
// they may change something.
func (a *api) view(c *httpapi.Call) view {
	v := view{base: c.Base(), consent: a.ConsentURL}
	if !c.Principal.Scope.Includes(identity.Write) {
		v.consent = func(string, string, string, string) string { return "" }
	}
	return v
}

func (v view) withoutToken() view {
	v.token = ""
	return v
}

// renderSession is the session as clients see it. It keeps nothing of the state.
func renderSession(s *session.State, v view) sessionObject {
	o := sessionObject{
		ID: s.ID, Object: "agent.session", CreatedAt: s.CreatedAt.Unix(), LastActiveAt: s.LastActiveAt.Unix(),
		Agent: sessionAgent{
			ID: s.Agent.ID, Name: s.Agent.Name, Model: s.Agent.Model, Instructions: s.Agent.Instructions, AgentParts: renderParts(&s.Agent),
		},
		Environment: renderEnvironment(&s.Environment, v), Metadata: orEmpty(s.Metadata), RequiredActions: []any{},
		Status: s.Status(), Usage: renderUsage(s.Usage), VaultIDs: s.VaultIDs, Actor: s.Actor,
	}
	if o.VaultIDs == nil {
		o.VaultIDs = []string{}
	}
	if s.SpendLimit != nil {
		o.SpendControl = &spendObject{Consumed: s.SpentCents(), Limit: *s.SpendLimit}
	}
	for _, e := range s.RequiredActions() {
		o.RequiredActions = append(o.RequiredActions, renderAction(s, e, v))
	}
	if s.NeedsConnection() {
		o.RequiredActions = append(o.RequiredActions, connectionAction{Type: "environment_connection", EnvironmentID: s.Environment.ID})
	}
	if f := s.Forked; f != nil {
		o.ForkedFrom = &forkedFrom{SessionID: f.From, Record: f.At}
	}
	return o
}

// Types of required actions that are Stayd's.
const (
	actionApproval = "effect_approval"
	actionOutcome  = "effect_outcome"
	actionConsent  = "consent"
)

func renderAction(s *session.State, e *session.Effect, v view) any {
	args := json.RawMessage("{}")
	if en, ok := s.Item(e.ItemID); ok {
		args = renderArguments(en.Item)
	}
	if e.Kind == event.EffectClient {
		return callAction{Type: event.ItemFunctionCall, Arguments: args, CallID: e.CallID, Name: e.Name, TurnID: e.TurnID}
	}
	if ask := e.Consent; ask != nil && e.Status == session.EffectConsent {
		return consentAction{
			Type: actionConsent, EffectID: e.ID, TurnID: e.TurnID, ServerLabel: ask.ServerLabel, ServerURL: ask.ServerURL,
			Scope: orNull(ask.Scope), Actor: orNull(ask.Actor), URL: v.consent(s.Project, s.ID, e.ID, ask.Nonce),
		}
	}
	action := effectAction{
		Type: actionApproval, EffectID: e.ID, TurnID: e.TurnID, Name: e.Name, ServerLabel: e.Server, Arguments: args, Reason: orNull(e.Message),
	}
	if e.Status == session.EffectUnknown {
		action.Type = actionOutcome
	}
	return action
}

func renderParts(a *event.Agent) AgentParts {
	p := AgentParts{
		Reasoning:   reasoningObject{Effort: orNull(a.Reasoning.Effort), Summary: orNull(a.Reasoning.Summary)},
		ServiceTier: a.ServiceTier, Text: textObject{Format: typeOnly{Type: formatPlain}, Verbosity: a.Text.Verbosity},
		Tools:        make([]toolObject, len(a.Tools)),
		Compaction:   compactionObject{Async: a.Compaction.Async, Threshold: a.Compaction.Threshold},
		Experimental: experimentalObject{TimeAwareness: a.Experimental.TimeAwareness}, Memory: a.Memory,
	}
	if a.Text.Format == formatJSON {
		p.Text.Format = formatBody{Type: formatJSON, JSON: a.Text.Schema}
	}
	if l := a.Limits; l != nil {
		p.Limits = &limitsBody{MaxSteps: l.MaxSteps, MaxTokens: l.MaxTokens, MaxSeconds: l.MaxSeconds}
	}
	for i := range a.Tools {
		p.Tools[i] = renderTool(&a.Tools[i])
	}
	return p
}

func renderTool(t *event.Tool) toolObject {
	switch t.Type {
	case event.ToolFunction:
		return functionObject{Type: t.Type, Name: t.Name, Description: t.Description, Parameters: t.Parameters}
	case event.ToolMCP:
		o := mcpObject{
			Type: t.Type, ServerLabel: t.ServerLabel, Transport: renderTransport(t.Transport), AllowedTools: t.AllowedTools,
			ConnectionOrigin: "service", RequestMetadata: t.RequestMetadata, Required: t.Required, Effects: renderEffects(t.Effects),
			CredentialID: orNull(t.CredentialID),
		}
		if t.Identity != nil {
			o.Identity = &identityBody{Audience: t.Identity.Audience, Scope: t.Identity.Scope}
		}
		return o
	}
	return typeOnly{Type: t.Type}
}

func renderTransport(t *event.Transport) any {
	switch {
	case t == nil:
		return nil
	case t.Type == transportStdio:
		return stdioObject{Type: t.Type, Command: t.Command, Args: orNone(t.Args), Cwd: t.Cwd, EnvVars: orNone(t.EnvVars)}
	}
	return httpObject{Type: t.Type, ServerURL: t.ServerURL, Headers: orEmpty(t.Headers)}
}

func renderUsage(u event.Usage) usageObject {
	return usageObject{
		InputTokens: u.InputTokens, InputTokensDetails: inputDetails{CachedTokens: u.CachedTokens},
		OutputTokens: u.OutputTokens, OutputTokensDetails: outputDetails{ReasoningTokens: u.ReasoningTokens},
		TotalTokens: u.Total(),
	}
}

func renderTurn(s *session.State, t *session.Turn) turnObject {
	o := turnObject{
		ID: t.ID, Object: "agent.session.turn", AgentID: s.Agent.ID, SessionID: s.ID, Status: t.Status,
		CreatedAt: t.CreatedAt.Unix(), StartedAt: unix(t.StartedAt), CompletedAt: unix(t.CompletedAt), Usage: renderUsage(t.Usage),
	}
	if t.Error != nil {
		o.Error = &errorObject{Code: t.Error.Code, Message: t.Error.Message}
	}
	return o
}

func renderItem(it *event.Item) itemObject {
	switch it.Type {
	case event.ItemMessage:
		return messageItem{
			Type: it.Type, ID: it.ID, TurnID: it.TurnID, Role: it.Role, Phase: orNull(it.Phase), Status: it.Status, Content: renderContent(it.Content),
			MemoryIDs: it.MemoryIDs, Actor: it.Actor,
		}
	case event.ItemReasoning:
		return reasoningItem{Type: it.Type, ID: it.ID, TurnID: it.TurnID, Status: it.Status, Summary: renderTexts(it.Summary)}
	case event.ItemFunctionCall:
		return functionCallItem{
			Type: it.Type, ID: it.ID, TurnID: it.TurnID, CallID: it.CallID, Name: it.Name, Arguments: renderArguments(it), Status: it.Status,
		}
	case event.ItemFunctionCallOutput:
		return functionOutputItem{
			Type: it.Type, ID: it.ID, TurnID: it.TurnID, CallID: it.CallID, Output: it.Output, Error: orNull(it.Error), Status: it.Status,
		}
	case event.ItemMCPCall:
		return mcpCallItem{
			Type: it.Type, ID: it.ID, TurnID: it.TurnID, ServerLabel: it.ServerLabel, Name: it.Name, Arguments: renderArguments(it),
			Output: it.Output, Error: orNull(it.Error), Status: it.Status,
		}
	case event.ItemCommandExecution:
		return renderCommand(it)
	case event.ItemCompaction:
		return compactionItem{
			Type: it.Type, ID: it.ID, TurnID: it.TurnID, Status: it.Status, Content: renderTexts(it.Content), Covers: orNone(it.Covers),
		}
	}
	return typeOnly{Type: it.Type}
}

// renderCommand shows a command. What went wrong with one that has no output is
// told in its output, since the API has no other place for it.
func renderCommand(it *event.Item) commandItem {
	c := commandItem{
		Type: it.Type, ID: it.ID, TurnID: it.TurnID, Command: it.Command, Cwd: it.Cwd, ExitCode: it.ExitCode, Status: it.Status,
	}
	if it.Status == event.StatusInProgress {
		return c
	}
	c.DurationMS = &it.DurationMS
	text := event.OutputText(it.Output)
	if len(it.Output) == 0 || (text == "" && it.Error != "") {
		text = it.Error
	}
	c.Output = &text
	return c
}

func renderArguments(it *event.Item) json.RawMessage {
	if len(it.Arguments) == 0 {
		return json.RawMessage("{}")
	}
	return it.Arguments
}

func renderContent(in []event.Content) []any {
	out := make([]any, len(in))
	for i, c := range in {
		if c.Type == event.PartInputImage {
			out[i] = imageContent{Type: c.Type, ImageURL: c.ImageURL}
		} else {
			out[i] = textContent{Type: c.Type, Text: c.Text}
		}
	}
	return out
}

func renderTexts(in []event.Content) []textContent {
	out := make([]textContent, len(in))
	for i, c := range in {
		out[i] = textContent{Type: c.Type, Text: c.Text}
	}
	return out
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orNone(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
