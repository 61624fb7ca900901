package agents_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/store"
)

// envelope is an error as it is on the wire.
func envelope(message, param, code string) string {
	quote := func(s string) string {
		if s == "" {
			return "null"
		}
		return `"` + s + `"`
	}
	return fmt.Sprintf(`{"error":{"message":"%s","type":"%s","param":%s,"code":%s}}`, message, invalid, quote(param), quote(code))
}

const invalid = "invalid_request_error"

// TestRefusedBodies has bodies that are not taken, each with the answer it gets.
func TestRefusedBodies(t *testing.T) {
	const (
		agentsPath   = "/v1/agents"
		sessionsPath = "/v1/agents/sessions"
	)
	session := func(fields string) string {
		return `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"` + fields + `}}`
	}
	environment := func(fields string) string {
		return `{"environment":{"type":"openai_hosted",` + fields + `},"agent":{"model":"test/m"}}`
	}
	mcp := func(transport, fields string) string {
		return session(`,"tools":[{"type":"mcp","server_label":"files","transport":` + transport + fields + `}]`)
	}
	const web = `{"type":"http","server_url":"https://example.com"}`
	secret := func(what string) string {
		return "Credentials do not belong in the session log, so " + what + " is not taken here."
	}
	tests := []struct {
		name, path, body     string
		message, param, code string
	}{
		{"no JSON", agentsPath, `{"model":`, "The request body cannot be read as JSON: it ends too soon.", "", "invalid_json"},
		{"more than JSON", agentsPath, `{"model":"test/m"} x`, "The request body cannot be read as JSON: something follows the JSON value.", "", "invalid_json"},
		{"bad UTF-8", agentsPath, "{\"model\":\"\xff\"}", "The request body cannot be read as JSON: it is not valid UTF-8.", "", "invalid_json"},
		{"not an object", agentsPath, `[]`, "Invalid request body: expected an object, but got an array instead.", "", "invalid_type"},
		{"twice", sessionsPath, `{"environment":{"type":"none","type":"none"}}`, "The parameter 'environment.type' is given twice.", "environment.type", "invalid_json"},
		{"deep", agentsPath, `{"model":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, "The request body cannot be read as JSON: it nests deeper than 128 levels.", "", "invalid_json"},
		{"unknown", agentsPath, `{"model":"test/m","foo":1}`, "Unknown parameter: 'foo'.", "foo", "unknown_parameter"},
		{"other case", agentsPath, `{"Model":"test/m"}`, "Unknown parameter: 'Model'.", "Model", "unknown_parameter"},
		{"unknown within", sessionsPath, session(`,"tools":[{"type":"function","name":"f","description":"","parameters":{},"foo":1}]`), "Unknown parameter: 'agent.tools[0].foo'.", "agent.tools[0].foo", "unknown_parameter"},
		{"missing", agentsPath, `{}`, "Missing required parameter: 'model'.", "model", "missing_required_parameter"},
		{"missing within", sessionsPath, session(`,"tools":[{"type":"function","name":"f"}]`), "Missing required parameter: 'agent.tools[0].description'.", "agent.tools[0].description", "missing_required_parameter"},
		{"wrong type", agentsPath, `{"model":5}`, "Invalid type for 'model': expected a string, but got an integer instead.", "model", "invalid_type"},
		{"fraction", agentsPath, `{"model":"test/m","limits":{"max_steps":1.5}}`, "Invalid type for 'limits.max_steps': expected an integer, but got a number instead.", "limits.max_steps", "invalid_type"},
		{"too small", agentsPath, `{"model":"test/m","limits":{"max_steps":0}}`, "Invalid 'limits.max_steps': expected a number of at least 1, but got 0.", "limits.max_steps", "invalid_value"},
		{"not one of", agentsPath, `{"model":"test/m","reasoning":{"effort":"huge"}}`, "Invalid value: 'huge'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'.", "reasoning.effort", "invalid_value"},
		{"model", sessionsPath, `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"other"}}`, "there is no model 'other'", "agent.model", "invalid_value"},
		{"null model", agentsPath, `{"model":null}`, "Name a model. It cannot be empty or null.", "model", "invalid_value"},
		{"no agent", sessionsPath, `{"environment":{"type":"none"},"input":"Hi"}`, "Missing required parameter: 'agent'. It is required without 'agent_id'.", "agent", "missing_required_parameter"},
		{"no model", sessionsPath, `{"environment":{"type":"none"},"input":"Hi","agent":{}}`, "Missing required parameter: 'agent.model'. It is required without 'agent_id'.", "agent.model", "missing_required_parameter"},
		{"no environment", sessionsPath, `{"input":"Hi","agent":{"model":"test/m"}}`, "Missing required parameter: 'environment'.", "environment", "missing_required_parameter"},
		{"no environment type", sessionsPath, `{"environment":{},"input":"Hi"}`, "Missing required parameter: 'environment.type'.", "environment.type", "missing_required_parameter"},
		{"environment type", sessionsPath, `{"environment":{"type":"cloud"},"input":"Hi"}`, "Invalid value: 'cloud'. Supported values are: 'none', 'openai_hosted', 'self_hosted'.", "environment.type", "invalid_value"},
		{"no input", sessionsPath, `{"environment":{"type":"none"},"agent":{"model":"test/m"}}`, "Missing required parameter: 'input'. It is required when environment.type is 'none'.", "input", "missing_required_parameter"},
		{"no input to stream", sessionsPath, `{"environment":{"type":"openai_hosted"},"agent":{"model":"test/m"},"stream":true}`, "Missing required parameter: 'input'. It is required when stream is true.", "input", "missing_required_parameter"},
		{"input type", sessionsPath, `{"environment":{"type":"none"},"input":5}`, "Invalid type for 'input': expected a string or an array, but got an integer instead.", "input", "invalid_type"},
		{"empty input", sessionsPath, `{"environment":{"type":"none"},"input":[],"agent":{"model":"test/m"}}`, "Give at least one message.", "input", "invalid_value"},
		{"image by id", sessionsPath, `{"environment":{"type":"none"},"input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}],"agent":{"model":"test/m"}}`, "Images by file id are not served yet. Give a URL or a data URL in image_url.", "input[0].content[0].file_id", "unsupported_parameter"},
		{"image URL", sessionsPath, `{"environment":{"type":"none"},"input":[{"role":"user","content":[{"type":"input_image","image_url":"ftp://x"}]}],"agent":{"model":"test/m"}}`, "Invalid 'input[0].content[0].image_url': expected an https:// or http:// URL, or a data URL of an image in base64.", "input[0].content[0].image_url", "invalid_value"},
		{"vaults", sessionsPath, `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"},"vault_ids":["v"]}`, "No vault found with id 'v'.", "vault_ids[0]", "invalid_value"},
		{"review", sessionsPath, `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"},"review":"auto_review"}`, "Automatic review is not served yet. Leave review out, and let tools ask for approval by their effects.", "review", "unsupported_parameter"},
		{"spend limit", sessionsPath, `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"},"spend_control":{"limit":0}}`, "Invalid 'spend_control.limit': expected a number of at least 1, but got 0.", "spend_control.limit", "invalid_value"},
		{"no spend limit", sessionsPath, `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"},"spend_control":{}}`, "Missing required parameter: 'spend_control.limit'.", "spend_control.limit", "missing_required_parameter"},

		{"self-hosted folder", sessionsPath, `{"environment":{"type":"self_hosted","workspace_directory":"w/../x"},"agent":{"model":"test/m"}}`, "Invalid 'environment.workspace_directory': expected the absolute path of a folder, like /home/me/project.", "environment.workspace_directory", "invalid_value"},
		{"self-hosted without folder", sessionsPath, `{"environment":{"type":"self_hosted"},"agent":{"model":"test/m"}}`, "Missing required parameter: 'environment.workspace_directory'.", "environment.workspace_directory", "missing_required_parameter"},
		{"self-hosted with network", sessionsPath, `{"environment":{"type":"self_hosted","workspace_directory":"/w","network":{"access":"disabled"}},"agent":{"model":"test/m"}}`, "Unknown parameter: 'environment.network'.", "environment.network", "unknown_parameter"},
		{"self-hosted capabilities", sessionsPath, `{"environment":{"type":"self_hosted","workspace_directory":"/w","capability_directories":["/c"]},"agent":{"model":"test/m"}}`, "Capability directories are not served. Name the folder in the agent's instructions, and leave capability_directories out.", "environment.capability_directories", "unsupported_parameter"},
		{"template", sessionsPath, environment(`"environment_template_id":"t"`), "No environment template found with id 't'.", "environment.environment_template_id", "invalid_value"},
		{"prewarmed", sessionsPath, environment(`"environment_id":"e"`), "No environment found with id 'e'.", "environment.environment_id", "invalid_value"},
		{"prewarmed and more", sessionsPath, environment(`"environment_id":"e","sandbox":"js"`), "A prepared environment is taken as it is. Leave the other fields of environment out.", "environment.environment_id", "invalid_value"},
		{"prewarmed and a template", sessionsPath, environment(`"environment_id":"e","environment_template_id":"t"`), "A prepared environment is taken as it is. Leave the other fields of environment out.", "environment.environment_id", "invalid_value"},
		{"packages", sessionsPath, environment(`"packages":{"npm":["left-pad"]}`), "Packages are not installed by name. Install them by setup_commands, and leave packages out.", "environment.packages", "unsupported_parameter"},
		{"plugins", sessionsPath, environment(`"plugins":[{}]`), "Plugins are not served. Put what they need into the environment by files and setup_commands, and leave plugins out.", "environment.plugins", "unsupported_parameter"},
		{"skills", sessionsPath, environment(`"skills":[{}]`), "Skills are not served. Put their files into the environment by files, name them in the agent's instructions, and leave skills out.", "environment.skills", "unsupported_parameter"},
		{"setup", sessionsPath, environment(`"setup_commands":[{"command":"ls"}]`), "The js sandbox has no shell that could run commands. Choose the bubblewrap or the gvisor sandbox, or leave setup_commands out.", "environment.setup_commands", "unsupported_parameter"},
		{"empty setup command", sessionsPath, environment(`"sandbox":"gvisor","setup_commands":[{"command":""}]`), "Invalid 'environment.setup_commands[0].command': expected at least 1 characters, but got 0.", "environment.setup_commands[0].command", "invalid_value"},
		{"setup folder", sessionsPath, environment(`"sandbox":"gvisor","setup_commands":[{"command":"ls"},{"command":"ls","cwd":"src"}]`), "Invalid 'environment.setup_commands[1].cwd': expected the absolute path of a folder, like /workspace.", "environment.setup_commands[1].cwd", "invalid_value"},
		{"container size", sessionsPath, environment(`"container_size":"large"`), "Container sizes are not served: the sandbox has the limits that the server's operator set. Leave container_size out.", "environment.container_size", "unsupported_parameter"},
		{"idle timeout", sessionsPath, environment(`"idle_timeout_seconds":9`), "Invalid 'environment.idle_timeout_seconds': expected a number of at least 10, but got 9.", "environment.idle_timeout_seconds", "invalid_value"},
		{"long idle timeout", sessionsPath, environment(`"idle_timeout_seconds":86401`), "Invalid 'environment.idle_timeout_seconds': expected a number of at most 86400, but got 86401.", "environment.idle_timeout_seconds", "invalid_value"},
		{"effects of the environment", sessionsPath, environment(`"effects":{"run_command":{"class":"reconcilable"}}`), "A reconcilable tool needs a lookup: the name of the server's tool that says what became of an effect id.", "environment.effects.run_command.lookup", "invalid_value"},
		{"capabilities", sessionsPath, environment(`"capability_directories":["/c"]`), "Capability directories are not served. Name the folder in the agent's instructions, and leave capability_directories out.", "environment.capability_directories", "unsupported_parameter"},
		{"network", sessionsPath, environment(`"network":{"access":"restricted"}`), "The js sandbox has no network. Choose the bubblewrap or the gvisor sandbox, or leave network out.", "environment.network.access", "unsupported_parameter"},
		{"network that is not allowed", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"enabled"}`), "the operator allows no open network", "environment.network.access", "unsupported_parameter"},
		{"all but blocked", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","blocked_domains":["example.com"]}`), "the operator allows no open network", "environment.network.access", "unsupported_parameter"},
		{"domains of no network", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"disabled","allowed_domains":["example.com"]}`), "Only restricted access has domains that are allowed. Set access to restricted, or leave allowed_domains out.", "environment.network.allowed_domains", "invalid_value"},
		{"blocked of an open network", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"enabled","blocked_domains":["example.com"]}`), "Only restricted access has domains that are blocked. Set access to restricted, or leave blocked_domains out.", "environment.network.blocked_domains", "invalid_value"},
		{"allowed and blocked", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["a.com"],"blocked_domains":["b.com"]}`), "Give domains that are allowed or domains that are blocked, not both.", "environment.network.blocked_domains", "invalid_value"},
		{"domain https:__example.com", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","https://example.com"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain example.com_a", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","example.com/a"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain a b.com", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","a b.com"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain *", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","*"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain *.", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","*."]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain exa*mple.com", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","exa*mple.com"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain -a.com", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","-a.com"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain a..com", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","a..com"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain example.com:0", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","example.com:0"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain example.com:99999", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","example.com:99999"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain *.10.0.0.1", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","*.10.0.0.1"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain user@example.com", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com","user@example.com"]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"domain of nothing", sessionsPath, environment(`"sandbox":"gvisor","network":{"access":"restricted","allowed_domains":["ok.com",""]}`), "Invalid 'environment.network.allowed_domains[1]': expected a domain like example.com, *.example.com or example.com:8443, without a scheme and a path.", "environment.network.allowed_domains[1]", "invalid_value"},
		{"desktop", sessionsPath, environment(`"desktop":{"enabled":true}`), "Desktops are not served yet. Leave desktop out, or set enabled to false.", "environment.desktop.enabled", "unsupported_parameter"},
		{"uploaded file", sessionsPath, environment(`"files":[{"type":"file_id","file_id":"f","path":"/workspace/a"}]`), "No file found with id 'f'.", "environment.files[0].file_id", "invalid_value"},
		{"file outside", sessionsPath, environment(`"files":[{"type":"inline","data":"","path":"/workspace/../etc/a"}]`), "Invalid 'environment.files[0].path': expected an absolute path under /workspace, like /workspace/notes.txt.", "environment.files[0].path", "invalid_value"},
		{"file data", sessionsPath, environment(`"files":[{"type":"inline","data":"%","path":"/workspace/a"}]`), "Invalid 'environment.files[0].data': expected standard base64.", "environment.files[0].data", "invalid_value"},
		{"sandbox", sessionsPath, environment(`"sandbox":"bubblewrap"`), "the bubblewrap sandbox is not available on this machine: install it", "environment.sandbox", "invalid_value"},
		{"sandbox name", sessionsPath, environment(`"sandbox":"vm"`), "Invalid value: 'vm'. Supported values are: 'js', 'bubblewrap', 'gvisor'.", "environment.sandbox", "invalid_value"},

		{"subagents", sessionsPath, session(`,"multi_agent":{"enabled":true}`), "Subagents are not served yet. Leave multi_agent out, or set enabled to false.", "agent.multi_agent.enabled", "unsupported_parameter"},
		{"time", sessionsPath, session(`,"experimental":{"time_awareness":true}`), "Time awareness is not served yet. Leave it out, or set it to false.", "agent.experimental.time_awareness", "unsupported_parameter"},
		{"web search", sessionsPath, session(`,"tools":[{"type":"web_search","mode":"live"}]`), "Web search is not served yet. Give the agent an MCP server that searches.", "agent.tools[0].type", "unsupported_parameter"},
		{"tool from code", sessionsPath, session(`,"tools":[{"type":"programmatic_tool_calling"}]`), "Calling tools from code is not served yet. Leave this tool out, or set enabled to false.", "agent.tools[0].type", "unsupported_parameter"},
		{"tool type", sessionsPath, session(`,"tools":[{"type":"magic"}]`), "Invalid value: 'magic'. Supported values are: 'automations', 'computer_use', 'function', 'mcp', 'programmatic_tool_calling', 'timer', 'tool_search', 'web_search'.", "agent.tools[0].type", "invalid_value"},
		{"deferred", sessionsPath, session(`,"tools":[{"type":"function","name":"f","description":"","parameters":{},"defer_loading":true}]`), "Deferred loading is not served yet. Leave it out, or set it to false.", "agent.tools[0].defer_loading", "unsupported_parameter"},
		{"tool name", sessionsPath, session(`,"tools":[{"type":"function","name":"f g","description":"","parameters":{}}]`), "Invalid 'agent.tools[0].name': a function is named by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.", "agent.tools[0].name", "invalid_value"},
		{"tool twice", sessionsPath, session(`,"tools":[{"type":"timer"},{"type":"timer"}]`), "The tool timer is given twice.", "agent.tools[1]", "invalid_value"},
		{"label", sessionsPath, session(`,"tools":[{"type":"mcp","server_label":"timer","transport":` + web + `}]`), "The label 'timer' is taken by the runtime's own tools. Choose another.", "agent.tools[0].server_label", "invalid_value"},
		{"label of the environment", sessionsPath, session(`,"tools":[{"type":"mcp","server_label":"environment","transport":` + web + `}]`), "The label 'environment' is taken by the runtime's own tools. Choose another.", "agent.tools[0].server_label", "invalid_value"},
		{"empty label", sessionsPath, session(`,"tools":[{"type":"mcp","server_label":"","transport":` + web + `}]`), "Invalid 'agent.tools[0].server_label': a server is labelled by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.", "agent.tools[0].server_label", "invalid_value"},
		{"odd label", sessionsPath, session(`,"tools":[{"type":"mcp","server_label":"my files","transport":` + web + `}]`), "Invalid 'agent.tools[0].server_label': a server is labelled by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.", "agent.tools[0].server_label", "invalid_value"},
		{"long label", sessionsPath, session(`,"tools":[{"type":"mcp","server_label":"` + strings.Repeat("l", 65) + `","transport":` + web + `}]`), "Invalid 'agent.tools[0].server_label': a server is labelled by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.", "agent.tools[0].server_label", "invalid_value"},
		{"no label", sessionsPath, session(`,"tools":[{"type":"mcp","transport":` + web + `}]`), "Missing required parameter: 'agent.tools[0].server_label'.", "agent.tools[0].server_label", "missing_required_parameter"},
		{"label of a saved agent", agentsPath, `{"model":"test/m","tools":[{"type":"mcp","server_label":"timer","transport":` + web + `}]}`, "The label 'timer' is taken by the runtime's own tools. Choose another.", "tools[0].server_label", "invalid_value"},
		{"label twice", sessionsPath, session(`,"tools":[{"type":"mcp","server_label":"files","transport":` + web + `},{"type":"mcp","server_label":"files","transport":{"type":"http","server_url":"https://example.org"}}]`), "The label 'files' is given to two MCP servers. Give each its own.", "agent.tools[1].server_label", "invalid_value"},
		{"function twice", sessionsPath, session(`,"tools":[{"type":"function","name":"f","description":"","parameters":{}},{"type":"function","name":"f","description":"again","parameters":{}}]`), "The name 'f' is given to two functions. Give each its own.", "agent.tools[1].name", "invalid_value"},
		{"origin", sessionsPath, mcp(web, `,"connection_origin":"environment"`), "MCP servers are reached from the runtime itself. Leave connection_origin out, or set it to service.", "agent.tools[0].connection_origin", "unsupported_parameter"},
		{"credential", sessionsPath, mcp(web, `,"credential_id":"c"`), "The session has no vault that the credential 'c' could be in. Name its vault in vault_ids.", "agent.tools[0].credential_id", "invalid_value"},
		{"authorization", sessionsPath, mcp(`{"type":"http","server_url":"https://example.com","authorization":"x"}`, ""), secret("authorization") + " Put it into a vault, and name the vault in vault_ids.", "agent.tools[0].transport.authorization", "unsupported_parameter"},
		{"secret header", sessionsPath, mcp(`{"type":"http","server_url":"https://example.com","headers":{"X-Api-Key":"x"}}`, ""), secret("the header X-Api-Key"), "agent.tools[0].transport.headers.X-Api-Key", "unsupported_parameter"},
		{"password in URL", sessionsPath, mcp(`{"type":"http","server_url":"https://u:p@example.com"}`, ""), secret("a URL with a password"), "agent.tools[0].transport.server_url", "unsupported_parameter"},
		{"URL", sessionsPath, mcp(`{"type":"http","server_url":"file:///etc"}`, ""), "Invalid 'agent.tools[0].transport.server_url': expected a URL that begins with https:// or http://.", "agent.tools[0].transport.server_url", "invalid_value"},
		{"stdio", sessionsPath, mcp(`{"type":"stdio","command":"rm","cwd":"/"}`, ""), "This server does not start 'rm' as an MCP server. Its operator can allow it with --allow-stdio-mcp.", "agent.tools[0].transport.command", "unsupported_parameter"},
		{"secret variable", sessionsPath, mcp(`{"type":"stdio","command":"allowed-mcp","env":{"MAX_TOKENS":"5","OPENAI_API_KEY":"x"}}`, ""), secret("the variable OPENAI_API_KEY") + " Set it where the server runs, and name it in env_vars.", "agent.tools[0].transport.env.OPENAI_API_KEY", "unsupported_parameter"},
		{"secret cookie", sessionsPath, mcp(`{"type":"http","server_url":"https://example.com","headers":{"Idempotency-Key":"k","cookie":"x"}}`, ""), secret("the header cookie"), "agent.tools[0].transport.headers.cookie", "unsupported_parameter"},
		{"lookup", sessionsPath, mcp(web, `,"effects":{"pay":{"class":"reconcilable"}}`), "A reconcilable tool needs a lookup: the name of the server's tool that says what became of an effect id.", "agent.tools[0].effects.pay.lookup", "invalid_value"},
		{"metadata", sessionsPath, `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"},"metadata":{"a":"` + strings.Repeat("é", 513) + `"}}`, "A value of metadata has at most 512 characters, but this one has 513.", "metadata.a", "invalid_value"},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.do("POST", tt.path, tt.body)
			if want := envelope(tt.message, tt.param, tt.code); got.status != http.StatusBadRequest || got.body != want {
				t.Errorf("got  %d %s\nwant 400 %s", got.status, got.body, want)
			}
		})
	}
}

