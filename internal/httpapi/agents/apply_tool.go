package agents

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
)

// unservedTools are types of tools of the API that are not served, and why.
var unservedTools = map[string]string{
	"web_search":     "Web search is not served yet. Give the agent an MCP server that searches.",
	"computer_use":   "Computer use is not served yet.",
	"automations":    "Automations are not served yet. The timer tool lets an agent wait for a time.",
	"tool_search":    "Tool search is not served yet. All tools are shown to the model.",
	programmaticTool: "Calling tools from code is not served yet. Leave this tool out, or set enabled to false.",
}

const programmaticTool = "programmatic_tool_calling"

// tool makes one tool of the agent, or none where it says that it is not wanted.
func (a *api) tool(b *toolBody, path string) (*event.Tool, error) {
	if b.Type == programmaticTool && b.Enabled != nil && !*b.Enabled {
		return nil, nil
	}
	if why, unserved := unservedTools[b.Type]; unserved {
		return nil, httpapi.Unsupported(path+".type", why)
	}
	switch b.Type {
	case event.ToolTimer:
		return &event.Tool{Type: event.ToolTimer}, nil
	case event.ToolFunction:
		return functionOf(b, path)
	}
	return a.mcp(b, path)
}

func functionOf(b *toolBody, path string) (*event.Tool, error) {
	if b.DeferLoading {
		return nil, httpapi.Unsupported(path+".defer_loading", "Deferred loading is not served yet. Leave it out, or set it to false.")
	}
	if !httpapi.ValidName(b.Name) {
		return nil, httpapi.Invalid(path+".name", fmt.Sprintf("Invalid '%s.name': a function is named by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.", path))
	}
	return &event.Tool{Type: event.ToolFunction, Name: b.Name, Description: b.Description, Parameters: compact(b.Parameters)}, nil
}

func (a *api) mcp(b *toolBody, path string) (*event.Tool, error) {
	switch {
	case !httpapi.ValidName(b.ServerLabel):
		return nil, httpapi.Invalid(path+".server_label", fmt.Sprintf("Invalid '%s.server_label': a server is labelled by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.", path))
	case b.ServerLabel == event.EnvironmentLabel, b.ServerLabel == event.MemoryLabel, b.ServerLabel == session.TimerLabel:
		return nil, httpapi.Invalid(path+".server_label", fmt.Sprintf("The label '%s' is taken by the runtime's own tools. Choose another.", b.ServerLabel))
	case b.CredentialID != "" && b.Transport.Type == transportStdio:
		return nil, httpapi.Invalid(path+".credential_id", "A credential is shown over HTTP, and not to a process. Leave credential_id out.")
	case b.Identity != nil && b.Transport.Type == transportStdio:
		return nil, httpapi.Invalid(path+".identity", "A token is shown over HTTP, and not to a process. Leave identity out.")
	case b.Identity != nil && b.CredentialID != "":
		return nil, httpapi.Invalid(path+".identity", "A server is shown a credential or a token of the agent's. Leave identity or credential_id out.")
	case b.ConnectionOrigin == "environment":
		return nil, httpapi.Unsupported(path+".connection_origin", "MCP servers are reached from the runtime itself. Leave connection_origin out, or set it to service.")
	}
	transport, err := a.transport(&b.Transport, path+".transport")
	if err != nil {
		return nil, err
	}
	tool := &event.Tool{
		Type: event.ToolMCP, ServerLabel: b.ServerLabel, Transport: transport, AllowedTools: b.AllowedTools,
		Required: b.Required, RequestMetadata: compact(b.RequestMetadata), CredentialID: b.CredentialID,
	}
	if b.Identity != nil {
		if tool.Identity, err = b.Identity.identity(path + ".identity"); err != nil {
			return nil, err
		}
	}
	tool.Effects, err = effects(b.Effects, path+".effects")
	return tool, err
}

