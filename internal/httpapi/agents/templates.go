package agents

import (
	"errors"
	"net/http"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/store"
)

// savedTemplate is what the store keeps of a template: what the request said,
// which is read anew for each environment of it.
type savedTemplate struct {
	Settings HostedSettings `json:"settings"`
	Name     string         `json:"name,omitempty"`
	Created  event.Input    `json:"created"`
	Updated  remembered     `json:"updated,omitempty"`
}

var templateKind = objectKind[savedTemplate]{kind: store.KindTemplate, what: "environment template"}

func (a *api) templateOperations() []httpapi.Operation {
	const all, one = environmentsPath + "/templates", environmentsPath + "/templates/{environment_template_id}"
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: all, ID: "createEnvironmentTemplate", Summary: "Create an environment template", Body: templateBody{}, Result: templateObject{}, Do: a.createTemplate},
		{Method: http.MethodGet, Path: all, ID: "listEnvironmentTemplates", Summary: "List environment templates", Query: httpapi.PageParams(), Result: httpapi.List[templateObject]{}, Do: a.listTemplates},
		{Method: http.MethodGet, Path: one, Before: true, ID: "getEnvironmentTemplate", Summary: "Get an environment template", Result: templateObject{}, Do: a.getTemplate},
		{Method: http.MethodPost, Path: one, Before: true, ID: "updateEnvironmentTemplate", Summary: "Change an environment template", Body: templateBody{}, Result: templateObject{}, Do: a.updateTemplate},
		{Method: http.MethodDelete, Path: one, Before: true, ID: "deleteEnvironmentTemplate", Summary: "Delete an environment template", Result: deletedObject{}, Do: a.deleteTemplate},
	}
}

// templateObject is a template without what is confidential: the values of
// variables, the contents of files, and commands.
type templateObject struct {
	ID                    string         `json:"id"`
	Object                string         `json:"object" enum:"agent.environment.template"`
	CreatedAt             int64          `json:"created_at"`
	UpdatedAt             int64          `json:"updated_at"`
	Name                  *string        `json:"name"`
	CapabilityDirectories []string       `json:"capability_directories"`
	Files                 []fileObject   `json:"files"`
	Network               networkObject  `json:"network"`
	Packages              packagesObject `json:"packages"`
	Plugins               []any          `json:"plugins"`
	Skills                []any          `json:"skills"`
	Desktop               desktopBody    `json:"desktop"`

	Sandbox            *string               `json:"sandbox"`
	IdleTimeoutSeconds int64                 `json:"idle_timeout_seconds,omitempty"`
	Effects            map[string]effectBody `json:"effects,omitempty"`
}

func renderTemplate(row *store.Object, t *savedTemplate) templateObject {
	s := &t.Settings
	o := templateObject{
		ID: row.ID, Object: "agent.environment.template", CreatedAt: row.CreatedAt.Unix(), UpdatedAt: row.UpdatedAt.Unix(), Name: orNull(t.Name),
		CapabilityDirectories: []string{}, Files: make([]fileObject, len(s.Files)), Network: renderNetwork(nil), Packages: noPackages(),
		Plugins: []any{}, Skills: []any{}, Sandbox: orNull(s.Sandbox), IdleTimeoutSeconds: s.IdleTimeoutSeconds, Effects: s.Effects,
	}
	if s.Network.Given() {
		o.Network = networkObject{Access: s.Network.V.Access, AllowedDomains: orNone(s.Network.V.AllowedDomains), BlockedDomains: s.Network.V.BlockedDomains}
	}
	for i := range s.Files {
		f := &s.Files[i]
		o.Files[i] = fileObject{Type: f.Type, Path: f.Path, FileID: f.FileID}
		if f.Type == fileInline {
			o.Files[i].SizeBytes = decodedSize(f.Data)
		}
	}
	return o
}

func (a *api) template(c *httpapi.Call, id string) (*store.Object, *savedTemplate, error) {
	return templateKind.read(c, a, id)
}

// checkTemplate refuses what no session could be created with.
func (a *api) checkTemplate(c *httpapi.Call, s *HostedSettings) error {
	_, err := a.hosted(c, s, "", "")
	return err
}

func (a *api) createTemplate(c *httpapi.Call) (any, error) {
	var body templateBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	if err := a.checkTemplate(c, &body.HostedSettings); err != nil {
		return nil, err
	}
	t := &savedTemplate{Settings: body.HostedSettings, Name: body.Name.V, Created: in}
	row, err := templateKind.create(c, a, idFor("envtmpl", in, c.Project), t, nil)
	if errors.Is(err, store.ErrConflict) && in.Key != "" {
		row, t, err = a.template(c, idFor("envtmpl", in, c.Project))
		if err == nil && t.Created != in {
			err = keyReused()
		}
	}
	if err != nil {
		return nil, err
	}
	return renderTemplate(row, t), nil
}

func (a *api) listTemplates(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	rows, err := templateKind.list(c, a, p)
	if err != nil {
		return nil, err
	}
	found := make([]templateObject, len(rows))
	for i := range rows {
		t, err := templateKind.decode(&rows[i])
		if err != nil {
			return nil, err
		}
		found[i] = renderTemplate(&rows[i], t)
	}
	return httpapi.PageOf(found, p.Limit, func(o *templateObject) string { return o.ID }), nil
}

func (a *api) getTemplate(c *httpapi.Call) (any, error) {
	row, t, err := a.template(c, c.Path("environment_template_id"))
	if err != nil {
		return nil, err
	}
	return renderTemplate(row, t), nil
}

func (a *api) updateTemplate(c *httpapi.Call) (any, error) {
	var body templateBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		result, err := a.tryUpdateTemplate(c, &body, in)
		if !errors.Is(err, store.ErrConflict) || n == updateAttempts {
			return result, err
		}
	}
}

func (a *api) tryUpdateTemplate(c *httpapi.Call, body *templateBody, in event.Input) (any, error) {
	row, t, err := a.template(c, c.Path("environment_template_id"))
	if err != nil {
		return nil, err
	}
	repeated, err := t.Updated.repeated(in)
	if err != nil {
		return nil, err
	}
	if !repeated {
		override(&t.Settings, &body.HostedSettings)
		if body.Name.Set {
			t.Name = body.Name.V
		}
		if err := a.checkTemplate(c, &t.Settings); err != nil {
			return nil, err
		}
		if err := templateKind.update(c, a, row, t); err != nil {
			return nil, err
		}
	}
	return renderTemplate(row, t), nil
}

func (a *api) deleteTemplate(c *httpapi.Call) (any, error) {
	id := c.Path("environment_template_id")
	if err := templateKind.delete(c, a, id); err != nil {
		return nil, err
	}
	return deletedObject{ID: id, Object: "agent.environment.template.deleted", Deleted: true}, nil
}