// TestRefusedInputs has inputs that a session does not take.
func TestRefusedInputs(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	path := "/v1/agents/sessions/" + id + "/events"
	tests := []struct {
		name, body           string
		status               int
		message, param, code string
	}{
		{"nothing", `{"events":[]}`, 400, "Invalid 'events': expected at least 1 elements, but got 0.", "events", "invalid_value"},
		{"null", `{"events":null}`, 400, "Invalid type for 'events': expected an array, but got null instead.", "events", "invalid_type"},
		{"unknown type", `{"events":[{"type":"x"}]}`, 400, "Invalid value: 'x'. Supported values are: 'agent.session.input.cancel', 'agent.session.input.computer_use_approval_request_result', 'agent.session.input.message', 'agent.session.input.tool_result'.", "events[0].type", "invalid_value"},
		{"computer use", `{"events":[{"type":"agent.session.input.computer_use_approval_request_result","request_id":"r","response":{}}]}`, 400, "Computer use is not served yet, so there is no request of it to answer.", "events[0].type", "unsupported_parameter"},
		{"no such call", `{"events":[{"type":"agent.session.input.tool_result","call_id":"call_9","turn_id":"t","success":true,"output":"x"}]}`, 400, "Unknown pending tool call: call_9", "call_id", "invalid_request_error"},
		{"half of two", `{"events":[{"type":"agent.session.input.message","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]}]},{"type":"agent.session.input.tool_result","call_id":"call_9","turn_id":"t","success":true}]}`, 400, "Unknown pending tool call: call_9", "call_id", "invalid_request_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.do("POST", path, tt.body)
			if want := envelope(tt.message, tt.param, tt.code); got.status != tt.status || got.body != want {
				t.Errorf("got  %d %s\nwant %d %s", got.status, got.body, tt.status, want)
			}
		})
	}
	if got := w.do("GET", "/v1/agents/sessions/"+id+"/turns", ""); strings.Count(got.body, `"agent.session.turn"`) != 1 {
		t.Errorf("a refused input left a turn: %s", got.body)
	}
	if got := w.do("DELETE", "/v1/agents/sessions/"+id, ""); got.status != http.StatusConflict {
		t.Errorf("deleted while a turn runs: %d %s", got.status, got.body)
	}
	w.append(id, turnEnded(w.turn(id)))
	got := w.do("POST", path, `{"events":[{"type":"agent.session.input.cancel"}]}`)
	if want := envelope("The session has no active turn to cancel.", "", "no_active_turn"); got.status != http.StatusConflict || got.body != want {
		t.Errorf("cancel: %d %s, want 409 %s", got.status, got.body, want)
	}
}