// identity is what the token says that a server is shown.
func (b *identityBody) identity(path string) (*event.Identity, error) {
	if strings.ContainsFunc(b.Audience, unprintable) {
		return nil, httpapi.Invalid(path+".audience", "An audience has no spaces and no control characters.")
	}
	for i, scope := range b.Scope {
		if scope == "" || strings.ContainsFunc(scope, unprintable) || strings.ContainsAny(scope, `"\\`) {
			return nil, httpapi.Invalid(fmt.Sprintf("%s.scope[%d]", path, i), "A scope is made of printable ASCII characters without spaces, quotes and backslashes (RFC 6749 section 3.3).")
		}
	}
	return &event.Identity{Audience: b.Audience, Scope: b.Scope}, nil
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// effects makes the policies of the tools of a server.
func effects(in map[string]effectBody, path string) (map[string]event.EffectPolicy, error) {
	var out map[string]event.EffectPolicy
	for _, name := range slices.Sorted(maps.Keys(in)) {
		e := in[name]
		if out == nil {
			out = map[string]event.EffectPolicy{}
		}
		if e.Class == string(event.Reconcilable) && e.Lookup == "" {
			return nil, httpapi.Invalid(path+"."+name+".lookup", "A reconcilable tool needs a lookup: the name of the server's tool that says what became of an effect id.")
		}
		if e.Approval == "never" {
			e.Approval = ""
		}
		out[name] = event.EffectPolicy{
			Class: event.Class(e.Class), Lookup: e.Lookup, OnUnknown: e.OnUnknown, Approval: e.Approval, TimeoutSeconds: e.TimeoutSeconds,
		}
	}
	return out, nil
}

func (a *api) transport(b *transportBody, path string) (*event.Transport, error) {
	if b.Type == transportStdio {
		if b.Command == "" {
			return nil, httpapi.Invalid(path+".command", "Name the command that starts the MCP server.")
		}
		if !a.AllowStdio(b.Command) {
			return nil, httpapi.Unsupported(path+".command",
				fmt.Sprintf("This server does not start '%s' as an MCP server. Its operator can allow it with --allow-stdio-mcp.", b.Command))
		}
		for _, name := range slices.Sorted(maps.Keys(b.Env)) {
			if secretName(name) {
				return nil, httpapi.Unsupported(path+".env."+name, secretMessage("the variable "+name)+" Set it where the server runs, and name it in env_vars.")
			}
		}
		return &event.Transport{Type: transportStdio, Command: b.Command, Args: b.Args, Cwd: b.Cwd, Env: b.Env, EnvVars: b.EnvVars}, nil
	}
	u, err := url.Parse(b.ServerURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, httpapi.Invalid(path+".server_url", fmt.Sprintf("Invalid '%s.server_url': expected a URL that begins with https:// or http://.", path))
	}
	if u.User != nil {
		return nil, httpapi.Unsupported(path+".server_url", secretMessage("a URL with a password"))
	}
	if b.Authorization != "" {
		return nil, httpapi.Unsupported(path+".authorization", secretMessage("authorization")+" Put it into a vault, and name the vault in vault_ids.")
	}
	for _, name := range slices.Sorted(maps.Keys(b.Headers)) {
		if secretName(name) {
			return nil, httpapi.Unsupported(path+".headers."+name, secretMessage("the header "+name))
		}
	}
	return &event.Transport{Type: transportHTTP, ServerURL: b.ServerURL, Headers: b.Headers}, nil
}

func secretMessage(what string) string {
	return "Credentials do not belong in the session log, so " + what + " is not taken here."
}

// secretWords are what the names of secrets are made of, keyWords what makes a
// key one.
var (
	secretWords = []string{"auth", "authorization", "cookie", "cookies", "token", "secret", "password", "passwd", "credential", "credentials", "signature"}
	keyWords    = []string{"api", "access", "private", "secret", "auth"}
)

// secretName reports whether a header or a variable looks as if its value were a
// secret.
func secretName(name string) bool {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	for i, word := range words {
		if slices.Contains(secretWords, word) || strings.Contains(word, "apikey") {
			return true
		}
		if word == "key" && i > 0 && slices.Contains(keyWords, words[i-1]) {
			return true
		}
	}
	return false
}
