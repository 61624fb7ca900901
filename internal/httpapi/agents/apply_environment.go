package agents

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// environment makes the environment of a new session.
func (a *api) environment(c *httpapi.Call, b *environmentBody, n *newSession) (event.Environment, error) {
	switch {
	case b.Type == event.EnvironmentNone:
		return event.Environment{Type: event.EnvironmentNone}, nil
	case b.Type == event.EnvironmentSelfHosted:
		return selfHosted(b, n)
	case b.EnvironmentID != "":
		return a.prewarmedFor(c, b, n)
	}
	settings, err := a.templated(c, b)
	if err != nil {
		return event.Environment{}, err
	}
	return a.hosted(c, settings, environmentID(n.id), "environment.")
}

func selfHosted(b *environmentBody, n *newSession) (event.Environment, error) {
	if !strings.HasPrefix(b.WorkspaceDirectory, "/") || path.Clean(b.WorkspaceDirectory) != b.WorkspaceDirectory || strings.ContainsRune(b.WorkspaceDirectory, 0) {
		return event.Environment{}, httpapi.Invalid("environment.workspace_directory", "Invalid 'environment.workspace_directory': expected the absolute path of a folder, like /home/me/project.")
	}
	if err := unservedEnvironment(&b.HostedSettings, "environment."); err != nil {
		return event.Environment{}, err
	}
	policies, err := effects(b.Effects, "environment.effects")
	env := event.Environment{Type: b.Type, ID: environmentID(n.id), Directory: b.WorkspaceDirectory, Effects: policies}
	n.view.token, env.TokenHash = newToken()
	return env, err
}

// templated is the settings of the body, with those of its template where it has
// none of its own.
func (a *api) templated(c *httpapi.Call, b *environmentBody) (*HostedSettings, error) {
	if b.EnvironmentTemplateID == "" {
		return &b.HostedSettings, nil
	}
	_, t, err := a.template(c, b.EnvironmentTemplateID)
	if isNotFound(err) {
		return nil, httpapi.Invalid("environment.environment_template_id", err.Error())
	}
	if err != nil {
		return nil, err
	}
	if b.Network.Given() && t.Settings.Network.Given() && broadens(&b.Network.V, &t.Settings.Network.V) {
		return nil, httpapi.Invalid("environment.network", "The template's network is narrower. An environment of it may have less of the network, not more.")
	}
	merged := t.Settings
	override(&merged, &b.HostedSettings)
	return &merged, nil
}

// override replaces each of the settings that is given.
func override(s, given *HostedSettings) {
	to, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(given).Elem()
	for i := range to.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
}

// hosted makes an environment that this server runs. Errors name parameters
// under at.
func (a *api) hosted(c *httpapi.Call, b *HostedSettings, id, at string) (event.Environment, error) {
	env := event.Environment{Type: event.EnvironmentHosted, ID: id, Sandbox: b.Sandbox, Env: b.Env, IdleSeconds: b.IdleTimeoutSeconds}
	if err := a.checkSettings(c.Context(), b, &env.Sandbox, at); err != nil {
		return env, err
	}
	var err error
	if b.Network.Given() {
		if env.Network, err = a.network(&b.Network.V, at+"network"); err != nil {
			return env, err
		}
	}
	for i := range b.SetupCommands {
		env.Setup = append(env.Setup, event.SetupCommand{Command: b.SetupCommands[i].Command, Cwd: b.SetupCommands[i].Cwd})
	}
	if env.Effects, err = effects(b.Effects, at+"effects"); err != nil {
		return env, err
	}
	env.Files, err = a.files(c, b.Files, id, at+"files")
	return env, err
}