// TestUnknownIDs answers alike for an id that is nowhere and one of another
// project.
func TestUnknownIDs(t *testing.T) {
	w := newWorld(t)
	mine := w.create()
	agent := idOf(t, w.do("POST", "/v1/agents", `{"model":"test/m"}`))
	for _, id := range []string{mine, "sess_nowhere"} {
		want := envelope("No agent session found with id '"+id+"'.", "", "not_found")
		for _, request := range []string{
			"GET ", "POST ", "DELETE ", "GET /events", "GET /turns", "GET /turns/t", "GET /turns/t/items", "GET /items", "GET /log", "GET /effects", "POST /verify",
		} {
			method, path, _ := strings.Cut(request, " ")
			got := w.do(method, "/v1/agents/sessions/"+id+path, "", "OpenAI-Project", "other")
			if got.status != http.StatusNotFound || got.body != want {
				t.Errorf("%s: %d %s, want 404 %s", request, got.status, got.body, want)
			}
		}
		got := w.do("POST", "/v1/agents/sessions/"+id+"/events", `{"events":[{"type":"agent.session.input.cancel"}]}`, "OpenAI-Project", "other")
		if got.status != http.StatusNotFound || got.body != want {
			t.Errorf("events: %d %s", got.status, got.body)
		}
	}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		got := w.do(method, "/v1/agents/"+agent, "", "OpenAI-Project", "other")
		if want := envelope("No agent found with id '"+agent+"'.", "", "not_found"); got.status != http.StatusNotFound || got.body != want {
			t.Errorf("%s agent: %d %s", method, got.status, got.body)
		}
	}
}

// TestStoreErrors has the answers to what goes wrong below.
func TestStoreErrors(t *testing.T) {
	tests := []struct {
		name   string
		append error
		read   error
		status int
		retry  string
		code   string
	}{
		{"full", store.ErrFull, nil, http.StatusInsufficientStorage, "", "storage_full"},
		{"unavailable", store.ErrUnavailable, nil, http.StatusServiceUnavailable, "1", "service_unavailable"},
		{"fenced", store.ErrFenced, nil, http.StatusServiceUnavailable, "1", "service_unavailable"},
		{"corrupt", nil, store.ErrCorrupt, http.StatusInternalServerError, "", "log_corrupt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			id := "sess_nowhere"
			if tt.append != nil {
				id = w.create()
			}
			w.store.onAppend, w.store.onRead = tt.append, tt.read
			got := w.do("POST", "/v1/agents/sessions/"+id, `{"metadata":{"a":"b"}}`)
			if got.status != tt.status || got.header.Get("Retry-After") != tt.retry || !strings.Contains(got.body, `"code":"`+tt.code+`"`) || !strings.Contains(got.body, `"server_error"`) {
				t.Errorf("got %d, Retry-After %q, %s", got.status, got.header.Get("Retry-After"), got.body)
			}
		})
	}
}
