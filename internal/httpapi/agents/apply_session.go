package agents

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

const workspace = "/workspace"

// environment makes the session's environment.
func (a *api) environment(ctx context.Context, b *environmentBody, sessionID string) (event.Environment, error) {
	switch b.Type {
	case event.EnvironmentNone:
		return event.Environment{Type: event.EnvironmentNone}, nil
	case selfHosted:
		return event.Environment{}, httpapi.Unsupported("environment.type",
			"Self-hosted environments are not served yet. Use 'openai_hosted', which this server runs itself, or 'none'.")
	}
	if err := unservedEnvironment(b); err != nil {
		return event.Environment{}, err
	}
	env := event.Environment{
		Type: event.EnvironmentHosted, ID: environmentID(sessionID), Sandbox: b.Sandbox, Env: b.Env,
	}
	if env.Sandbox == "" {
		env.Sandbox = event.SandboxJS
	}
	if err := a.CheckSandbox(ctx, env.Sandbox); err != nil {
		return event.Environment{}, httpapi.Invalid("environment.sandbox", err.Error())
	}
	for _, name := range slices.Sorted(maps.Keys(env.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return event.Environment{}, httpapi.Invalid("environment.env", fmt.Sprintf("'%s' cannot be the name of an environment variable.", name))
		}
		if secretName(name) {
			return event.Environment{}, httpapi.Unsupported("environment.env."+name, secretMessage("the variable "+name))
		}
	}
	seen := map[string]bool{}
	for i := range b.Files {
		f, err := file(&b.Files[i], sessionID, i)
		if err != nil {
			return event.Environment{}, err
		}
		if seen[f.Path] {
			return event.Environment{}, httpapi.Invalid(fmt.Sprintf("environment.files[%d].path", i), fmt.Sprintf("The file '%s' is given twice.", f.Path))
		}
		seen[f.Path] = true
		env.Files = append(env.Files, f)
	}
	return env, nil
}

// unservedEnvironment refuses by name what would otherwise be ignored.
func unservedEnvironment(b *environmentBody) error {
	given := func(raw json.RawMessage) bool {
		return len(raw) > 0 && !slices.Contains([]string{"null", "[]", "{}"}, string(raw))
	}
	refuse := func(name, message string) error { return httpapi.Unsupported("environment."+name, message) }
	switch {
	case b.EnvironmentID != "":
		return refuse("environment_id", "Prewarmed environments are not served yet. Leave environment_id out.")
	case b.EnvironmentTemplateID != "":
		return refuse("environment_template_id", "Environment templates are not served yet. Leave environment_template_id out.")
	case b.ContainerSize != "":
		return refuse("container_size", "Container sizes are not served: the sandbox has the limits that the server's operator set. Leave container_size out.")
	case b.Packages != nil && len(b.Packages.NPM)+len(b.Packages.Python)+len(b.Packages.System) > 0:
		return refuse("packages", "Installing packages is not served yet. Leave packages out.")
	case given(b.Plugins):
		return refuse("plugins", "Plugins are not served yet. Leave plugins out.")
	case given(b.Skills):
		return refuse("skills", "Skills are not served yet. Leave skills out.")
	case given(b.SetupCommands):
		return refuse("setup_commands", "Setup commands are not served yet. Leave setup_commands out.")
	case len(b.CapabilityDirectories) > 0:
		return refuse("capability_directories", "Capability directories are not served yet. Leave capability_directories out.")
	case b.Network != nil && b.Network.Access != "disabled":
		return refuse("network.access", "Sandboxes have no network. Leave network out, or set access to disabled.")
	case b.Network != nil && len(b.Network.AllowedDomains)+len(b.Network.BlockedDomains) > 0:
		return refuse("network", "Sandboxes have no network, so there are no domains to allow or block.")
	case b.Desktop != nil && b.Desktop.Enabled:
		return refuse("desktop.enabled", "Desktops are not served yet. Leave desktop out, or set enabled to false.")
	}
	return nil
}

func file(b *fileBody, sessionID string, i int) (event.InlineFile, error) {
	at := fmt.Sprintf("environment.files[%d]", i)
	if b.Type == fileByID {
		return event.InlineFile{}, httpapi.Unsupported(at+".type", "Uploaded files are not served yet. Give the file inline, as base64.")
	}
	if !strings.HasPrefix(b.Path, workspace+"/") || path.Clean(b.Path) != b.Path || strings.ContainsRune(b.Path, 0) {
		return event.InlineFile{}, httpapi.Invalid(at+".path", fmt.Sprintf("Invalid '%s.path': expected an absolute path under %s, like %s/notes.txt.", at, workspace, workspace))
	}
	data, err := base64.StdEncoding.DecodeString(b.Data)
	if err != nil {
		return event.InlineFile{}, httpapi.Invalid(at+".data", fmt.Sprintf("Invalid '%s.data': expected standard base64.", at))
	}
	return event.InlineFile{ID: event.DeriveID("file", sessionID, strconv.Itoa(i)), Path: b.Path, Data: data}, nil
}

// messages makes the items of an input.
func messages(in []messageBody, turnID, at string) ([]event.Item, error) {
	if len(in) == 0 {
		return nil, httpapi.Invalid(at, "Give at least one message.")
	}
	items := make([]event.Item, len(in))
	for i := range in {
		where := fmt.Sprintf("%s[%d].content", at, i)
		if len(in[i].Content) == 0 {
			return nil, httpapi.Invalid(where, "A message has at least one part.")
		}
		parts, err := content(in[i].Content, where)
		if err != nil {
			return nil, err
		}
		items[i] = event.Item{
			Type: event.ItemMessage, ID: event.DeriveID("item", turnID, "input", strconv.Itoa(i)), Role: event.RoleUser,
			Status: event.StatusCompleted, Content: parts,
		}
	}
	return items, nil
}

func content(in []contentBody, at string) ([]event.Content, error) {
	parts := make([]event.Content, len(in))
	for i, c := range in {
		parts[i] = event.Content{Type: c.Type, Text: c.Text}
		if c.Type != event.PartInputImage {
			continue
		}
		where := fmt.Sprintf("%s[%d]", at, i)
		if c.FileID != "" {
			return nil, httpapi.Unsupported(where+".file_id", "Images by file id are not served yet. Give a URL or a data URL in image_url.")
		}
		if !imageURL(c.ImageURL) {
			return nil, httpapi.Invalid(where+".image_url", fmt.Sprintf("Invalid '%s.image_url': expected an https:// or http:// URL, or a data URL of an image in base64.", where))
		}
		parts[i].ImageURL = c.ImageURL
	}
	return parts, nil
}

func imageURL(s string) bool {
	if strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") {
		return true
	}
	head, data, ok := strings.Cut(s, ",")
	if !ok || !strings.HasPrefix(head, "data:image/") || !strings.HasSuffix(head, ";base64") {
		return false
	}
	_, err := base64.StdEncoding.DecodeString(data)
	return err == nil
}

// output is the JSON of what a function returned: a string, an array of parts,
// or nil.
func (b *outputBody) output(at string) (json.RawMessage, error) {
	if b.text != nil {
		return event.TextOutput(*b.text), nil
	}
	if b.parts == nil {
		return nil, nil
	}
	parts, err := content(b.parts, at)
	if err != nil {
		return nil, err
	}
	return httpapi.Marshal(renderContent(parts))
}