// checkSettings refuses what does not depend on the session, and chooses the
// sandbox.
func (a *api) checkSettings(ctx context.Context, b *HostedSettings, sandbox *string, at string) error {
	if err := unservedEnvironment(b, at); err != nil {
		return err
	}
	if *sandbox == "" {
		*sandbox = a.DefaultSandbox(ctx)
	}
	if err := a.CheckSandbox(ctx, *sandbox); err != nil {
		return httpapi.Invalid(at+"sandbox", err.Error())
	}
	if *sandbox == event.SandboxJS {
		const choose = " Choose the bubblewrap or the gvisor sandbox, or leave "
		switch {
		case len(b.SetupCommands) > 0:
			return httpapi.Unsupported(at+"setup_commands", "The js sandbox has no shell that could run commands."+choose+"setup_commands out.")
		case b.Network.Given() && b.Network.V.Access != networkDisabled:
			return httpapi.Unsupported(at+"network.access", "The js sandbox has no network."+choose+"network out.")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return httpapi.Invalid(at+"env", fmt.Sprintf("'%s' cannot be the name of an environment variable.", name))
		}
		if secretName(name) {
			return httpapi.Unsupported(at+"env."+name, secretMessage("the variable "+name))
		}
	}
	for i := range b.SetupCommands {
		s, where := &b.SetupCommands[i], fmt.Sprintf("%ssetup_commands[%d]", at, i)
		if strings.ContainsRune(s.Command, 0) {
			return httpapi.Invalid(where+".command", "A command has no NUL characters.")
		}
		if s.Cwd != "" && (!strings.HasPrefix(s.Cwd, "/") || path.Clean(s.Cwd) != s.Cwd || strings.ContainsRune(s.Cwd, 0)) {
			return httpapi.Invalid(where+".cwd", fmt.Sprintf("Invalid '%s.cwd': expected the absolute path of a folder, like %s.", where, workspace))
		}
	}
	return nil
}

// unservedEnvironment refuses by name what would otherwise be ignored.
func unservedEnvironment(b *HostedSettings, at string) error {
	refuse := func(name, message string) error { return httpapi.Unsupported(at+name, message) }
	switch {
	case b.ContainerSize != "":
		return refuse("container_size", "Container sizes are not served: the sandbox has the limits that the server's operator set. Leave container_size out.")
	case len(b.Packages.NPM)+len(b.Packages.Python)+len(b.Packages.System) > 0:
		return refuse("packages", "Packages are not installed by name. Install them by setup_commands, and leave packages out.")
	case len(b.Plugins) > 0:
		return refuse("plugins", "Plugins are not served. Put what they need into the environment by files and setup_commands, and leave plugins out.")
	case len(b.Skills) > 0:
		return refuse("skills", "Skills are not served. Put their files into the environment by files, name them in the agent's instructions, and leave skills out.")
	case len(b.CapabilityDirectories) > 0:
		return refuse("capability_directories", "Capability directories are not served. Name the folder in the agent's instructions, and leave capability_directories out.")
	case b.Desktop.Enabled:
		return refuse("desktop.enabled", "Desktops are not served yet. Leave desktop out, or set enabled to false.")
	}
	return nil
}

// files makes the files that an environment begins with.
func (a *api) files(c *httpapi.Call, in []fileBody, owner, at string) ([]event.InlineFile, error) {
	var out []event.InlineFile
	for i := range in {
		where := fmt.Sprintf("%s[%d]", at, i)
		f, err := a.file(c, &in[i], where+".")
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o event.InlineFile) bool { return o.Path == f.Path }) {
			return nil, httpapi.Invalid(where+".path", fmt.Sprintf("The file '%s' is given twice.", f.Path))
		}
		f.ID = event.DeriveID("file", owner, strconv.Itoa(i))
		out = append(out, f)
	}
	return out, nil
}

// file is one file that is put into a workspace.
func (a *api) file(c *httpapi.Call, b *fileBody, at string) (event.InlineFile, error) {
	f := event.InlineFile{Path: b.Path}
	if _, err := below(at+"path", b.Path); err != nil {
		return f, err
	}
	if b.Type == fileByID {
		row, up, err := a.upload(c, b.FileID)
		if isNotFound(err) {
			return f, httpapi.Invalid(at+"file_id", err.Error())
		}
		if err != nil {
			return f, err
		}
		f.FileID, f.Tree, f.Size = row.ID, *row.Tree, up.Bytes
		return f, nil
	}
	data, err := base64.StdEncoding.DecodeString(b.Data)
	if err != nil {
		return f, httpapi.Invalid(at+"data", fmt.Sprintf("Invalid '%sdata': expected standard base64.", at))
	}
	f.Data = data
	return f, nil
}
